"""Reads what Linux and a Raspberry Pi's firmware say of a device: heat, throttling, power, memory, disk.

It judges nothing (agent/health/device.py does). A file that is not there, or cannot be read, is simply not known. A
reading takes about a millisecond; which files there are is found out anew only now and then.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from agent.health.device import Readings, Zone

FIND_AGAIN = 60  # readings: drivers may be loaded late
PROCESSORS = ("cpu", "soc", "pkg", "core", "gpu", "npu", "tpu", "acpitz")  # in the type of a zone that counts unasked
LEAST_MC, MOST_MC = -40_000, 200_000  # what lies outside is a sensor that is not there
MOST_BYTES = 4_096  # of a file: what the kernel shows of one value fits a page
_FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"


class Sensors:
    """root: `/`, or a folder that looks like it. state: a folder on the disk that counts. zones: types of thermal zones
    that count; none: those of processors, or all where none is called so.
    """

    def __init__(self, root: Path, state: Path, zones: tuple[str, ...] = ()) -> None:
        self._root = root
        self._state = state
        self._wanted = zones
        self._readings = 0
        self._zones: tuple[_ZoneFiles, ...] = ()
        self._policies: tuple[Path, ...] = ()
        self._voltages: tuple[Path, ...] = ()

    def read(self) -> Readings:
        if self._readings % FIND_AGAIN == 0:
            self._find()
        self._readings += 1
        memory = _meminfo(self._root / "proc/meminfo")
        voltages = [value for path in self._voltages if (value := _number(path)) is not None]
        return Readings(
            zones=tuple(zone for files in self._zones if (zone := files.read()) is not None),
            firmware=_number(self._root / _FIRMWARE, 16),
            low_voltage=any(voltages) if voltages else None,
            frequency_percent=min(_percents(self._policies), default=None),
            stalled_percent=_stalled_percent(self._root / "proc/pressure/memory"),
            memory_bytes=memory.get("MemTotal"),
            available_bytes=memory.get("MemAvailable"),
            disk_free_bytes=_free_bytes(self._state),
        )

    def _find(self) -> None:
        found = [_ZoneFiles(path) for path in _listed(self._root / "sys/class/thermal", "thermal_zone")]
        of_processors = [files for files in found if any(word in files.name.lower() for word in PROCESSORS)]
        chosen = [files for files in found if files.name in self._wanted]
        self._zones = tuple(chosen if self._wanted else of_processors or found)
        self._policies = tuple(_listed(self._root / "sys/devices/system/cpu/cpufreq", "policy"))
        self._voltages = tuple(
            path
            for chip in _listed(self._root / "sys/class/hwmon", "hwmon")
            for path in _listed(chip, "in")
            if path.name.endswith("_lcrit_alarm")
        )


class _ZoneFiles:
    """The files of one thermal zone, and its trip points."""

    def __init__(self, folder: Path) -> None:
        self.name = _text(folder / "type") or folder.name
        self._temperature = folder / "temp"
        trips: dict[str, list[int]] = {}
        for path in _listed(folder, "trip_point_"):
            if path.name.endswith("_type"):
                at_mc = _number(path.with_name(path.name.replace("_type", "_temp")))
                if at_mc is not None and 0 < at_mc <= MOST_MC:
                    trips.setdefault(_text(path), []).append(at_mc)
        # Where there are two, the lower one is where a governor begins to look, the higher one what it keeps to.
        self._hot_mc = max(trips.get("passive", trips.get("hot", [])), default=None)
        self._critical_mc = min(trips.get("critical", []), default=None)

    def read(self) -> Zone | None:
        at_mc = _number(self._temperature)
        if at_mc is None or not LEAST_MC < at_mc < MOST_MC:
            return None
        return Zone(self.name, at_mc, self._hot_mc, self._critical_mc)


def _percents(policies: tuple[Path, ...]) -> Iterator[int]:
    """How much each group of processors may do, of what it can."""
    for policy in policies:
        allowed, possible = _number(policy / "scaling_max_freq"), _number(policy / "cpuinfo_max_freq")
        if allowed is not None and possible:
            yield 100 * allowed // possible


def _stalled_percent(path: Path) -> float | None:
    """From `some avg10=1.23 avg60=...`. Source: Documentation/accounting/psi.rst of Linux."""
    for line in _text(path).splitlines():
        kind, _, rest = line.partition(" ")
        name, _, value = rest.partition(" ")[0].partition("=")
        if (kind, name) == ("some", "avg10"):
            try:
                return float(value)
            except ValueError:
                return None
    return None


def _meminfo(path: Path) -> dict[str, int]:
    """Bytes by name."""
    found = {}
    for line in _text(path).splitlines()[:5]:  # those that are wanted stand at the top
        name, _, value = line.partition(":")
        digits = value.removesuffix("kB").strip()
        if digits.isdecimal():
            found[name] = int(digits) * 1024
    return found


def _free_bytes(folder: Path) -> int | None:
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _listed(folder: Path, prefix: str) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name.startswith(prefix))
    except OSError:
        return []


def _text(path: Path) -> str:
    """Its beginning, without a line feed; "" where it cannot be read. A third of the time of Path.read_text."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, MOST_BYTES).decode(errors="replace").strip()
        finally:
            os.close(descriptor)
    except OSError:
        return ""


def _number(path: Path, base: int = 10) -> int | None:
    try:
        return int(_text(path), base)
    except ValueError:
        return None
