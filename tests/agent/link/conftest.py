"""A fresh broker, the fleet's end of it, and one device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.link.loopback import Device, Fleet, Mosquitto, settings


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def fleet(broker: Mosquitto) -> Iterator[Fleet]:
    made = Fleet(broker)
    yield made
    made.close()


@pytest.fixture
def device(broker: Mosquitto, tmp_path: Path) -> Iterator[Device]:
    made = Device(settings(tmp_path, broker.port))
    yield made
    made.link.stop()
