"""Whether a committed release has to come again, because its files on this disk are not what they were, and when.

What does not help at once is tried again with growing pauses: each try costs writes, on a disk that spoils things.
"""

from pathlib import Path

from agent import control
from agent.slots import Slot
from agent.updater import staging
from littoral.errors import BundleError

SPOILED = frozenset({"digest-mismatch", BundleError.code})  # what the runtime says of files that are not what they were
AGAIN_S = 60.0
LAST_S = 86_400.0


class Repair:
    """Of one model; `now` is seconds on the boot clock."""

    def __init__(self) -> None:
        self._spoiled = False
        self._not_before = 0.0
        self._tries = 0

    def notice(self, message: control.Message, serves: Slot | None) -> None:
        """What the runtime said of the model, whose record names `serves`."""
        if serves is None or getattr(message, "bundle", "") != serves.bundle:
            return
        if isinstance(message, control.Failed) and message.code in SPOILED:
            self._spoiled = True
        elif isinstance(message, control.Serving):
            self._spoiled, self._tries = False, 0

    def finds_spoiled(self, state: Path, serves: Slot | None) -> bool:
        """Whether the files of what is committed are not what they were, and nobody has tried to get them again. It
        reads them all.
        """
        if serves is None or self._tries or staging.is_whole(state, serves.bundle):
            return False
        self._spoiled = True
        return True

    def due(self, now: float) -> bool:
        return self._spoiled and now >= self._not_before

    def begun(self, now: float) -> None:
        self._not_before = now + min(AGAIN_S * 2**self._tries, LAST_S)
        self._tries = min(self._tries + 1, 11)
