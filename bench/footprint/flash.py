"""Bytes that reach a machine's disk, and how many that makes in a day.

They are counted by the block device below its file system, so that journal and metadata of the file system are in it,
and what systemd and its journal write, too. What the machine writes with our units stopped is taken off: that is not
ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.device.machine import Machine

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Window:
    """What was written in a time."""

    written_bytes: int
    seconds: float

    @property
    def daily_mb(self) -> float:
        return self.written_bytes / self.seconds * DAY_S / 1e6


def during(machine: Machine, run: Callable[[], object]) -> Window:
    """What reaches the disk while `run` runs, with all that was still to be written in its end."""
    machine.run("sync")
    before, began = machine.written_bytes(), time.monotonic()
    run()
    machine.run("sync")
    return Window(machine.written_bytes() - before, time.monotonic() - began)


def ours_mb(with_us: Window, without_us: Window) -> float:
    """MB a day that would not be written without our units."""
    return max(0.0, with_us.daily_mb - without_us.daily_mb)
