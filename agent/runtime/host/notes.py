"""What apps wrote about the answers of one worker, and when the agent is told of it."""

from collections.abc import Sequence

from agent.control import MAX_NOTE, MOST_NOTES

EVERY_S = 60.0


class Notes:
    """`newest`: the newest last."""

    def __init__(self) -> None:
        self.newest: tuple[str, ...] = ()
        self._told: tuple[str, ...] = ()
        self._due_s = 0.0

    def take(self, notes: Sequence[object]) -> None:
        """As the worker tells them, which runs a model and may be broken by it."""
        self.newest = tuple(str(note)[:MAX_NOTE] for note in notes[-MOST_NOTES:])

    def news(self, now_s: float) -> tuple[str, ...]:
        """What is to be told now: once in EVERY_S, and where there are others. Time is of the monotonic clock."""
        if self.newest == self._told or now_s < self._due_s:
            return ()
        self._told, self._due_s = self.newest, now_s + EVERY_S
        return self.newest

    def forget_told(self) -> None:
        """Somebody else is told from now on."""
        self._told, self._due_s = (), 0.0
