"""What the demo sees while a release is on its way: the rollout from the server, the answers from the camera app."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from examples.demo.fleet import POLL_S, Fleet
from examples.demo.processes import DemoError
from examples.demo.terminal import Row, Terminal

LONGEST_S = 90.0
"""For one rollout, which takes about fifteen seconds on two cores."""
SETTLED_ANSWERS = 3

ENDS = ("committed", "rolled-back", "failed", "stuck", "blocked")
Standings = dict[str, dict[str, Any]]


def follow(
    fleet: Fleet,
    terminal: Terminal,
    release: int,
    ends: Mapping[str, str],
    look: Callable[[Standings], None] = lambda standings: None,
) -> Standings:
    """Shows a rollout until every device stands at its end in `ends`; how each stands then.

    `look` is called with every new look at it. Raises DemoError where a device comes to another end, or to none.
    """
    panel = terminal.panel()
    until = time.monotonic() + LONGEST_S
    while True:
        rollout = fleet.rollout()
        if rollout["release"] != release:
            raise DemoError(f"the newest rollout is of release {rollout['release']}, not {release}")
        standings: Standings = {device["id"]: device for device in rollout["devices"]}
        panel.show([_row(standing) for standing in standings.values()])
        look(standings)
        states = {name: str(standing["state"]) for name, standing in standings.items()}
        if states == ends:
            return standings
        for name, state in states.items():
            if state in ENDS and state != ends[name]:
                raise DemoError(f"{name}: {state}, not {ends[name]}: {standings[name]['reason']}")
        if time.monotonic() >= until:
            raise DemoError(f"release {release} did not come to {ends} within {LONGEST_S:.0f} s: {states}")
        fleet.check()
        time.sleep(POLL_S)


def _row(standing: Mapping[str, Any]) -> Row:
    state, reason = str(standing["state"]), str(standing["reason"])
    if state == "fetching" and standing["total_bytes"]:
        share = standing["fetched_bytes"] / standing["total_bytes"]
        text = f"{standing['fetched_bytes'] / 1000:.0f} of {standing['total_bytes'] / 1000:.0f} KB"
        return Row(standing["id"], state, f"{text}  {reason}", share)
    return Row(standing["id"], state, reason)


@dataclass(frozen=True, slots=True)
class Service:
    """What the camera app saw of all devices over some time.

    out_of_order: answers of a release that had no business to answer then. by_release: answers of each.
    """

    asked: int
    refused: int
    dropped: int
    reconnected: int
    out_of_order: int
    slowest_us: int
    by_release: dict[int, int]

    @property
    def undisturbed(self) -> bool:
        return not (self.refused or self.dropped or self.reconnected or self.out_of_order)

    def __str__(self) -> str:
        return (
            f"{self.asked} questions: {self.dropped} dropped, {self.refused} refused, "
            f"{self.out_of_order} out of order, {self.reconnected} connections lost; "
            f"longest wait {self.slowest_us / 1000:.0f} ms"
        )


def settled(fleet: Fleet, release: int) -> dict[str, Any]:
    """The camera's counts once every device has answered some questions by `release`."""

    def counts() -> dict[str, Any] | None:
        camera = fleet.camera()
        last = [watch["spans"][-1:] for watch in camera.values()]
        there = all(
            spans and spans[0]["release"] == release and spans[0]["answers"] >= SETTLED_ANSWERS for spans in last
        )
        return camera if there else None

    return fleet.wait(f"an answer by release {release} on every device", counts)


def served(before: Mapping[str, Any], after: Mapping[str, Any], orders: Mapping[str, Sequence[int]]) -> Service:
    """What was counted from `before` to `after`, where each device was to answer by its releases in `orders`."""
    totals = {
        name: sum(after[device][name] - before[device][name] for device in after)
        for name in ("asked", "refused", "dropped", "reconnected")
    }
    out_of_order, slowest_us = 0, 0
    by_release: dict[int, int] = {}
    for device in after:
        spans = _spans_since(before[device]["spans"], after[device]["spans"])
        slowest_us = max([slowest_us, *(span["slowest_us"] for span in spans)])
        out_of_order += _astray(spans, orders[device])
        for span in spans:
            by_release[span["release"]] = by_release.get(span["release"], 0) + span["answers"]
    return Service(**totals, out_of_order=out_of_order, slowest_us=slowest_us, by_release=by_release)


def _spans_since(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The spans of answers since `before`, of which the first is what went on of the last one then."""
    going_on, then = dict(after[len(before) - 1]), before[-1]
    going_on["answers"] -= then["answers"]
    if going_on["slowest_us"] == then["slowest_us"]:
        going_on["slowest_us"] = 0
    return [going_on, *map(dict, after[len(before) :])]


def _astray(spans: Sequence[Mapping[str, Any]], order: Sequence[int]) -> int:
    """Answers from where on the releases are not those of `order`; 1 where they only end too early."""
    releases = [span["release"] for span in spans]
    if releases == list(order):
        return 0
    right = 0
    while right < min(len(releases), len(order)) and releases[right] == order[right]:
        right += 1
    astray: int = sum(span["answers"] for span in spans[right:])
    return max(1, astray)
