"""`littoral-agent status` and `explain`: what this device serves, what it is doing, and why."""

import argparse
import json
import time
from dataclasses import asdict
from typing import Any

from agent import config as configs
from agent import plain, slots, status
from agent.updater import evidence
from littoral import client
from littoral.client import info
from littoral.errors import LittoralError, UnknownModelError


def show(args: argparse.Namespace) -> int:
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


def explain(args: argparse.Namespace) -> int:
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
