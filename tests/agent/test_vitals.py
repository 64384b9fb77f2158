"""agent/vitals.py: when the device is looked at, what pace the runtime is told, and what has to wait."""

from dataclasses import replace

import pytest

from agent.config import Hardware
from agent.control import Message, Pace
from agent.health.device import Readings, Zone
from agent.vitals import FULL_PACE, READ_S, WATCHED_S, Vitals


class Runtime:
    """Takes what it is told while it is connected."""

    def __init__(self) -> None:
        self.connections = 1
        self.connected = True
        self.told: list[Message] = []

    def send(self, message: Message) -> bool:
        self.told.append(message)
        return True


class Scene:
    def __init__(self, settings: Hardware | None = None) -> None:
        self.readings = Readings(zones=(Zone("cpu", 40_000),), disk_free_bytes=1 << 30)
        self.reads = 0
        self.runtime = Runtime()
        self.vitals = Vitals(settings or Hardware(), self.read, self.runtime)
        self.now = 0.0

    def read(self) -> Readings:
        self.reads += 1
        return self.readings

    def degrees(self, celsius: int) -> None:
        self.readings = replace(self.readings, zones=(Zone("cpu", celsius * 1000),))
        self.run(READ_S)

    def run(self, seconds: float, watched: bool = False) -> None:
        for _ in range(int(seconds)):
            self.now += 1.0
            self.vitals.tick(self.now, watched)


@pytest.fixture
def scene() -> Scene:
    made = Scene()
    made.run(1)
    return made


def test_the_device_is_looked_at_rarely_and_more_often_while_a_release_is_judged(scene: Scene) -> None:
    scene.run(200)
    assert scene.reads == 1 + 200 // READ_S
    scene.reads = 0
    scene.run(200, watched=True)
    assert scene.reads == 200 // WATCHED_S


def test_a_runtime_on_a_device_that_is_well_is_told_nothing(scene: Scene) -> None:
    scene.run(30)
    assert scene.runtime.told == []
    assert scene.vitals.shadows
    assert not scene.vitals.troubled


@pytest.mark.parametrize(("celsius", "pace"), [(72, Pace(0, False)), (82, Pace(100, False)), (92, Pace(300, False))])
def test_the_worse_it_is_the_less_is_done(scene: Scene, celsius: int, pace: Pace) -> None:
    scene.degrees(celsius)
    assert scene.runtime.told == [pace]
    assert not scene.vitals.shadows
    assert scene.vitals.troubled
    scene.degrees(40)
    scene.run(100)
    assert scene.runtime.told[-1] == FULL_PACE
    assert scene.vitals.shadows


def test_a_pace_is_told_once_for_each_connection_and_not_while_there_is_none(scene: Scene) -> None:
    scene.runtime.connected = False
    scene.degrees(82)
    assert scene.runtime.told == []
    scene.runtime.connected = True
    scene.run(5)
    assert scene.runtime.told == [Pace(100, False)]
    scene.runtime.connections += 1
    scene.run(5)
    assert scene.runtime.told == [Pace(100, False)] * 2
    scene.runtime.connected = False
    scene.degrees(40)
    scene.run(100)
    scene.runtime.connected, scene.runtime.connections = True, 3
    scene.run(5)
    assert scene.runtime.told == [Pace(100, False)] * 2  # a new connection begins at full pace


def test_how_long_workers_rest_is_the_operators_and_bounded() -> None:
    scene = Scene(Hardware(rest_percent=9_000, hot_c=60, critical_c=70))
    scene.degrees(61)
    scene.degrees(71)
    assert scene.runtime.told == [Pace(9_000, False), Pace(10_000, False)]
    lax = Scene(Hardware(rest_percent=0))
    lax.degrees(82)
    assert lax.runtime.told == [Pace(0, False)]


@pytest.mark.parametrize(
    ("changed", "unfit"),
    [
        ({"zones": (Zone("cpu", 82_000),)}, []),
        ({"zones": (Zone("cpu", 92_000),)}, ["too-hot"]),
        ({"disk_free_bytes": 1000}, ["disk-low"]),
        ({"stalled_percent": 50.0}, []),
    ],
)
def test_only_a_device_in_critical_trouble_tries_no_release(
    scene: Scene, changed: dict[str, object], unfit: list[str]
) -> None:
    scene.readings = replace(scene.readings, **changed)  # type: ignore[arg-type]
    scene.run(READ_S)
    assert [symptom.code for symptom in scene.vitals.unfit] == unfit


def test_people_are_told_what_was_read(scene: Scene) -> None:
    scene.degrees(82)
    told = scene.vitals.told()
    assert told["level"] == "troubled"
    assert told["zones"][0]["temperature_mc"] == 82_000
    assert told["stalled_percent"] is None
