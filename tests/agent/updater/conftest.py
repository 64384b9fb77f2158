"""Shared by the tests of the updater: a fleet, a device, and the folder that lies between them."""

from pathlib import Path

import pytest

from tests.agent.updater.scene import Device
from tests.repository import Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "data")


@pytest.fixture
def wire(tmp_path: Path) -> Path:
    return tmp_path / "wire"


@pytest.fixture
def device(fleet: Fleet, tmp_path: Path, wire: Path) -> Device:
    return Device(fleet, tmp_path / "device", wire)
