"""The C client compiled once, and programs that use it; whatever they run ends with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from examples.demo.assets import Assets, ensure
from tests.agent.runtime.conftest import MakeDevice, real_device, scripted_device
from tests.agent.runtime.device import Device
from tests.clients.driver import TESTS, Driver, Runtime, build

__all__ = ["real_device", "scripted_device"]  # fixtures of the runtime's tests, for these too

MakeDriver = Callable[[], Driver]
CARD = b"""
[[input]]
kind = "image"
colour = "rgb"
resize = "stretch"
mean = ["128", "128", "128"]
scale = "0.0078125"

[[output]]
decoder = "classification"
"""


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """driver.c, compiled."""
    return build(tmp_path_factory.mktemp("c"), "gcc", TESTS / "driver.c")


@pytest.fixture
def drivers(program: Path, tmp_path: Path) -> Iterator[MakeDriver]:
    """Makes clients of the socket query.sock in tmp_path."""
    made: list[Driver] = []

    def make() -> Driver:
        made.append(Driver(program, tmp_path / "query.sock", tmp_path))
        return made[-1]

    yield make
    for driver in made:
        driver.end()


@pytest.fixture
def driver(drivers: MakeDriver) -> Driver:
    return drivers()


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    with closing(Runtime(tmp_path / "query.sock")) as made:
        yield made


@pytest.fixture(scope="module")
def assets() -> Assets:
    return ensure()


@pytest.fixture
def pictures(real_device: MakeDevice, assets: Assets) -> Device:
    """A device that serves the classifier of photographs with a card."""
    made = real_device()
    labels = "\n".join(assets.labels).encode()
    made.record("classifier", made.add("classifier", 3, assets.classifier.read_bytes(), labels=labels, card=CARD))
    made.start()
    return made
