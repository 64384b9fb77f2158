"""A stick in place of a network: real commands, a real server that is gone when the stick is used, and a real device.

Time on the device is what it surely knows (device.dat), which only rises: so a stick grows old without waiting.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.updater.device import DeviceMemory
from examples.demo import damage
from examples.demo.assets import ensure
from examples.demo.fleet import MODEL, Fleet
from examples.demo.stage import Stage
from examples.demo.terminal import Terminal
from littoral import client
from tests import repository, sticks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DAY_S = 86_400
SETTINGS = """
[updates]
jitter_s = 0

[probation]
healthy_s = 1
answers = 0
canary_s = 0.2
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, Terminal(io.StringIO()))
    try:
        yield fleet
    finally:
        fleet.close()


def serve(fleet: Fleet) -> None:
    fleet.serve("--broker-engine", "iotcore")


def stop_server(fleet: Fleet) -> None:
    (server,) = (child for child in fleet.children if child.name == "server")
    server.ask_to_end()
    assert server.end()
    fleet.children.remove(server)
    (fleet.data / "server.json").unlink(missing_ok=True)


def serves(fleet: Fleet) -> int:
    (entry,) = client.models(fleet.devices["edge-1"].socket)
    return int(entry["release"])


def restart_agent(fleet: Fleet, known_time: int | None = None) -> None:
    """Starts it again, after `known_time` (seconds since 1970) surely came."""
    device = fleet.devices["edge-1"]
    device.agent.ask_to_end()
    assert device.agent.end()
    if known_time is not None:
        memory = DeviceMemory(device.folder, "main", "edge-1")
        memory._write(replace(memory.record, known_time=known_time))
    fleet.start_agent(device)


def install(fleet: Fleet, stick: str, wanted: int = 0) -> str:
    config = ("--config", "edge-1/agent.toml", "--wait")
    return fleet.command("littoral-agent", "install", stick, *config, wanted=wanted)


def test_a_device_without_a_network_takes_releases_from_a_stick_and_goes_on_online_afterwards(fleet: Fleet) -> None:
    stage = Stage(fleet.terminal, fleet, ensure())
    fleet.found()
    serve(fleet)
    stage.prepare()
    fleet.enrol(["edge-1"], SETTINGS)
    for release in (1, 2, 3):
        stage.publish(release, damage.restamp(stage.good, f"release {release}"), f"1.{release}")
    stage.roll_out(1, "committed")
    began = int(time.time())
    for release in (2, 3):
        exported = fleet.ask(
            "littoral-fleet", "export", f"stick-{release}", "--model", MODEL, "--release", str(release)
        )
        assert [(one["model"], one["release"]) for one in exported["releases"]] == [(MODEL, release)]
        assert began + 30 * DAY_S <= exported["expires"] <= int(time.time()) + 30 * DAY_S
    stop_server(fleet)

    # 20 days later
    restart_agent(fleet, began + 20 * DAY_S)
    told = install(fleet, "stick-2")
    assert re.search(rf"{MODEL}: release 2 is committed, with evidence (low|full)", told)
    assert serves(fleet) == 2
    assert not (fleet.folder / "edge-1" / "stick").exists()

    # somebody brings the stick of another fleet
    other = repository.Fleet(fleet.folder / "other", datetime.now(UTC))
    other.publish(MODEL, 9)
    sticks.write(other, fleet.folder / "foreign", datetime.now(UTC))
    assert re.search(r"release 9 is not installed: refused, .* \(metadata\)", install(fleet, "foreign", wanted=1))
    assert serves(fleet) == 2

    # the stored desired state names release 1, and does not undo it
    restart_agent(fleet, began + 31 * DAY_S)
    told = install(fleet, "stick-3", wanted=1)
    until = time.strftime("%Y-%m-%d", time.gmtime(exported["expires"]))
    assert f"release 3 is not installed: refused, the folder was good until {until}: export a new one" in told
    assert serves(fleet) == 2
    log = (fleet.folder / "edge-1-agent.log").read_text()
    assert log.count("release 1 is wanted") == 1

    # online again, in a time in which its metadata are good
    restart_agent(fleet, 0)
    serve(fleet)
    stage.roll_out(3, "committed")
    assert serves(fleet) == 3
    (heard,) = fleet.wait("the event of the first stick", lambda: fleet.events("installed-locally", 2))
    assert heard["device"] == "edge-1"
    assert heard["facts"]["uid"] >= 0
    kinds = [event["kind"] for event in fleet.get("events?device=")]
    assert kinds.count("exported") == 2
