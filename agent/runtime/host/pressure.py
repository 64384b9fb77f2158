"""When the machine runs short of memory: the kernel's pressure stall information, or else what is available.

It says so and decides nothing.
"""

import os
import select
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from agent.runtime.host.loop import Loop

# So much waiting for memory (first number) within so long (second), both in microseconds.
TRIGGER = b"some 150000 1000000\0"
TRIGGER_OF_ALL = b"some 300000 2000000\0"  # windows below 2 s are root's alone
PSI = Path("/proc/pressure/memory")
POLL_S = 1.0
LEAST_AVAILABLE = 16  # the machine is short of memory when less than one part in so many is available


class Pressure(Protocol):
    """What says that memory is short."""

    def watch(self, loop: Loop, short: Callable[[], None]) -> None:
        """`short` is called as long as it is, about once a second."""
        ...

    def close(self) -> None: ...


class StallPressure:
    """By the kernel's own trigger: tasks have to wait for memory. Raises OSError where the kernel offers none."""

    def __init__(self, path: Path = PSI) -> None:
        self._descriptor = _trigger(path)

    def watch(self, loop: Loop, short: Callable[[], None]) -> None:
        loop.watch(self._descriptor, select.EPOLLPRI, lambda _events: short())

    def close(self) -> None:
        os.close(self._descriptor)


class AvailablePressure:
    """By MemAvailable of /proc/meminfo, looked at each second."""

    def __init__(self, path: Path = Path("/proc/meminfo"), every_s: float = POLL_S) -> None:
        self._path = path
        self._every_s = every_s

    def watch(self, loop: Loop, short: Callable[[], None]) -> None:
        def look() -> None:
            if self._is_short():
                short()

        loop.every(self._every_s, look)

    def close(self) -> None:
        pass

    def _is_short(self) -> bool:
        found = {}
        for line in self._path.read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                found[name] = int(value.split()[0])
        return len(found) == 2 and found["MemAvailable"] * LEAST_AVAILABLE < found["MemTotal"]


def open_pressure() -> Pressure:
    """The best that this machine offers."""
    with suppress(OSError):
        return StallPressure()
    return AvailablePressure()


def _trigger(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        try:
            os.write(descriptor, TRIGGER)
        except OSError:
            os.write(descriptor, TRIGGER_OF_ALL)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
