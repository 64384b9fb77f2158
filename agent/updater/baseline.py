"""What the runtime told of the release that is committed: its own record, against which the next trial is weighed."""

from agent.control import Counters

WARM_UP_S = 60.0  # of a worker: what it takes at first is no growth
RISE_S = 600.0  # its memory is looked at over as long as a probation takes
ENOUGH_ANSWERS = 50  # before the longest run of equal answers says something about the scene
RECENT_VOTES = 1_000  # beyond so many the older ones weigh half


class Baseline:
    """Since the last trial began, and while this agent runs; of a worker that was there before, since it started."""

    def __init__(self) -> None:
        self._longest_run = 0
        self._votes = self._votes_bad = 0
        self._last: Counters | None = None
        self._rise_bytes = 0  # the most by which its memory grew within RISE_S
        self._low_bytes = 0  # since the time below; 0: nothing was measured
        self._since_s = 0.0

    def notice(self, counters: Counters, now_s: float) -> None:
        """To be given only what is about the committed release."""
        last, self._last = self._last, counters
        if last is None or last.worker != counters.worker:
            self._low_bytes, self._since_s = 0, now_s + WARM_UP_S
        if now_s >= self._since_s and counters.memory_bytes:
            self._measure(counters.memory_bytes, now_s)
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
        record = {
            "baseline_constant": self._longest_run,
            "baseline_votes": self._votes,
            "baseline_votes_bad": self._votes_bad,
            "baseline_rise_bytes": self._rise_bytes,
        }
        self._longest_run = self._votes = self._votes_bad = self._rise_bytes = self._low_bytes = 0
        self._last = None
        return record

    def _measure(self, memory_bytes: int, now_s: float) -> None:
        if now_s - self._since_s >= RISE_S:
            self._low_bytes, self._since_s = 0, now_s
        self._low_bytes = min(self._low_bytes or memory_bytes, memory_bytes)
        self._rise_bytes = max(self._rise_bytes, memory_bytes - self._low_bytes)
