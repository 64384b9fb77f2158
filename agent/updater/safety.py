"""Safe mode: an agent that starts again and again tries nothing any more, so that the device at least serves.

Starts are counted durably before anything else happens; a power cut soon after the start counts like a crash, since
nobody can tell them apart from inside. A start that ended because somebody asked for it does not count.
"""

import contextlib

from agent.updater.device import DeviceMemory

MANY_STARTS = 5
CALM_S = 600.0  # an agent that ran for so long has not crashed at its start
LEAVE_S = 3_600.0  # and one in safe mode tries again what it was kept from


class SafeMode:
    """Whether this start of the agent is one too many. `now` is seconds on the boot clock."""

    def __init__(self, memory: DeviceMemory, now: float) -> None:
        self._memory = memory
        self._before = memory.record.starts
        self._count(min(self._before + 1, MANY_STARTS))  # no more writes than needed to know
        self.active = memory.record.starts >= MANY_STARTS
        self._calm_at: float | None = now + (LEAVE_S if self.active else CALM_S)

    @property
    def warning(self) -> str:
        if not self.active:
            return ""
        return f"safe mode: the agent started {MANY_STARTS} times or more without running for {CALM_S / 60:.0f} minutes"

    def tick(self, now: float) -> None:
        """Forgets the starts once this one has lasted."""
        if self._calm_at is not None and now >= self._calm_at:
            self._leave()

    def heard_newer(self) -> None:
        """Something newer is wanted: it may be the remedy."""
        if self.active:
            self._leave()

    def stopped(self) -> None:
        """The agent ends because it was told to."""
        self._count(self._before)

    def _leave(self) -> None:
        self.active = False
        self._calm_at = None
        self._before = 0
        self._count(0)

    def _count(self, starts: int) -> None:
        with contextlib.suppress(OSError):  # the disk decides nothing about what is tried
            self._memory.set_starts(starts)
