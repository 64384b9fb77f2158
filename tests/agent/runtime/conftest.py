"""Devices for tests of the runtime; whatever they run ends with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent.runtime.device import REAL_HOST, SCRIPTED_HOST, Device, engine_under_test

MakeDevice = Callable[..., Device]


@pytest.fixture
def scripted_device(tmp_path: Path) -> Iterator[MakeDevice]:
    """Makes a device whose models do what their bytes say (scripted.py)."""
    made: list[Device] = []

    def make(**runtime: object) -> Device:
        made.append(Device(tmp_path, SCRIPTED_HOST, runtime))
        return made[-1]

    yield make
    for device in made:
        device.stop()


@pytest.fixture
def real_device(tmp_path: Path) -> Iterator[MakeDevice]:
    """Makes a device with the engine that this run of the tests is about."""
    made: list[Device] = []

    def make(**runtime: object) -> Device:
        made.append(Device(tmp_path, REAL_HOST, {"engine": engine_under_test(), **runtime}))
        return made[-1]

    yield make
    for device in made:
        device.stop()
