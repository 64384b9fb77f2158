"""What the runtime told of the release that is committed: its own record, against which the next trial is weighed."""

from agent.control import Counters

ENOUGH_ANSWERS = 50  # before the longest run of equal answers says something about the scene
RECENT_VOTES = 1_000  # beyond so many the older ones weigh half


class Baseline:
    """Since the last trial began, and while this agent runs; of a worker that was there before, since it started."""

    def __init__(self) -> None:
        self._longest_run = 0
        self._votes = self._votes_bad = 0
        self._last: Counters | None = None

    def notice(self, counters: Counters) -> None:
        """To be given only what is about the committed release."""
        last, self._last = self._last, counters
        if counters.answers >= ENOUGH_ANSWERS:
            self._longest_run = max(self._longest_run, counters.longest_run_inputs)
        votes, votes_bad = counters.votes, counters.votes_bad
        if last is not None and last.worker == counters.worker and last.votes <= votes:
            votes, votes_bad = votes - last.votes, votes_bad - last.votes_bad
        self._votes += votes
        self._votes_bad += votes_bad
        while self._votes > RECENT_VOTES:
            self._votes, self._votes_bad = self._votes // 2, self._votes_bad // 2

    def take(self) -> dict[str, int]:
        """The record, as fields of Update. It begins anew."""
        longest, votes, votes_bad = self._longest_run, self._votes, self._votes_bad
        self._longest_run = self._votes = self._votes_bad = 0
        self._last = None
        return {"baseline_constant": longest, "baseline_votes": votes, "baseline_votes_bad": votes_bad}
