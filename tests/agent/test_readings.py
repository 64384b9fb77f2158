"""agent/readings.py: what each file of the kernel says, and that none of them has to be there."""

import os
from pathlib import Path

import pytest

from agent.health.device import Readings, Zone
from agent.readings import FIND_AGAIN, Sensors
from tests.agent.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "root")


def read(machine: Machine, zones: tuple[str, ...] = ()) -> Readings:
    return Sensors(machine.root, Path("/nowhere"), zones).read()


def test_a_machine_that_says_nothing_is_not_known(machine: Machine) -> None:
    assert read(machine) == Readings()


def test_a_zone_is_read_with_its_trip_points(machine: Machine) -> None:
    machine.zone(
        0, "cpu-thermal", 48_300, ("active", 50_000), ("passive", 70_000), ("passive", 85_000), ("critical", 110_000)
    )
    assert read(machine).zones == (Zone("cpu-thermal", 48_300, 85_000, 110_000),)


def test_hot_is_a_limit_where_none_is_passive_and_what_cannot_be_one_is_none(machine: Machine) -> None:
    machine.zone(0, "x86_pkg_temp", 48_000, ("hot", 95_000), ("critical", 0), ("critical", -274_000))
    assert read(machine).zones == (Zone("x86_pkg_temp", 48_000, 95_000, None),)


def test_of_many_zones_those_of_processors_count_or_those_that_are_named(machine: Machine) -> None:
    machine.zone(0, "PMIC-Die", 100_000)  # a Jetson's says so always
    machine.zone(1, "CPU-therm", 51_000)
    machine.zone(2, "iwlwifi_1", 60_000)
    assert [zone.name for zone in read(machine).zones] == ["CPU-therm"]
    assert [zone.name for zone in read(machine, ("iwlwifi_1", "battery")).zones] == ["iwlwifi_1"]


def test_where_no_zone_is_called_a_processor_all_count(machine: Machine) -> None:
    machine.zone(0, "tz-board", 51_000)
    machine.zone(1, "tz-case", 41_000)
    assert [zone.name for zone in read(machine).zones] == ["tz-board", "tz-case"]


@pytest.mark.parametrize("value", ["", "warm", "-274000", "1000000", "12.5"])
def test_a_sensor_that_makes_no_sense_is_not_there(machine: Machine, value: str) -> None:
    machine.zone(0, "cpu", 0)
    machine.file("sys/class/thermal/thermal_zone0/temp", value)
    assert read(machine).zones == ()


def test_a_zone_that_cannot_be_read_takes_no_other_with_it(machine: Machine) -> None:
    machine.zone(0, "cpu0", 40_000)
    machine.zone(1, "cpu1", 45_000)
    broken = machine.root / "sys/class/thermal/thermal_zone0/temp"
    broken.unlink()
    broken.mkdir()  # reading a folder fails, as a driver's file may
    assert [zone.name for zone in read(machine).zones] == ["cpu1"]


def test_the_firmware_speaks_hexadecimal(machine: Machine) -> None:
    machine.firmware(0x50005)
    assert read(machine).firmware == 0x50005
    machine.file("sys/devices/platform/soc/soc:firmware/get_throttled", "")
    assert read(machine).firmware is None


def test_the_processor_that_is_capped_the_most_is_told(machine: Machine) -> None:
    machine.processor(0, 1_500_000, 1_500_000)
    machine.processor(4, 600_000, 1_800_000)
    assert read(machine).frequency_percent == 33
    machine.processor(4, 600_000, 0)
    assert read(machine).frequency_percent == 100


def test_any_voltage_that_is_watched_may_be_low(machine: Machine) -> None:
    machine.file("sys/class/hwmon/hwmon0/in0_input", 12_000)
    assert read(machine).low_voltage is None
    machine.file("sys/class/hwmon/hwmon0/in0_lcrit_alarm", 0)
    assert read(machine).low_voltage is False
    machine.file("sys/class/hwmon/hwmon1/in3_lcrit_alarm", 1)
    assert read(machine).low_voltage is True


def test_stalls_and_memory_are_read(machine: Machine) -> None:
    machine.stalled(12.34)
    machine.memory(2_000, 750)
    found = read(machine)
    assert (found.stalled_percent, found.memory_bytes, found.available_bytes) == (12.34, 2_048_000, 768_000)


@pytest.mark.parametrize("text", ["", "full avg10=3.0", "some avg10=many", "some", "some avg60=1.0"])
def test_pressure_that_is_told_otherwise_is_not_known(machine: Machine, text: str) -> None:
    machine.file("proc/pressure/memory", text)
    assert read(machine).stalled_percent is None


def test_the_disk_is_that_of_the_state_folder(machine: Machine, tmp_path: Path) -> None:
    free = Sensors(machine.root, tmp_path).read().disk_free_bytes
    found = os.statvfs(tmp_path)
    assert free is not None
    assert 0 < free <= found.f_blocks * found.f_frsize


def test_what_appears_later_is_found_later(machine: Machine) -> None:
    sensors = Sensors(machine.root, Path("/nowhere"))
    assert sensors.read().zones == ()
    machine.zone(0, "cpu", 40_000)
    for _ in range(FIND_AGAIN - 1):
        assert sensors.read().zones == ()
    assert len(sensors.read().zones) == 1


def test_this_very_machine_can_be_read(tmp_path: Path) -> None:
    found = Sensors(Path("/"), tmp_path).read()
    assert found.memory_bytes
    assert found.disk_free_bytes is not None
