"""Whether the agent vouches for a model's trial: it does from its word on, and for a grace after it has gone."""

from collections.abc import Callable

from agent.runtime.host.loop import Loop, Timer


class Vouching:
    """`ended` is called when nobody vouches any more."""

    def __init__(self, loop: Loop, grace_s: float, ended: Callable[[], None]) -> None:
        self.holds = False
        self._loop = loop
        self._grace_s = grace_s
        self._ended = ended
        self._grace: Timer | None = None

    def given(self) -> None:
        """The agent has said so."""
        self.holds = True
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def agent_left(self) -> None:
        if self.holds and self._grace is None:
            self._grace = self._loop.call_in(self._grace_s, self._end)

    def _end(self) -> None:
        self._grace = None
        self.holds = False
        self._ended()
