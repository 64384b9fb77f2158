"""Devices for tests of the runtime; whatever they run ends with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.runtime.device import REAL_HOST, SCRIPTED_HOST, Device, engine_under_test
from tests.agent.runtime.lone import Lone

MakeDevice = Callable[..., Device]
MakeLone = Callable[..., Lone]


@pytest.fixture
def scripted_device(tmp_path: Path) -> Iterator[MakeDevice]:
    """Makes a device whose models do what their bytes say (scripted.py)."""
    made: list[Device] = []

    def make(tables: str = "", **runtime: object) -> Device:
        made.append(Device(tmp_path, SCRIPTED_HOST, runtime, tables))
        return made[-1]

    yield make
    for device in made:
        device.stop()


@pytest.fixture
def real_device(tmp_path: Path) -> Iterator[MakeDevice]:
    """Makes a device with the engine that this run of the tests is about."""
    made: list[Device] = []

    def make(tables: str = "", **runtime: object) -> Device:
        made.append(Device(tmp_path, REAL_HOST, {"engine": engine_under_test(), **runtime}, tables))
        return made[-1]

    yield make
    for device in made:
        device.stop()


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[MakeLone]:
    """Makes worker processes without a host."""
    made: list[Lone] = []

    def make(content: bytes, **fields: Any) -> Lone:
        made.append(Lone(tmp_path / f"worker-{len(made)}", content, **fields))
        return made[-1]

    yield make
    for each in made:
        each.stop()
