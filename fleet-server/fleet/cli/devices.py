"""`littoral-fleet devices` and `device show ID`: who is there, and what each serves."""

import argparse
import json
from typing import Any
from urllib.parse import quote

from fleet.cli import judgements, remote, tables
from littoral.names import check_name

_MODEL_FIELDS = ("release", "stage", "evidence")


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    every = subparsers.add_parser("devices", help="list the devices and what they serve")
    every.add_argument("--json", action="store_true", help="print JSON")
    remote.add_options(every)
    every.set_defaults(run=run_list)
    one = subparsers.add_parser("device", help="look at one device")
    commands = one.add_subparsers(required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="show all that is known of a device")
    show.add_argument("id", metavar="ID")
    show.add_argument("--json", action="store_true", help="print JSON")
    remote.add_options(show)
    show.set_defaults(run=run_show)


def run_list(arguments: argparse.Namespace) -> int:
    with remote.connect(arguments) as server:
        devices = server.get("/api/v1/devices")
    if arguments.json:
        print(json.dumps([shape(device) for device in devices]))
    else:
        print(table(devices))
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    check_name(arguments.id, "device")
    with remote.connect(arguments) as server:
        device = server.get(f"/api/v1/devices/{quote(arguments.id, safe='')}")
    print(json.dumps(device) if arguments.json else text(device))
    return 0


def shape(device: dict[str, Any]) -> dict[str, Any]:
    """What --json prints of a device in the list."""
    models = {name: {field: state[field] for field in _MODEL_FIELDS} for name, state in device["models"].items()}
    return {**{name: device[name] for name in ("id", "online", "tags")}, "models": models}


def table(devices: list[dict[str, Any]]) -> str:
    """The list for people: what each serves, and what it is at and waits for."""
    rows = [[d["id"], _presence(d), _tags(d), _models(d), _updates(d)] for d in devices]
    return tables.show(["DEVICE", "ONLINE", "TAGS", "SERVES", "UPDATE"], rows, "no device is enrolled yet")


def text(device: dict[str, Any]) -> str:
    """A device for people."""
    facts = [
        ["online", _presence(device)],
        ["tags", _tags(device)],
        ["architecture", device["architecture"]],
        ["engine", device["engine"]],
        ["agent", device["agent"]],
        ["enrolled", tables.date(device["enrolled"])],
        ["heard of", tables.date(device["seen"])],
        ["generation", f"{device['generation']} (wanted: {device['desired_generation']})"],
        *[row for alarm in device["warnings"] for row in _alarm(alarm)],
    ]
    models = [
        [name, str(state["release"] or "-"), state["version"], state["stage"], state["evidence"], _last(state)]
        for name, state in sorted(device["models"].items())
    ]
    events = [[tables.date(e["received"]), e["kind"], e["text"]] for e in device["events"][:10]]
    header = ["MODEL", "RELEASE", "VERSION", "STAGE", "EVIDENCE", "LAST UPDATE"]
    return "\n\n".join(
        [
            tables.show([device["id"], ""], facts, ""),
            tables.show(header, models, "it serves no model"),
            *map(judgements.text, device["judgements"]),
            tables.show(["WHEN", "EVENT", ""], events, "no event yet"),
        ]
    )


def _alarm(alarm: dict[str, str]) -> list[list[str]]:
    """Something wrong with the device: what, what was found, what can be done, a row each."""
    lines = [f"{alarm['title']} ({alarm['code']})", alarm["text"], alarm["remedy"]]
    return [[alarm["severity"] if at == 0 else "", line] for at, line in enumerate(lines) if line]


def _presence(device: dict[str, Any]) -> str:
    return "yes" if device["online"] else "no"


def _tags(device: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(device["tags"].items())) or "-"


def _models(device: dict[str, Any]) -> str:
    parts = []
    for name, state in sorted(device["models"].items()):
        trial = " (trial)" if state["stage"] == "trial" else ""
        parts.append(f"{name} {state['release'] or '-'}{trial}")
    return ", ".join(parts) or "-"


def _updates(device: dict[str, Any]) -> str:
    running = ((name, state["update"]) for name, state in sorted(device["models"].items()) if state["update"])
    return "; ".join(f"{name} {_update(update)}" for name, update in running)


def _update(update: dict[str, Any]) -> str:
    """An update on its way: how far it is, and why it waits."""
    share = ""
    if update["state"] == "fetch" and update["total_bytes"]:
        share = f" {100 * update['fetched_bytes'] // update['total_bytes']}%"
    why = f", {update['detail']}" if update["detail"] else ""
    return f"release {update['release']}: {update['state']}{share}{why}"


def _last(state: dict[str, Any]) -> str:
    if state["update"]:
        return _update(state["update"])
    last = state["last"]
    return f"release {last['release']}: {last['outcome']} {last['reason']}".rstrip() if last else ""
