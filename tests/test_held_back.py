"""The whole house: an update that is ready waits for its maintenance window, then for an app's lease, and then comes.

Everything runs as real processes by the real commands.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.demo import damage
from examples.demo.assets import ensure
from examples.demo.fleet import MODEL, Fleet
from examples.demo.stage import Stage
from examples.demo.terminal import Terminal
from littoral.client import lease

pytestmark = [pytest.mark.slow, pytest.mark.mosquitto]

QUICK = """
[updates]
jitter_s = 0

[probation]
healthy_s = 1
answers = 5
canary_s = 0.2
"""
DAY_S = 86_400


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A fleet of one device, which serves release 1 to an app; a short path, because sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="lt-") as folder:
        fleet = Fleet(Path(folder), Terminal(io.StringIO()))
        try:
            stage = Stage(fleet.terminal, fleet, ensure())
            fleet.found()
            fleet.serve()
            stage.prepare()
            fleet.enrol(["edge-1"], QUICK)
            stage.publish(1, stage.good, "1.0")
            stage.roll_out(1, "committed")
            fleet.start_camera()
            yield stage
        finally:
            fleet.close()


def far_window() -> str:
    """Of one hour, half a day from now."""
    opens = time.localtime(time.time() + DAY_S / 2)
    return time.strftime("%H:%M-", opens) + time.strftime("%H:%M", time.localtime(time.mktime(opens) + 3600))


def wait_for(fleet: Fleet, state: str, why: str) -> None:
    """Until the device stands like this in the newest rollout, for a reason that holds this word."""

    def stands() -> bool | None:
        (device,) = fleet.rollout()["devices"]
        return (device["state"] == state and why in device["reason"]) or None

    fleet.wait(f"{state} {why}", stands)


def served(fleet: Fleet) -> int:
    (entry,) = fleet.ask("littoral", "models", "--socket", "edge-1/query.sock")
    return int(entry["release"])


def test_an_update_waits_for_its_window_and_then_for_a_lease(stage: Stage) -> None:
    fleet = stage.fleet
    start = ["littoral-fleet", "rollout", "start", MODEL, "--release", "2"]
    stage.publish(2, damage.restamp(stage.good, "release 2"), "2.0")
    with lease(MODEL, fleet.folder / "edge-1" / "query.sock") as held:
        fleet.command(*start, "--window", far_window())
        wait_for(fleet, "held", "window")
        assert served(fleet) == 1
        fleet.command(*start, "--window", "00:00-24:00")
        wait_for(fleet, "held", "lease")
        assert served(fleet) == 1
        assert held.ended is None
    wait_for(fleet, "committed", "")
    assert served(fleet) == 2


def test_what_is_urgent_waits_for_neither(stage: Stage) -> None:
    fleet = stage.fleet
    stage.publish(2, damage.restamp(stage.good, "release 2"), "2.0")
    with lease(MODEL, fleet.folder / "edge-1" / "query.sock") as held:
        start = ["littoral-fleet", "rollout", "start", MODEL, "--release", "2"]
        fleet.command(*start, "--window", far_window())
        wait_for(fleet, "held", "outside of the window")
        fleet.command(*start, "--urgent")
        wait_for(fleet, "committed", "")
        assert served(fleet) == 2
        assert held.ended is None
