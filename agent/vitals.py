"""Looks after the device itself: reads how it is, and has less done on it while it is in trouble.

What is trouble: agent/health/device.py. It tells the runtime a pace, and whoever asks what must wait.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

from agent.alarms import KINDS, Symptom
from agent.config import Hardware
from agent.control import MOST_REST_PERCENT, Message, Pace
from agent.health.device import DeviceHealth, Level, Limits, Readings

READ_S = 10.0  # between two looks at the device ...
WATCHED_S = 2.0  # ... and while lateness could be held against a release: it takes 12 s of that to give one up
MUCH_LESS = 3  # times the rest, at CRITICAL
FULL_PACE = Pace(0, shadows=True)  # what the runtime keeps unless it is told


class Runtime(Protocol):
    """What is needed of the connection to the runtime (agent/updater/voucher.py)."""

    connections: int

    @property
    def connected(self) -> bool: ...

    def send(self, message: Message) -> bool: ...


class Vitals:
    """One device. read: agent/readings.py. `now` is seconds on the boot clock."""

    def __init__(self, settings: Hardware, read: Callable[[], Readings], runtime: Runtime) -> None:
        self.readings = Readings()
        self._health = DeviceHealth(
            Limits(
                hot_mc=round(settings.hot_c * 1000),
                critical_mc=round(settings.critical_c * 1000),
                stalled_percent=settings.pressure_percent,
                disk_low_bytes=settings.disk_low_bytes,
            )
        )
        self._rest_percent = settings.rest_percent
        self._read = read
        self._runtime = runtime
        self._read_at = float("-inf")
        self._told: tuple[int, Pace] = (0, FULL_PACE)  # over which connection, and what

    @property
    def symptoms(self) -> tuple[Symptom, ...]:
        """What is wrong with the device now."""
        return self._health.symptoms

    @property
    def troubled(self) -> bool:
        """Whether the device may be why something is late."""
        return self._health.level > Level.FINE

    @property
    def shadows(self) -> bool:
        """Whether anything may run now beside what apps ask for."""
        return not self.troubled

    @property
    def unfit(self) -> tuple[Symptom, ...]:
        """Why no release may be tried on this device now."""
        return tuple(each for each in self.symptoms if KINDS[each.code].severity == "critical")

    def tick(self, now: float, watched: bool) -> None:
        """watched: whether a release is being judged."""
        if now - self._read_at >= (WATCHED_S if watched else READ_S):
            self._read_at = now
            self.readings = self._read()
            self._health.look(self.readings, now)
        self._tell_pace()

    def told(self) -> dict[str, Any]:
        """For people at the device."""
        return {"level": self._health.level.name.lower(), **asdict(self.readings)}

    def _tell_pace(self) -> None:
        """Once for each connection, and whenever it changes. A runtime that was told nothing is at full pace."""
        if not self._runtime.connected:
            return
        connection, said = self._told
        if connection != self._runtime.connections:
            said = FULL_PACE
        pace = self._pace()
        if pace == said or self._runtime.send(pace):
            self._told = self._runtime.connections, pace

    def _pace(self) -> Pace:
        level, rest_percent = self._health.level, self._rest_percent
        if level is Level.CRITICAL:
            return Pace(min(MUCH_LESS * rest_percent, MOST_REST_PERCENT), shadows=False)
        if level is Level.TROUBLED:
            return Pace(min(rest_percent, MOST_REST_PERCENT), shadows=False)
        return Pace(0, shadows=level is Level.FINE)
