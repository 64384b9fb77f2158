"""The whole house, judged from outside: health checks of the device's owner decide about an update.

Everything runs as real processes by the real commands; the checks are real scripts.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.demo import damage
from examples.demo.assets import ensure
from examples.demo.fleet import MODEL, Fleet
from examples.demo.stage import Stage
from examples.demo.terminal import Terminal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# The folder of the checks is in the device's own; no commit comes before a verdict could.
PATIENT = """
[updates]
jitter_s = 0

[probation]
healthy_s = 600
canary_s = 0.2
health_d = "health.d"
checks_s = 0.2
"""
QUICK = PATIENT.replace("600", "2\nanswers = 5")

# Bad as soon as release 2 answers, which it finds out as any app would.
ASKS = f"""#!{sys.executable}
import os, sys
from littoral import client
(entry,) = client.models(os.environ["LITTORAL_SOCKET"])
print("release", entry["release"], "answers at stage", os.environ["LITTORAL_STAGE"])
sys.exit(entry["release"] == 2)
"""


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """A short path, because sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="lt-") as folder:
        fleet = Fleet(Path(folder), Terminal(io.StringIO()))
        try:
            yield fleet
        finally:
            fleet.close()


def begin(fleet: Fleet, settings: str) -> Stage:
    """One device that serves release 1 to an app; release 2 is published."""
    stage = Stage(fleet.terminal, fleet, ensure())
    fleet.found()
    fleet.serve("--broker-engine", "iotcore")
    stage.prepare()
    fleet.enrol(["edge-1"], settings)
    stage.publish(1, stage.good, "1.0")
    stage.roll_out(1, "committed")
    fleet.start_camera()
    stage.publish(2, damage.restamp(stage.good, "release 2"), "2.0")
    return stage


def add(fleet: Fleet, kind: str, name: str, script: str) -> Path:
    path = fleet.folder / "edge-1" / "health.d" / f"{kind}.d" / name
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o755, exist_ok=True)
    path.touch(mode=0o644)
    path.write_text(script)
    path.chmod(0o755)
    return path


def start(fleet: Fleet, release: int) -> None:
    fleet.command("littoral-fleet", "rollout", "start", MODEL, "--release", str(release))


def stands(fleet: Fleet, outcome: str) -> dict[str, Any]:
    """The device, once it stands like this in the newest rollout."""

    def found() -> dict[str, Any] | None:
        (device,) = fleet.rollout()["devices"]
        return device if device["state"] == outcome else None

    return fleet.wait(outcome, found)


def status(fleet: Fleet) -> str:
    return fleet.command("littoral-agent", "status", "--config", "edge-1/agent.toml")


def served(fleet: Fleet) -> int:
    (entry,) = fleet.ask("littoral", "models", "--socket", "edge-1/query.sock")
    return int(entry["release"])


def test_a_required_check_that_turns_bad_with_a_release_rolls_it_back_and_blocklists_it(fleet: Fleet) -> None:
    begin(fleet, PATIENT)
    add(fleet, "required", "10-asks", ASKS)
    start(fleet, 2)
    device = stands(fleet, "rolled-back")
    assert "the required check 10-asks was bad 3 times in a row: release 2 answers at stage trial" in device["reason"]
    assert served(fleet) == 1
    last = fleet.explain("edge-1")["last"]
    assert (last["outcome"], last["code"], last["facts"]["check"]) == ("rolled-back", "external", "10-asks")
    (event,) = fleet.wait("the event", lambda: fleet.events("rolled-back", 2) or None)
    assert event["facts"]["code"] == "external"
    told = fleet.command("littoral-agent", "explain", MODEL, "--config", "edge-1/agent.toml")
    assert "(external)" in told
    assert "blocklisted" in told


def test_a_release_waits_for_what_was_bad_before_and_a_wanted_check_only_warns(fleet: Fleet) -> None:
    begin(fleet, QUICK)
    dark = fleet.folder / "dark"
    dark.touch()
    add(fleet, "required", "lamp", f"#!/bin/sh\n[ ! -e {dark} ] || {{ echo it is dark; exit 1; }}\n")
    add(fleet, "wanted", "fan", "#!/bin/sh\necho the fan stands; exit 1\n")
    start(fleet, 2)
    fleet.wait("the reason", lambda: "is bad already: it is dark (external)" in status(fleet) or None)
    reason = "the required check lamp is bad already: it is dark"
    fleet.wait("the reason upstream", lambda: reason in stands(fleet, "held")["reason"] or None)
    told = status(fleet)
    assert "warning: A health check of this device is bad (check-bad)" in told
    assert "the required check lamp is bad: it is dark" in told
    assert "the wanted check fan is bad: the fan stands" in told
    assert served(fleet) == 1
    dark.unlink()
    stands(fleet, "committed")
    assert served(fleet) == 2


def test_checks_that_hang_fork_and_flood_hold_nothing_up(fleet: Fleet) -> None:
    begin(fleet, QUICK.replace("checks_s = 0.2", "checks_s = 60"))
    add(fleet, "required", "a-hangs", "#!/bin/sh\ntrap '' TERM\nsleep 1000 & wait\nsleep 1000\n")
    add(fleet, "required", "b-forks", f"#!{sys.executable}\n{FORKS}")
    add(fleet, "required", "c-floods", "#!/bin/sh\nhead -c 30000000 /dev/zero\n")
    add(fleet, "required", "d-good", "#!/bin/sh\nexit 0\n")
    start(fleet, 2)
    fleet.wait("the checks", lambda: "the health checks of this device are asked" in status(fleet) or None)
    stands(fleet, "committed")
    assert served(fleet) == 2


FORKS = """import os, time
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
"""
