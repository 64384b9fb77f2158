"""Signals that need a stretch of time: frames that go in while nothing comes out, and memory that only grows.

Pure: time is an argument.
"""

from itertools import pairwise

from agent.control import Counters

MIB = 1024 * 1024
WARM_UP_S = 60.0  # of a worker: what it takes at first is no leak
WINDOW_S = 30.0  # of each the least counts, so that what comes and goes does not
FEWEST_WINDOWS = 10
MOST_WINDOWS = 64  # then two become one
LEAST_GROWTH_BYTES = 16 * MIB
LEAST_FACTOR = 1.5  # of its own start
OF_BASELINE = 2  # times what the baseline itself grew by in BASELINE_S
BASELINE_S = 600.0
MOST_FALL = 0.1  # of all growth, from one window to any after it: what falls was no leak
LAST_HALF = 0.84  # of an even half: what a warm-up adds becomes less and less
EACH_QUARTER = 0.5  # of an even quarter: one step, or two, are no leak


class Progress:
    """Whether results come out while requests wait and more come in."""

    def __init__(self) -> None:
        self._done: tuple[int, ...] = ()
        self._received = 0
        self._waited = False
        self._since_s = 0.0

    def stalled_s(self, counters: Counters, now_s: float) -> float:
        """For how long nothing has come out though requests waited all the time, and more came; 0 where not so."""
        done = (
            counters.worker,
            counters.answers,
            counters.errors,
            counters.excused,
            counters.busy,
            counters.replaced,
            counters.expired,
        )
        if done != self._done or not self._waited or not counters.waiting:
            self._done, self._received, self._since_s = done, counters.received, now_s
            self._waited = counters.waiting > 0
        return now_s - self._since_s if counters.received > self._received else 0.0


class Growth:
    """Memory of one worker, window by window."""

    def __init__(self, baseline_rise_bytes: int = 0) -> None:
        """baseline_rise_bytes: the most by which the baseline grew within BASELINE_S."""
        self._baseline_rise_bytes = baseline_rise_bytes
        self._worker = 0
        self._window_s = WINDOW_S
        self._began_s = 0.0
        self._least = 0  # of the present window, 0: it has seen nothing
        self.lows: list[int] = []

    def add(self, worker: int, memory_bytes: int, now_s: float) -> bool:
        """Takes one measurement; True once it is clear that this worker grows and does not stop."""
        if not memory_bytes:
            return False
        if worker != self._worker:
            self._worker, self._began_s, self._window_s = worker, now_s + WARM_UP_S, WINDOW_S
            self._least = 0
            self.lows = []
        if now_s < self._began_s:
            return False
        found = now_s - self._began_s >= self._window_s and self._least > 0 and self._close(now_s)
        self._least = min(self._least or memory_bytes, memory_bytes)
        return found

    def _close(self, now_s: float) -> bool:
        self.lows.append(self._least)
        self._least, self._began_s = 0, now_s
        grows = len(self.lows) >= FEWEST_WINDOWS and self._grows()
        if len(self.lows) >= MOST_WINDOWS:
            self.lows = [min(pair) for pair in zip(self.lows[::2], self.lows[1::2], strict=True)]
            self._window_s *= 2
        return grows

    def _grows(self) -> bool:
        lows = self.lows
        first, last = lows[0], lows[-1]
        grown, steps = last - first, len(lows) - 1
        of_baseline = OF_BASELINE * self._baseline_rise_bytes * max(1.0, steps * self._window_s / BASELINE_S)
        if grown <= max(LEAST_GROWTH_BYTES, (LEAST_FACTOR - 1) * first, of_baseline):
            return False
        quarters = [round(steps * part / 4) for part in range(5)]
        for begin, end in pairwise(quarters):
            if lows[end] - lows[begin] < EACH_QUARTER * grown * (end - begin) / steps:
                return False
        middle = quarters[2]
        if last - lows[middle] < LAST_HALF * grown * (steps - middle) / steps:
            return False
        return _largest_fall(lows) <= MOST_FALL * grown


def _largest_fall(lows: list[int]) -> int:
    highest = fall = 0
    for low in lows:
        highest = max(highest, low)
        fall = max(fall, highest - low)
    return fall
