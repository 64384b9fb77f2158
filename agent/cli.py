"""`littoral-agent`: enrol this device, run the agent, say what it is doing and why."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent import config as configs
from agent import slots
from littoral import __version__, client
from littoral.client import info
from littoral.errors import ConfigError, LittoralError, UnknownModelError

DEFAULT_CONFIG = "/var/lib/littoral/agent.toml"


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
    except LittoralError as error:
        print(f"littoral-agent: {error.code}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="littoral-agent", description="Takes model updates and judges them.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    enrol = commands.add_parser("enroll", help="join a fleet with a one-time token")
    enrol.add_argument("--server", required=True, metavar="URL", help="address of the fleet server")
    enrol.add_argument("--token", required=True, help="from `littoral-fleet token create`")
    enrol.add_argument("--state", required=True, type=Path, metavar="DIR", help="folder of this device's state")
    enrol.add_argument("--name", help="id to ask for; the server chooses one otherwise")
    enrol.add_argument("--tag", action="append", default=[], metavar="K=V", help="may be given several times")
    enrol.add_argument("--json", action="store_true", help="print JSON")
    enrol.set_defaults(run=_enroll)

    run = commands.add_parser("run", help="run the agent")
    run.add_argument("--config", required=True, type=Path, metavar="F", help="agent.toml")
    run.set_defaults(run=_run)

    status = commands.add_parser("status", help="what this device serves and what it is doing")
    explain = commands.add_parser("explain", help="how the last update of a model ended, and the numbers behind it")
    explain.add_argument("model", metavar="MODEL")
    for command, function in ((status, _status), (explain, _explain)):
        command.add_argument("--config", type=Path, default=Path(DEFAULT_CONFIG), metavar="F", help="agent.toml")
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=function)
    return parser


def _enroll(args: argparse.Namespace) -> int:
    from agent.enroll import enroll

    tags = {}
    for tag in args.tag:
        key, equals, value = tag.partition("=")
        if not equals:
            raise ConfigError(f"--tag {tag} is not of the form key=value")
        tags[key] = value
    device = enroll(args.server, args.token, args.state, args.name, tags)
    if args.json:
        print(json.dumps({"device": device, "config": str(args.state / "agent.toml")}))
    else:
        print(f"enrolled as {device}; run both daemons with --config {args.state / 'agent.toml'}")
    return 0


def _run(args: argparse.Namespace) -> int:
    from agent.main import run

    return run(configs.read(args.config))


def _status(args: argparse.Namespace) -> int:
    config = configs.read(args.config)
    records = [_record(config, name) for name in slots.names(config.state)]
    answering, runtime = _answering(config), _runtime(config)
    if args.json:
        models = {record.model: _facts(record) for record in records}
        status = {"device": config.device, "models": models, "answering": answering, "runtime": runtime}
        print(json.dumps(status, indent=2))
        return 0
    print(f"device {config.device}")
    if runtime is not None:
        slower = f"; slower than it should be: {runtime['degraded']}" if runtime["degraded"] else ""
        print(f"  engine {runtime['engine']}{slower}")
    for record in records:
        print(f"  {record.model}: {_sentence(record)}")
        serves = record.serves
        if answering is not None and serves is not None and answering.get(record.model) != serves.release:
            print(f"    but the runtime answers with {answering.get(record.model) or 'no release'} now")
    if answering is None:
        print("  the runtime does not answer: nothing is served now")
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
    record = _record(config, args.model)
    if args.json:
        print(json.dumps({"device": config.device, "model": record.model, **_facts(record)}, indent=2))
        return 0
    print(f"{record.model}: {_sentence(record)}")
    if record.last is not None:
        last = record.last
        when = "last update" if record.update is None else "the update before that"
        print(f"{when}: release {last.release}, attempt {last.attempt}: {last.outcome}")
        if last.reason:
            print(f"  because: {last.reason} ({last.code})")
        for name, value in sorted(last.facts.items()):
            print(f"  {name}: {value}")
    for entry in record.blocked:
        print(f"blocklisted: bundle {entry.bundle[:16]}, up to attempt {entry.attempt}: {entry.code}")
    print(f"floor: {record.floor}")
    return 0


def _record(config: configs.Config, name: str) -> slots.SlotRecord:
    return slots.read(slots.path_of(config.state, name)) or slots.SlotRecord(name)


def _facts(record: slots.SlotRecord) -> dict[str, Any]:
    value = asdict(record)
    del value["model"]
    return value


def _sentence(record: slots.SlotRecord) -> str:
    """What a model is doing, in plain words."""
    serves, update = record.serves, record.update
    if serves is None:
        now = "nothing is served"
    elif record.stage == "trial":
        baseline = f", release {record.other.release} waits behind it" if record.other else ""
        now = f"release {serves.release} ({serves.version}) is on trial{baseline}"
    else:
        now = f"release {serves.release} ({serves.version}) is served, committed with evidence {serves.evidence}"
    if update is None:
        return now
    so_far = f", {update.healthy_s} s healthy and {update.answers} answers so far" if update.healthy_s else ""
    return f"{now}; update to release {update.release}, attempt {update.attempt}: {update.state}{so_far}"
