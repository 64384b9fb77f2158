"""`littoral-agent`: enrol this device, run the agent, say what it is doing and why.

What a command needs is imported only when it runs: the daemon stays small.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent import lean

if TYPE_CHECKING:
    import argparse
    from contextlib import AbstractContextManager
    from pathlib import Path

UNITS = (
    "littoral-runtime.socket",
    "littoral-runtime-control.socket",
    "littoral-runtime.service",
    "littoral-agent.service",
)


def main(argv: Sequence[str] | None = None) -> int:
    alone = argv is None  # this process is the command's own
    if alone:
        lean.keep_lean(openssl=True)
        lean.share_heap()
    words = sys.argv[1:] if argv is None else list(argv)
    from littoral.errors import LittoralError

    try:
        if words[:2] == ["run", "--config"] and len(words) == 3:  # as the unit has it: argparse costs 20 ms, 0.5 MB
            return _run(words[2], alone)
        args = _parser().parse_args(words)
        result: int = args.run(args)
    except LittoralError as error:
        print(f"littoral-agent: {error.code}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return result


def _parser() -> "argparse.ArgumentParser":
    import argparse
    from pathlib import Path

    from agent import config as configs
    from littoral import __version__

    parser = argparse.ArgumentParser(prog="littoral-agent", description="Takes model updates and judges them.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    enrol = commands.add_parser("enroll", help="join a fleet with a one-time token")
    enrol.add_argument("--server", required=True, metavar="URL", help="address of the fleet server")
    enrol.add_argument("--token", required=True, help="from `littoral-fleet token create`")
    state = f"folder of this device's state ({configs.STATE}, whose units it starts)"
    enrol.add_argument("--state", default=configs.STATE, type=Path, metavar="DIR", help=state)
    enrol.add_argument("--name", help="id to ask for; the server chooses one otherwise")
    enrol.add_argument("--tag", action="append", default=[], metavar="K=V", help="may be given several times")
    enrol.add_argument("--json", action="store_true", help="print JSON")
    enrol.set_defaults(run=_enroll)

    run = commands.add_parser("run", help="run the agent")
    run.add_argument("--config", required=True, type=Path, metavar="F", help="agent.toml")
    run.set_defaults(run=lambda args: _run(args.config, alone=False))

    shows = commands.add_parser("status", help="what this device serves, what it is doing, since when and until when")
    explain = commands.add_parser(
        "explain", help="what a model is doing and why, how its last update ended, and the numbers behind it"
    )
    explain.add_argument("model", metavar="MODEL")
    for command, function in ((shows, _status), (explain, _explain)):
        command.add_argument(
            "--config", type=Path, default=configs.STATE / "agent.toml", metavar="F", help="agent.toml"
        )
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=function)

    _add_install(commands)
    _add_tuf(commands)
    return parser


def _add_install(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from pathlib import Path

    from agent import config as configs

    install = commands.add_parser(
        "install",
        help="install releases from a folder, without a network",
        description="Installs releases from a folder that `littoral-fleet export` wrote, as a USB stick carries it. "
        "The agent verifies, tries and judges them like any other; they hold until the fleet server wants something "
        "newer. With --wait the exit status is 0 only when every release was committed.",
    )
    install.add_argument("path", metavar="PATH", type=Path, help="the folder: it holds meta, chunk and blob")
    install.add_argument(
        "--model", action="append", default=[], metavar="M", help="only this model; may be given several times (all)"
    )
    install.add_argument("--release", type=int, metavar="I", help="this release of the one model (the newest)")
    install.add_argument("--config", type=Path, default=configs.STATE / "agent.toml", metavar="F", help="agent.toml")
    install.add_argument("--wait", action="store_true", help="wait for the end, and print how it goes")
    install.set_defaults(run=_install)


def _install(args: "argparse.Namespace") -> int:
    from agent import config as configs
    from agent import install

    config = configs.read(args.config)
    chosen = install.install(config, args.path, args.model, args.release)
    for each in chosen:
        print(f"{each.manifest.model} release {each.manifest.release} ({each.manifest.version}) is handed to the agent")
    if not install.is_running(config.state):
        print("the agent does not run: it takes them in when it starts")
    if args.wait:
        return 0 if install.follow(config, chosen) else 1
    return 0


def _add_tuf(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from pathlib import Path

    tuf = commands.add_parser(
        "tuf",
        help="The Update Framework's client, on any repository",
        description="The client that guards this device's releases, called as the framework's conformance suite calls "
        "one: `init` takes ROOT for the first trusted root, `refresh` brings the metadata up to date, `download` does "
        "so and fetches each target unless it is there and right, in their order, until one fails. D holds root.json, "
        "timestamp.json, snapshot.json and targets.json. Time is the system's clock. The exit status is 0 or 1.",
    )
    tuf.add_argument("action", choices=["init", "refresh", "download"], help="begin with ROOT; update; fetch targets")
    tuf.add_argument("root", nargs="?", type=Path, metavar="ROOT", help="init: the first root.json to trust")
    tuf.add_argument("--metadata-dir", type=Path, required=True, metavar="D", help="folder of the trusted metadata")
    tuf.add_argument("--metadata-url", metavar="U", help="where the repository's metadata are: a URL, or a folder")
    tuf.add_argument(
        "--target-name",
        action="append",
        metavar="T",
        help="download: the target's path in the repository; may be given several times",
    )
    tuf.add_argument("--target-base-url", metavar="U", help="download: where targets are: a URL, or a folder")
    tuf.add_argument("--target-dir", type=Path, metavar="DIR", help="download: where targets are kept")
    tuf.set_defaults(run=_tuf)


def _tuf(args: "argparse.Namespace") -> int:
    from agent import tuf_client

    return tuf_client.run(args)


def _enroll(args: "argparse.Namespace") -> int:
    import json

    from agent import config as configs
    from agent.enroll import enroll
    from littoral.errors import ConfigError

    tags = {}
    for tag in args.tag:
        key, equals, value = tag.partition("=")
        if not equals:
            raise ConfigError(f"--tag {tag} is not of the form key=value")
        tags[key] = value
    device = enroll(args.server, args.token, args.state, args.name, tags)
    started = _start_units() if args.state == configs.STATE else None
    if args.json:
        print(json.dumps({"device": device, "config": str(args.state / "agent.toml")}))
    elif started is None:
        print(f"enrolled as {device}; run both daemons with --config {args.state / 'agent.toml'}")
    elif started:
        print(f"enrolled as {device}; littoral-agent and littoral-runtime are started")
    else:
        print(
            f"enrolled as {device}, but its daemons do not start: see journalctl -u littoral-agent -u littoral-runtime"
        )
    return 1 if started is False else 0


def _start_units() -> bool | None:
    """Whether they run now: nothing else tells units that wait for agent.toml that it is there. None where no service
    manager could be told to start them."""
    import os
    import subprocess
    from pathlib import Path

    if not Path("/run/systemd/system").is_dir() or os.geteuid() != 0:
        return None
    return subprocess.run(["systemctl", "start", *UNITS]).returncode == 0


def _run(path: "str | Path", alone: bool) -> int:
    from pathlib import Path

    from agent import config as configs

    config = configs.read(Path(path))
    if alone:
        lean.forget_start()
    from agent.main import run

    return run(config)


def _status(args: "argparse.Namespace") -> int:
    from agent import inspection

    with _acting(args.config.parent):
        return inspection.show(args)


def _explain(args: "argparse.Namespace") -> int:
    from agent import inspection

    with _acting(args.config.parent):
        return inspection.explain(args)


def _acting(state: "Path") -> "AbstractContextManager[None]":
    """Root looks with the rights of the folder's owner, who may have put anything into it."""
    from contextlib import nullcontext

    from littoral.owner import as_owner

    return as_owner(state) if state.is_dir() else nullcontext()
