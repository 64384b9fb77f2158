import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet import ca, keys, repo, store
from fleet.broker import Engine
from fleet.repo import Repository
from fleet.store import Store
from tests.fleet.parts import PASSPHRASE, Fleet, now, start_fleet


@pytest.fixture(scope="session")
def new_fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, as `littoral-fleet init` leaves it, and the operator's `keys`. To be copied only."""
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "data").mkdir()
    ca.create(folder / "data")
    repo.create(folder / "data", keys.make(folder / "keys", PASSPHRASE), now())
    (folder / "data" / "admin-token").write_text(store.create(folder / "data"))
    return folder


@pytest.fixture
def data(new_fleet: Path, tmp_path: Path) -> Path:
    """DATA of a fleet of this test's own."""
    shutil.copytree(new_fleet / "data", tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def opened(data: Path) -> Iterator[Store]:
    opened = Store(data)
    yield opened
    opened.close()


@pytest.fixture
def repository(data: Path) -> Repository:
    return Repository(data)


@pytest.fixture
def fleet(data: Path, new_fleet: Path) -> Iterator[Fleet]:
    """A fleet server on mosquitto, running in this process."""
    engine = Engine(os.environ.get("LITTORAL_TEST_BROKER", Engine.MOSQUITTO))
    fleet = start_fleet(data, new_fleet / "keys", engine)
    yield fleet
    for device in fleet.devices:
        device.stop()
    fleet.server.shutdown()
