"""Whether the device itself is in trouble: heat, throttling, power, memory, disk. It says so, and blames no release.

Pure: readings (agent/readings.py) and time go in, a level and symptoms come out. What follows from the level is done
elsewhere. docs/health.md has the numbers. What is not known is no trouble.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from agent.alarms import Symptom

CALM_S = 60.0  # a trouble has ended once it was away for so long
COOLER_MC = 5_000  # below a limit, before what lies above it may end
WARM_MC = 10_000  # below hot
HOT_MC = 80_000  # of a zone that says nothing of itself: what common boards begin to throttle at
CRITICAL_MC = 10_000  # above hot; and never nearer than this to what the kernel ends at:
SHUTDOWN_MC = 5_000
CAPPED_SHARE = 0.9  # a processor is throttled when it may do less than this of what it was seen to be allowed
LEAST_AVAILABLE = 16  # where the kernel tells no stalls: memory is short below one part in so many ...
ENOUGH_AVAILABLE = 12  # ... until there is one in so many
ROOM_AGAIN = 1.25  # times the limit, before a disk is not short any more

UNDER_VOLTAGE, CAPPED, THROTTLED, SOFT_LIMIT = 1 << 0, 1 << 1, 1 << 2, 1 << 3  # of a Raspberry Pi's firmware
UNDER_VOLTAGE_BEFORE = 1 << 16


class Level(IntEnum):
    """What follows: from STRAINED on no shadows and no rehearsals begin, and lateness is held against no release; from
    TROUBLED on less is answered too; at CRITICAL much less.
    """

    FINE = 0
    STRAINED = 1
    TROUBLED = 2
    CRITICAL = 3


LEVELS = {
    "warm": Level.STRAINED,
    "memory-short": Level.STRAINED,
    "hot": Level.TROUBLED,
    "throttled": Level.TROUBLED,
    "under-voltage": Level.TROUBLED,
    "too-hot": Level.CRITICAL,
}


@dataclass(frozen=True, slots=True)
class Zone:
    """A thermal zone, in thousandths of a degree Celsius. hot_mc: from where the kernel throttles for it; critical_mc:
    where it ends the machine; None: it does not say.
    """

    name: str
    temperature_mc: int
    hot_mc: int | None = None
    critical_mc: int | None = None


@dataclass(frozen=True, slots=True)
class Readings:
    """What a device says of itself at one moment; None: it does not.

    firmware: a Raspberry Pi's get_throttled: bits 0 to 3 now, 16 to 19 since the boot. low_voltage: of any voltage that
    is watched. frequency_percent: the most that the slowest-capped processor may do, of what it can. stalled_percent:
    of the last 10 s, in which anything waited for memory.
    """

    zones: tuple[Zone, ...] = ()
    firmware: int | None = None
    low_voltage: bool | None = None
    frequency_percent: int | None = None
    stalled_percent: float | None = None
    memory_bytes: int | None = None
    available_bytes: int | None = None
    disk_free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on something is trouble. hot_mc, critical_mc: 0: as the zone itself says."""

    hot_mc: int = 0
    critical_mc: int = 0
    stalled_percent: float = 10.0
    disk_low_bytes: int = 8 * 1024 * 1024


@dataclass(slots=True)
class _Trouble:
    """One condition: it begins when it is bad, and ends once it was well for CALM_S."""

    text: str = ""  # as it began; "" while there is none
    unwell_at: float = field(default=0.0)

    def look(self, bad: bool, well: bool, text: str, now: float) -> None:
        if bad and not self.text:
            self.text = text
        if bad or not well:
            self.unwell_at = now
        elif now - self.unwell_at >= CALM_S:
            self.text = ""


class DeviceHealth:
    """One device. `now` is seconds on a clock that nobody sets."""

    def __init__(self, limits: Limits) -> None:
        self.level = Level.FINE
        self.symptoms: tuple[Symptom, ...] = ()
        self._limits = limits
        self._troubles = {code: _Trouble() for code in (*LEVELS, "voltage-was-low", "disk-low")}
        self._most_percent = 0  # that processors were allowed, since this began

    def look(self, readings: Readings, now: float) -> None:
        """Takes a look at the device; `level` and `symptoms` are then up to date."""
        self._look_at_heat(readings, now)
        self._look_at_throttling(readings, now)
        self._look_at_power(readings, now)
        self._look_at_memory(readings, now)
        self._look_at_disk(readings, now)
        standing = {code: trouble.text for code, trouble in self._troubles.items() if trouble.text}
        for worse, lesser in (("too-hot", "hot"), ("hot", "warm"), ("too-hot", "warm")):
            if worse in standing:
                standing.pop(lesser, None)
        if "under-voltage" in standing:
            standing.pop("voltage-was-low", None)
        self.symptoms = tuple(Symptom(code, text) for code, text in standing.items())
        self.level = max((LEVELS.get(code, Level.FINE) for code in standing), default=Level.FINE)

    def _look_at_heat(self, readings: Readings, now: float) -> None:
        soft = bool((readings.firmware or 0) & SOFT_LIMIT)
        limits = [(zone, *self._limits_of(zone)) for zone in readings.zones]
        for code, above_mc in (
            ("warm", [(zone, hot_mc - WARM_MC) for zone, hot_mc, _ in limits]),
            ("hot", [(zone, hot_mc) for zone, hot_mc, _ in limits]),
            ("too-hot", [(zone, critical_mc) for zone, _, critical_mc in limits]),
        ):
            over_mc, text = _hottest(above_mc)
            limited = soft and code == "warm"
            if limited and over_mc < 0:
                text = "the firmware's soft temperature limit is in force"
            self._trouble(code, over_mc >= 0 or limited, over_mc < -COOLER_MC and not limited, text, now)

    def _limits_of(self, zone: Zone) -> tuple[int, int]:
        """(hot, critical) of a zone."""
        hot_mc = self._limits.hot_mc or zone.hot_mc or HOT_MC
        if self._limits.critical_mc:
            return hot_mc, self._limits.critical_mc
        shutdown_mc = hot_mc + CRITICAL_MC if zone.critical_mc is None else zone.critical_mc - SHUTDOWN_MC
        return hot_mc, max(hot_mc, min(hot_mc + CRITICAL_MC, shutdown_mc))

    def _look_at_throttling(self, readings: Readings, now: float) -> None:
        """A processor that was capped before the agent began is as its owner wants it, as far as anybody can tell."""
        firmware, percent = readings.firmware or 0, readings.frequency_percent
        self._most_percent = max(self._most_percent, percent or 0)
        capped = percent is not None and percent < CAPPED_SHARE * self._most_percent
        if firmware & (CAPPED | THROTTLED):
            text = "the firmware caps the processor's frequency"
        else:
            text = f"the processor's frequency is capped at {percent} % of what it can"
        bad = capped or bool(firmware & (CAPPED | THROTTLED))
        self._trouble("throttled", bad, not bad, text, now)

    def _look_at_power(self, readings: Readings, now: float) -> None:
        firmware = readings.firmware or 0
        low = bool(firmware & UNDER_VOLTAGE) or readings.low_voltage is True
        self._trouble("under-voltage", low, not low, "the supply's voltage is too low now", now)
        before = bool(firmware & UNDER_VOLTAGE_BEFORE)
        self._trouble("voltage-was-low", before, not before, "the supply's voltage was too low since the boot", now)

    def _look_at_memory(self, readings: Readings, now: float) -> None:
        stalled, limit = readings.stalled_percent, self._limits.stalled_percent
        if stalled is not None:
            text = f"programs wait for memory {stalled:.0f} % of the time"
            self._trouble("memory-short", stalled >= limit, stalled < limit / 2, text, now)
            return
        available, total = readings.available_bytes, readings.memory_bytes
        if available is None or total is None:
            available = total = 1
        bad, well = available * LEAST_AVAILABLE < total, available * ENOUGH_AVAILABLE >= total
        self._trouble("memory-short", bad, well, f"{available >> 20} of {total >> 20} MB are available", now)

    def _look_at_disk(self, readings: Readings, now: float) -> None:
        free, low = readings.disk_free_bytes, self._limits.disk_low_bytes
        bad, well = (False, True) if free is None else (free < low, free >= ROOM_AGAIN * low)
        text = f"{(free or 0) >> 10} KB are free on the disk of the state folder, {low >> 10} KB should be"
        self._trouble("disk-low", bad, well, text, now)

    def _trouble(self, code: str, bad: bool, well: bool, text: str, now: float) -> None:
        self._troubles[code].look(bad, well, text, now)


def _hottest(limits: Sequence[tuple[Zone, int]]) -> tuple[int, str]:
    """How far the worst zone is above its limit, in thousandths of a degree, and a sentence about it."""
    if not limits:
        return -1_000_000, ""
    zone, limit_mc = max(limits, key=lambda each: each[0].temperature_mc - each[1])
    text = f"{zone.name} is at {zone.temperature_mc / 1000:.0f} °C; the limit is {limit_mc / 1000:.0f} °C"
    return zone.temperature_mc - limit_mc, text
