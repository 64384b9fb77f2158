"""The demo's story on installed packages: a server, two devices, a camera app on each; good and bad releases.

The devices keep no inputs, so that what a release answers is judged on live traffic.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.device import lab
from bench.device.lab import Lab
from examples.demo import assets, damage
from tests.device import fleet
from tests.device.fleet import SETTINGS, Device, Server, wait

NAMES = ("edge-1", "edge-2")


@dataclass(frozen=True, slots=True)
class Story:
    room: Lab
    server: Server
    devices: tuple[Device, ...]


@pytest.fixture
def story(tmp_path: Path, debs: dict[str, Path]) -> Iterator[Story]:
    with lab.opened(tmp_path) as room:
        server = fleet.server(room, "server", debs)
        devices = tuple(Device(room.machine(name)) for name in NAMES)
        for device in devices:
            device.machine.boot()
            device.install(debs)
            device.enrol(server, SETTINGS + "[rehearsal]\nring = false\n")
        yield Story(room, server, devices)


def test_good_releases_are_committed_and_bad_ones_refused_or_taken_back_on_installed_devices(story: Story) -> None:
    server, devices = story.server, story.devices
    good = assets.ensure().classifier.read_bytes()

    server.publish(1, good)
    server.roll_out(1)
    server.follow(dict.fromkeys(NAMES, "committed"))
    for device in devices:
        device.start_camera()
        device.answered_by(1)

    server.publish(2, damage.restamp(good))
    server.roll_out(2)
    server.follow(dict.fromkeys(NAMES, "committed"))
    for device in devices:
        device.answered_by(2)
        device.undisturbed(1, 2)

    # kills who loads it
    server.publish(3, damage.crash(good), golden=False)
    server.roll_out(3)
    server.follow(dict.fromkeys(NAMES, "failed"))

    # answers the same to everything; one device hears of it later than the other
    server.publish(4, damage.constant(good))
    story.room.network.part(devices[1].machine.address)
    server.roll_out(4)
    wait("the device that is reached", lambda: server.states()["edge-1"] == "rolled-back")
    assert server.states()["edge-2"] not in ("rolled-back", "committed")
    devices[1].answered_by(2)
    devices[1].undisturbed(1, 2)
    story.room.network.heal(devices[1].machine.address)
    server.follow(dict.fromkeys(NAMES, "rolled-back"))
    for device in devices:
        device.answered_by(2)
        device.undisturbed(1, 2, 4, 2)
        last = device.explain()["last"]
        assert (last["release"], last["outcome"], last["code"]) == (4, "rolled-back", "constant")
        assert device.machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend") == ""
