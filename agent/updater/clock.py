"""Time on a device that may have no clock, or a wrong one, or one that somebody sets back.

Expiry is judged by judged_by(). Everything else counts on boot_seconds(), which nobody can set.
"""

import ctypes
import time
from pathlib import Path

# No device is older than this: 2026-11-01, raised with each release of Littoral. Seconds since 1970.
BUILT_AT = 1_793_491_200
LATEST_BELIEVED = BUILT_AT + 15 * 365 * 86_400  # a known time beyond this is a mistake, and is not kept


def judged_by(system: float, known: int) -> int:
    """Seconds since 1970 to judge expiry by: the system's clock, but never before what surely passed."""
    return max(int(system), known, BUILT_AT)


_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 512  # above sizeof(struct timex) on every architecture; modes = 0 only reads


def boot_seconds() -> float:
    """Seconds on a clock that no one sets and that counts through suspend."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """A new one for each boot of the kernel."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def synchronised() -> bool:
    """Whether the kernel holds the system's clock for synchronised. Source: adjtimex(2)."""
    state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return 0 <= state < _TIME_ERROR
