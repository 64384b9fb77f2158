"""`littoral-agent`: enrol this device, run the agent, say what it is doing and why."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent import config as configs
from agent import plain, slots, status
from agent.updater import evidence
from littoral import __version__, client
from littoral.client import info
from littoral.errors import ConfigError, LittoralError, UnknownModelError

DEFAULT_CONFIG = configs.STATE / "agent.toml"
UNITS = (
    "littoral-runtime.socket",
    "littoral-runtime-control.socket",
    "littoral-runtime.service",
    "littoral-agent.service",
)


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        result: int = args.run(args)
    except LittoralError as error:
        print(f"littoral-agent: {error.code}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return result


def _parser() -> argparse.ArgumentParser:
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
    run.set_defaults(run=_run)

    shows = commands.add_parser("status", help="what this device serves, what it is doing, since when and until when")
    explain = commands.add_parser(
        "explain", help="what a model is doing and why, how its last update ended, and the numbers behind it"
    )
    explain.add_argument("model", metavar="MODEL")
    for command, function in ((shows, _status), (explain, _explain)):
        command.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="F", help="agent.toml")
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=function)

    _add_install(commands)
    _add_tuf(commands)
    return parser


def _add_install(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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
    install.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="F", help="agent.toml")
    install.add_argument("--wait", action="store_true", help="wait for the end, and print how it goes")
    install.set_defaults(run=_install)


def _install(args: argparse.Namespace) -> int:
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


def _tuf(args: argparse.Namespace) -> int:
    from agent import tuf_client

    return tuf_client.run(args)


def _enroll(args: argparse.Namespace) -> int:
    from agent.enroll import enroll

    tags = {}
    for tag in args.tag:
        key, equals, value = tag.partition("=")
        if not equals:
            raise ConfigError(f"--tag {tag} is not of the form key=value")
        tags[key] = value
    device = enroll(args.server, args.token, args.state, args.name, tags)
    started = args.state == configs.STATE and _start_units()
    if args.json:
        print(json.dumps({"device": device, "config": str(args.state / "agent.toml")}))
    elif started:
        print(f"enrolled as {device}; littoral-agent and littoral-runtime are started")
    else:
        print(f"enrolled as {device}; run both daemons with --config {args.state / 'agent.toml'}")
    return 0


def _start_units() -> bool:
    """Whether the service manager was told to: nothing else tells units that wait for agent.toml that it is there."""
    import subprocess  # not for `run`, which stays

    if not Path("/run/systemd/system").is_dir() or os.geteuid() != 0:
        return False
    return subprocess.run(["systemctl", "start", "--no-block", *UNITS]).returncode == 0


def _run(args: argparse.Namespace) -> int:
    from agent.main import run

    return run(configs.read(args.config))


def _status(args: argparse.Namespace) -> int:
    config = configs.read(args.config)
    records = [_record(config, name) for name in slots.names(config.state)]
    answering, runtime, told = _answering(config), _runtime(config), status.ask(config.state)
    if args.json:
        models = {record.model: _facts(record) for record in records}
        found = {"device": config.device, "models": models, "answering": answering, "runtime": runtime, "agent": told}
        print(json.dumps(found, indent=2))
        return 0
    print(f"device {config.device}")
    if told is None:
        print("  the agent does not answer: nothing new is taken in, tried or judged")
    elif not told["connected"]:
        print("  not connected to the fleet's broker")
    if answering is None:
        print("  the runtime does not answer: nothing is served now")
    for alarm in told["warnings"] if told else ():
        for line in plain.alarm(alarm):
            print(f"  {line}")
    if told is not None:
        print(f"  device: {plain.device(told['device'])}")
    if runtime is not None:
        slower = f"; slower than it should be: {runtime['degraded']}" if runtime["degraded"] else ""
        print(f"  engine {runtime['engine']}{slower}")
    for record in records:
        print(f"  {record.model}: {plain.sentence(record)}")
        for line in plain.account(record, _situation(told, record.model), time.time()):
            print(f"    {line}")
        for check in told.get("checks", {}).get(record.model, ()) if told else ():
            if check["state"] == "unknown":
                print(f"    the check {check['name']} cannot tell: {check['text']}")
        serves = record.serves
        if answering is not None and serves is not None and answering.get(record.model) != serves.release:
            print(f"    but the runtime answers with {answering.get(record.model) or 'no release'} now")
    if not records:
        print("  no model is wanted here yet")
    return 0


def _answering(config: configs.Config) -> dict[str, int] | None:
    """Release by model that the runtime serves now (0: none); None where it does not answer."""
    try:
        return {entry["model"]: entry["release"] for entry in client.models(str(config.query_socket))}
    except LittoralError:
        return None


def _runtime(config: configs.Config) -> dict[str, Any] | None:
    """The engine, and why it is slower than it should be; None where the runtime does not answer."""
    try:
        return info.runtime(str(config.query_socket))
    except LittoralError:
        return None


def _explain(args: argparse.Namespace) -> int:
    config = configs.read(args.config)
    if args.model not in slots.names(config.state):
        raise UnknownModelError(f"this device has no model {args.model}")
    record, told = _record(config, args.model), status.ask(config.state)
    kept = evidence.read(config.state, args.model)
    if args.json:
        facts = {**_facts(record), "now": _situation(told, record.model), "evidence": kept}
        print(json.dumps({"device": config.device, "model": record.model, **facts}, indent=2))
        return 0
    print(f"{record.model}: {plain.sentence(record)}")
    if _answering(config) is None:
        print("  the runtime does not answer: nothing is served now")
    for line in plain.account(record, _situation(told, record.model), time.time()):
        print(f"  {line}")
    for line in [*plain.ending(record), *plain.evidence(kept)]:
        print(line)
    return 0


def _situation(told: dict[str, Any] | None, model: str) -> dict[str, Any] | None:
    """What the agent says of one model."""
    return told["models"].get(model) if told else None


def _record(config: configs.Config, name: str) -> slots.SlotRecord:
    return slots.read(slots.path_of(config.state, name)) or slots.SlotRecord(name)


def _facts(record: slots.SlotRecord) -> dict[str, Any]:
    value = asdict(record)
    del value["model"]
    return value
