"""agent/health/device.py: what is trouble, how bad it is, and that it ends only when it is surely over."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from agent.alarms import KINDS
from agent.health.device import (
    CALM_S,
    CAPPED,
    LEVELS,
    SOFT_LIMIT,
    THROTTLED,
    UNDER_VOLTAGE,
    UNDER_VOLTAGE_BEFORE,
    DeviceHealth,
    Level,
    Limits,
    Readings,
    Zone,
)

MB = 1024 * 1024
WELL = Readings(
    zones=(Zone("cpu-thermal", 50_000),),
    firmware=0,
    low_voltage=False,
    frequency_percent=100,
    stalled_percent=0.0,
    memory_bytes=1000 * MB,
    available_bytes=500 * MB,
    disk_free_bytes=1000 * MB,
)


def degrees(celsius: float, **trips: int) -> Readings:
    return replace(WELL, zones=(Zone("cpu-thermal", round(celsius * 1000), **trips),))


def codes(health: DeviceHealth) -> list[str]:
    return [symptom.code for symptom in health.symptoms]


def seen(readings: Readings, limits: Limits | None = None) -> DeviceHealth:
    """The health of a device that was well before it was so."""
    health = DeviceHealth(limits or Limits())
    health.look(replace(WELL, zones=()), 0.0)
    health.look(readings, 10.0)
    return health


def over_time(health: DeviceHealth, readings: Iterable[Readings], began: float) -> list[list[str]]:
    found = []
    for number, each in enumerate(readings):
        health.look(each, began + 10.0 * number)
        found.append(codes(health))
    return found


def test_a_device_that_is_well_has_no_symptom_and_neither_has_one_that_says_nothing() -> None:
    for readings in (WELL, Readings()):
        health = DeviceHealth(Limits())
        health.look(readings, 0.0)
        assert (health.level, health.symptoms) == (Level.FINE, ())


@pytest.mark.parametrize(
    ("readings", "code", "level", "text"),
    [
        (degrees(70), "warm", Level.STRAINED, "cpu-thermal is at 70 °C; the limit is 70 °C"),
        (degrees(80), "hot", Level.TROUBLED, "cpu-thermal is at 80 °C; the limit is 80 °C"),
        (degrees(90), "too-hot", Level.CRITICAL, "cpu-thermal is at 90 °C; the limit is 90 °C"),
        (replace(WELL, firmware=SOFT_LIMIT), "warm", Level.STRAINED, "the firmware's soft temperature limit"),
        (replace(WELL, firmware=THROTTLED), "throttled", Level.TROUBLED, "the firmware caps"),
        (replace(WELL, firmware=CAPPED), "throttled", Level.TROUBLED, "the firmware caps"),
        (replace(WELL, frequency_percent=60), "throttled", Level.TROUBLED, "capped at 60 %"),
        (replace(WELL, firmware=UNDER_VOLTAGE), "under-voltage", Level.TROUBLED, "too low now"),
        (replace(WELL, low_voltage=True), "under-voltage", Level.TROUBLED, "too low now"),
        (replace(WELL, firmware=UNDER_VOLTAGE_BEFORE), "voltage-was-low", Level.FINE, "since the boot"),
        (replace(WELL, stalled_percent=10.0), "memory-short", Level.STRAINED, "wait for memory 10 % of the time"),
        (
            replace(WELL, stalled_percent=None, available_bytes=60 * MB),
            "memory-short",
            Level.STRAINED,
            "60 of 1000 MB are available",
        ),
        (replace(WELL, disk_free_bytes=8 * MB - 1), "disk-low", Level.FINE, "8191 KB are free"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_each_trouble_has_a_name_and_a_level(readings: Readings, code: str, level: Level, text: str) -> None:
    health = seen(readings)
    assert codes(health) == [code]
    assert health.level is level
    assert text in health.symptoms[0].text


@pytest.mark.parametrize(
    "readings",
    [
        degrees(69.9),
        replace(WELL, frequency_percent=91),
        replace(WELL, stalled_percent=9.9),
        replace(WELL, stalled_percent=0.0, available_bytes=1),  # nothing waits for it
        replace(WELL, stalled_percent=None, available_bytes=63 * MB),
        replace(WELL, stalled_percent=None, memory_bytes=None, available_bytes=1),
        replace(WELL, disk_free_bytes=8 * MB),
    ],
)
def test_below_its_limit_nothing_is_trouble(readings: Readings) -> None:
    assert codes(seen(readings)) == []


def test_every_trouble_is_an_alarm_and_what_is_critical_holds_releases_back() -> None:
    known = DeviceHealth(Limits())._troubles
    assert set(known) <= set(KINDS)
    assert set(LEVELS) <= set(known)
    assert {code for code in known if KINDS[code].severity == "critical"} == {"too-hot", "disk-low"}


# --- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "warm", "hot", "critical"),
    [
        (Zone("a", 0), 70, 80, 90),
        (Zone("a", 0, critical_mc=110_000), 70, 80, 90),
        (Zone("a", 0, critical_mc=90_000), 70, 80, 85),
        (Zone("a", 0, hot_mc=97_000, critical_mc=104_000), 87, 97, 99),
        (Zone("a", 0, hot_mc=85_000, critical_mc=115_000), 75, 85, 95),
        (Zone("a", 0, hot_mc=95_000, critical_mc=95_000), 85, 95, 95),
    ],
)
def test_a_zone_that_knows_its_limits_is_believed(zone: Zone, warm: int, hot: int, critical: int) -> None:
    for celsius, code in ((warm - 1, ""), (warm, "warm"), (hot, "hot"), (critical, "too-hot")):
        worst = "too-hot" if celsius >= critical else code
        found = codes(seen(replace(WELL, zones=(replace(zone, temperature_mc=celsius * 1000),))))
        assert found == ([worst] if worst else [])


def test_the_operator_knows_better_than_the_zone() -> None:
    limits = Limits(hot_mc=60_000, critical_mc=65_000)
    zone = Zone("a", 0, hot_mc=95_000, critical_mc=105_000)
    for celsius, code in ((49, []), (50, ["warm"]), (60, ["hot"]), (65, ["too-hot"])):
        assert codes(seen(replace(WELL, zones=(replace(zone, temperature_mc=celsius * 1000),)), limits)) == code


def test_the_zone_that_is_nearest_to_its_own_limit_counts() -> None:
    zones = (Zone("gpu", 88_000, hot_mc=97_000), Zone("cpu", 82_000, hot_mc=80_000))
    health = seen(replace(WELL, zones=zones))
    assert codes(health) == ["hot"]
    assert health.symptoms[0].text.startswith("cpu is at 82 °C")


def test_a_processor_that_was_capped_all_along_is_as_its_owner_wants_it() -> None:
    health = DeviceHealth(Limits())
    health.look(replace(WELL, frequency_percent=60), 0.0)
    assert codes(health) == []
    health.look(replace(WELL, frequency_percent=50), 10.0)
    assert codes(health) == ["throttled"]


# --- ends ---------------------------------------------------------------------------------------------------------


def test_a_trouble_ends_once_it_was_surely_away_for_a_minute() -> None:
    health = seen(degrees(80))
    found = over_time(health, [degrees(60)] * 10, began=20.0)
    assert found == [["hot"]] * 5 + [[]] * 5
    assert CALM_S == 60.0


def test_just_below_its_limit_it_has_not_ended() -> None:
    health = seen(degrees(80))
    assert over_time(health, [degrees(75.5)] * 60, began=20.0)[-1] == ["hot"]
    assert over_time(health, [degrees(74)] * 60, began=1_000.0)[-1] == ["warm"]


@pytest.mark.parametrize(
    ("bad", "between", "code"),
    [
        (degrees(91), degrees(89), "too-hot"),
        (replace(WELL, firmware=UNDER_VOLTAGE), WELL, "under-voltage"),
        (replace(WELL, frequency_percent=40), WELL, "throttled"),
        (replace(WELL, stalled_percent=12.0), replace(WELL, stalled_percent=6.0), "memory-short"),
        (replace(WELL, disk_free_bytes=7 * MB), replace(WELL, disk_free_bytes=9 * MB), "disk-low"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_trouble_that_flaps_is_one_trouble(bad: Readings, between: Readings, code: str) -> None:
    health = seen(bad)
    found = over_time(health, [between, bad, between, between, bad, between] * 20, began=20.0)
    assert [code] * len(found) == [each[0] for each in found]
    texts = {symptom.text for symptom in health.symptoms}
    over_time(health, [WELL] * 10, began=2_000.0)
    assert codes(health) == []
    assert len(texts) == 1


def test_a_sensor_that_falls_silent_ends_what_it_said() -> None:
    health = seen(degrees(95))
    over_time(health, [Readings()] * 10, began=20.0)
    assert (health.level, health.symptoms) == (Level.FINE, ())


def test_of_several_troubles_the_worst_decides_and_lesser_ones_of_its_kind_are_not_told() -> None:
    health = seen(replace(degrees(95), firmware=UNDER_VOLTAGE | UNDER_VOLTAGE_BEFORE, disk_free_bytes=0))
    assert sorted(codes(health)) == ["disk-low", "too-hot", "under-voltage"]
    assert health.level is Level.CRITICAL
