"""What an update waits for, and what is watched after a commit: a real server, a real device, and real commands."""

import io
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.demo import damage
from examples.demo.assets import ensure
from examples.demo.fleet import MODEL, Fleet
from examples.demo.stage import Stage
from examples.demo.terminal import Terminal
from littoral import client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SETTINGS = """
[updates]
jitter_s = 0

[probation]
healthy_s = 2
answers = 20
canary_s = 0.2
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, Terminal(io.StringIO()))
    try:
        yield fleet
    finally:
        fleet.close()


@pytest.fixture
def stage(fleet: Fleet) -> Stage:
    """One device that serves release 1, which nobody has asked yet."""
    made = Stage(fleet.terminal, fleet, ensure())
    fleet.found()
    fleet.serve("--broker-engine", "iotcore")
    made.prepare()
    fleet.enrol(["edge-1"], SETTINGS)
    publish(made, 1)
    made.roll_out(1, "committed")
    return made


def publish(stage: Stage, release: int) -> None:
    stage.publish(release, damage.restamp(stage.good, f"release {release}"), f"1.{release}", golden=False)


def explain(fleet: Fleet) -> str:
    return fleet.command("littoral-agent", "explain", MODEL, "--config", "edge-1/agent.toml")


def explained(fleet: Fleet, words: str) -> str:
    return fleet.wait(f"'{words}'", lambda: told if words in (told := explain(fleet)) else None)


def closed_now() -> str:
    """A window of two hours that opens in about eleven."""
    hour = time.localtime().tm_hour
    return f"{(hour + 12) % 24:02d}:00-{(hour + 14) % 24:02d}:00"


def test_an_update_waits_for_its_window_and_for_leases_and_says_so(stage: Stage) -> None:
    fleet = stage.fleet
    publish(stage, 2)
    fleet.command("littoral-fleet", "rollout", "start", MODEL, "--release", "2", "--window", closed_now())
    told = explained(fleet, "outside of the window")
    assert "update to release 2, attempt 1: ready: it is tested, and waits to be switched to" in told
    assert "it may wait for this as long as it takes" in told
    assert "in this state since" in told
    with client.lease(MODEL, fleet.devices["edge-1"].socket):
        fleet.command("littoral-fleet", "rollout", "start", MODEL, "--release", "2")
        told = explained(fleet, "a lease is held")
        assert "that is waited for 3600 s at most" in told
        assert "release 1 (1.1) is served" in told
    explained(fleet, "release 2 (1.2) is on trial, release 1 waits behind it")


def test_a_first_release_that_crashes_after_its_commit_is_unloaded_and_tells_its_clients(stage: Stage) -> None:
    fleet = stage.fleet
    assert "watched on until its evidence is full" in explained(fleet, "committed with evidence first")
    device = fleet.devices["edge-1"]
    host = device.runtime.pid
    workers = [int(word) for word in Path(f"/proc/{host}/task/{host}/children").read_text().split()]
    for worker in workers:
        os.kill(worker, signal.SIGSEGV)
    told = explained(fleet, "nothing is served")
    assert "release 1, attempt 1: failed" in told
    assert "(crashed)" in told
    assert "blocklisted" in told
    (entry,) = client.models(device.socket)
    assert entry["release"] == 0
