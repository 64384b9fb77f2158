"""What all device tests need: root, and the programs that make a machine. They are slow."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from bench.device import lab, packages
from bench.device.lab import Lab
from examples.demo import assets, damage
from tests.device import fleet
from tests.device.fleet import Device, Server

HERE = Path(__file__).parent
NUMBERS = count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    lacking = lab.lacking() if ours else ""
    for item in ours:
        item.add_marker(pytest.mark.root)
        item.add_marker(pytest.mark.slow)
        item.add_marker(pytest.mark.skipif(bool(lacking), reason=lacking))


@pytest.fixture(scope="session")
def debs() -> dict[str, Path]:
    """The packages of this working tree, by name."""
    return packages.ensure()


@pytest.fixture(scope="session")
def newer(debs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same packages under a higher version."""
    folder = tmp_path_factory.mktemp("newer")
    return {name: packages.other_version(path, "9.0", folder) for name, path in debs.items()}


@dataclass(frozen=True, slots=True)
class Template:
    """What a device looks like that serves release 1, and a folder with release 2 for it, as a tar file.

    Its server has both releases, and is off.
    """

    disk: Path
    stick: Path
    server: Server


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, room: Lab, debs: dict[str, Path]) -> Template:
    """A device is enrolled, and commits release 1 of the demo's classifier. Its server is off afterwards."""
    folder = tmp_path_factory.mktemp("template")
    good = assets.ensure().classifier.read_bytes()
    server = fleet.server(room, "server", debs)
    device = Device(room.machine("edge"))
    device.machine.boot()
    device.install(debs)
    device.enrol(server)
    for release in (1, 2):
        server.publish(release, damage.restamp(good, f"release {release}"))
    server.roll_out(1)
    server.follow({"edge": "committed"})
    stick = server.export(2, folder)
    device.start_camera()
    device.answered_by(1)
    fleet.wait("full evidence", lambda: device.explain()[device.explain()["active"]]["evidence"] == "full")
    device.machine.poweroff()
    server.machine.poweroff()
    return Template(device.machine.image, stick, server)


@pytest.fixture
def server(template: Template) -> Iterator[Server]:
    """The server of the device of the template, which is reached by every device that is made from it."""
    template.server.machine.boot()
    yield template.server
    template.server.machine.poweroff()


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab.opened(tmp_path_factory.mktemp("lab")) as opened:
        yield opened


@pytest.fixture
def device(room: Lab, template: Template) -> Iterator[Device]:
    """A device of its own that serves release 1 to its camera app, and whose server is not there."""
    made = Device(room.machine(f"edge-{next(NUMBERS)}", disk=template.disk))
    made.machine.boot()
    made.answered_by(1)
    yield made
    if made.machine.is_on:
        made.machine.power_cut()
    made.machine.discard()
