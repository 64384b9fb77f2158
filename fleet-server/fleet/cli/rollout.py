"""`littoral-fleet rollout start` and `rollout status`: offer a release to devices, and see how far it came."""

import argparse
import json
import math
import time
from typing import Any
from urllib.parse import quote

from fleet.cli import remote, tables
from fleet.rollout import FAULTS, Outcome, RolloutState
from littoral.errors import NotFoundError
from littoral.wire.messages import GATES

POLL_S = 0.5
DONE, BAD, TIMED_OUT = 0, 1, 2
_BAD_OUTCOMES = {*FAULTS, Outcome.BLOCKED}
_WISH = ("model", "release", "to", "window", "urgent", "gate", "shadow_s")
_DEVICE_FIELDS = ("id", "state", "release", "evidence", "reason")


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("rollout", help="offer releases to devices", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    start = commands.add_parser("start", help="offer a published release to devices")
    start.add_argument("model", metavar="MODEL")
    start.add_argument("--release", type=int, required=True, metavar="I", help="number of the release")
    start.add_argument("--to", default="all", metavar="SELECTOR", help="all (default), a device's id, or tag=value")
    start.add_argument(
        "--window",
        default="",
        metavar="WINDOW",
        help='devices activate it only then, in their local time: "sat,sun 02:00-05:00; mon-fri 23:30-04:00" '
        "(as each is configured)",
    )
    start.add_argument(
        "--urgent",
        action="store_true",
        help="at any time: windows and leases do not count, and a running trial is rolled back first",
    )
    start.add_argument(
        "--gate",
        choices=[gate for gate in GATES if gate],
        default="",
        help="what a comparison with the release before decides: lineage (default), as the signed release says; "
        "strict, as for a rebuild; advisory, it is told and decides nothing",
    )
    start.add_argument(
        "--shadow",
        dest="shadow_s",
        type=hours,
        default=0,
        metavar="HOURS",
        help="before it is switched to, it answers sampled live inputs beside the release that serves for so long (0)",
    )
    start.add_argument("--json", action="store_true", help="print JSON")
    remote.add_options(start)
    start.set_defaults(run=run_start)
    status = commands.add_parser(
        "status",
        help="show the newest rollout of each model",
        description="Show the newest rollout of each model. With --wait, the exit status is 0 when every device "
        "committed, 1 when one went back, failed or refused, or the rollout halted, and 2 at the time-out.",
    )
    status.add_argument("model", metavar="MODEL", nargs="?", help="of this model only")
    status.add_argument("--wait", action="store_true", help="wait for the end")
    status.add_argument("--timeout-s", type=seconds, metavar="N", help="wait no longer than this")
    status.add_argument("--json", action="store_true", help="print JSON")
    remote.add_options(status)
    status.set_defaults(run=run_status)


def seconds(text: str) -> float:
    """A time to wait, for argparse. Raises ValueError: nan would be waited for without end."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError(text)
    return value


def hours(text: str) -> int:
    """Seconds out of so many hours, for argparse. Raises ValueError."""
    return round(seconds(text) * 3600)


def run_start(arguments: argparse.Namespace) -> int:
    wish = {name: getattr(arguments, name) for name in _WISH}
    with remote.connect(arguments) as server:
        rollout = server.post("/api/v1/rollouts", wish)
    if arguments.json:
        print(json.dumps(shape(rollout)))
    else:
        nobody = "" if rollout["devices"] else f": none is {arguments.to} now"
        count = len(rollout["devices"])
        devices = f"{count} device{'' if count == 1 else 's'}{nobody}"
        print(f"{rollout['model']} release {rollout['release']} is offered to {devices}")
    return 0


def run_status(arguments: argparse.Namespace) -> int:
    with remote.connect(arguments) as server:
        rollouts = newest(server, arguments.model)
        status = 0
        if arguments.wait:
            if not rollouts:
                raise NotFoundError("there is no rollout to wait for")
            status, rollouts = wait(server, arguments.model, arguments.timeout_s)
    if arguments.json:
        print(json.dumps([shape(rollout) for rollout in rollouts]))
    else:
        print(table(rollouts))
    return status


def wait(server: remote.Remote, model: str | None, timeout_s: float | None) -> tuple[int, list[dict[str, Any]]]:
    """Asks again and again until it ended or the time is up; the exit status and what was last seen."""
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        rollouts = newest(server, model)
        ended = verdict(rollouts)
        if ended is not None:
            return ended, rollouts
        if until is not None and time.monotonic() >= until:
            return TIMED_OUT, rollouts
        time.sleep(POLL_S)


def verdict(rollouts: list[dict[str, Any]]) -> int | None:
    """The exit status of `--wait`, None while it is open."""
    outcomes = {device["state"] for rollout in rollouts for device in rollout["devices"]}
    states = {rollout["state"] for rollout in rollouts}
    if outcomes & _BAD_OUTCOMES or states & {RolloutState.HALTED, RolloutState.ABORTED}:
        return BAD
    return DONE if states == {RolloutState.DONE} else None


def newest(server: remote.Remote, model: str | None) -> list[dict[str, Any]]:
    """The newest rollout of each model, by model."""
    path = "/api/v1/rollouts" + ("" if model is None else f"?model={quote(model)}")
    found: dict[str, dict[str, Any]] = {}
    for rollout in server.get(path):
        found.setdefault(rollout["model"], rollout)
    return [found[name] for name in sorted(found)]


def shape(rollout: dict[str, Any]) -> dict[str, Any]:
    """What --json prints of a rollout."""
    devices = [{name: device[name] for name in _DEVICE_FIELDS} for device in rollout["devices"]]
    return {**{name: rollout[name] for name in ("model", "release", "state")}, "devices": devices}


def table(rollouts: list[dict[str, Any]]) -> str:
    if not rollouts:
        return "no rollout yet"
    return "\n\n".join(_one(rollout) for rollout in rollouts)


def _one(rollout: dict[str, Any]) -> str:
    title = f"{rollout['model']} release {rollout['release']} to {rollout['to']}{_policy(rollout)}: {rollout['state']}"
    if rollout["reason"]:
        title += f", {tables.printable(rollout['reason'])}"
    if rollout["fault"] and rollout["fault"]["of"] > 1:
        title += f"\n{tables.printable(_fault(rollout['fault']))}"
    rows = [
        [d["id"], d["state"] + _progress(d), str(d["release"] or "-"), d["evidence"], d["reason"]]
        for d in rollout["devices"]
    ]
    return f"{title}\n" + tables.show(
        ["DEVICE", "STATE", "SERVES", "EVIDENCE", "REASON"], rows, "no device matches yet"
    )


def _fault(fault: dict[str, Any]) -> str:
    """What most devices found."""
    code = f"{fault['code']}: " if fault["code"] else ""
    return f"most often, on {fault['devices']} of {fault['of']} devices, {code}{fault['reason']}"


def _policy(rollout: dict[str, Any]) -> str:
    """What the operator said of it beside its release."""
    said = ["urgent" if rollout["urgent"] else rollout["window"]]
    said.append(f"gate {rollout['gate']}" if rollout["gate"] else "")
    said.append(f"{rollout['shadow_s'] / 3600:g} h in the shadow" if rollout["shadow_s"] else "")
    return "".join(f", {one}" for one in said if one)


def _progress(device: dict[str, Any]) -> str:
    if device["state"] != Outcome.FETCHING or not device["total_bytes"]:
        return ""
    return f" {100 * device['fetched_bytes'] // device['total_bytes']}%"
