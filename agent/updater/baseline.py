"""What is seen of a committed release while it answers, for the trial that replaces it to be compared with."""

from typing import Any

from agent.control import Counters

ENOUGH_ANSWERS = 50  # before its longest run of equal answers says something about the scene
WARM_UP_S = 60.0  # of a worker: what it takes at first is no growth
RISE_S = 600.0  # its memory is looked at over as long as a probation takes


class Baseline:
    """Of one model, from one switch to the next."""

    def __init__(self) -> None:
        self._longest_run = 0
        self._votes = (0, 0)  # of workers that ended
        self._last: Counters | None = None
        self._rise_bytes = 0
        self._low_bytes = 0  # since the time below; 0: nothing was measured
        self._since_s = 0.0

    def notice(self, counters: Counters, now_s: float) -> None:
        """What its worker has done so far."""
        last = self._last
        if last is None or last.worker != counters.worker:
            if last is not None:
                self._votes = self._all_votes(last)
            self._low_bytes, self._since_s = 0, now_s + WARM_UP_S
        self._last = counters
        if counters.answers >= ENOUGH_ANSWERS:
            self._longest_run = max(self._longest_run, counters.longest_run_inputs)
        if now_s >= self._since_s and counters.memory_bytes:
            self._measure(counters.memory_bytes, now_s)

    def learned(self) -> dict[str, Any]:
        """Fields of Update. What is 0 is left out of `baseline`."""
        votes, bad = self._votes if self._last is None else self._all_votes(self._last)
        seen = {"votes": votes, "votes_bad": bad, "rise_bytes": self._rise_bytes}
        return {
            "baseline_constant": self._longest_run,
            "baseline": {name: number for name, number in seen.items() if number},
        }

    def _all_votes(self, last: Counters) -> tuple[int, int]:
        return self._votes[0] + last.votes, self._votes[1] + last.votes_bad

    def _measure(self, memory_bytes: int, now_s: float) -> None:
        if now_s - self._since_s >= RISE_S:
            self._low_bytes, self._since_s = 0, now_s
        self._low_bytes = min(self._low_bytes or memory_bytes, memory_bytes)
        self._rise_bytes = max(self._rise_bytes, memory_bytes - self._low_bytes)
