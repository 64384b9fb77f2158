"""Wald's sequential probability ratio test: over answers, failures counted by their onsets, and over blocks of time.

A. Wald, "Sequential Tests of Statistical Hypotheses", Annals of Mathematical Statistics 16 (1945), 117-186, for
Bernoulli trials. Bad answers come in bursts (a blinded camera, a busy second), so that single ones are no independent
trials. `Onsets` counts a burst once, however long it is, and is blind to what fails all the time; `Blocks` weighs a
burst by the blocks it lies in, and is blind to what fails now and then.
"""

from dataclasses import dataclass
from math import inf, log

MOST_AT_ONCE = 0.51  # of the bound, by one report of the counters: no single second decides


@dataclass(frozen=True, slots=True)
class Sprt:
    """Tells a share p0 of bad trials (good) from a share p1 (bad).

    alpha: chance that one run of the test calls a share of p0 bad. beta: chance that it calls a share of p1 good.
    """

    p0: float
    p1: float
    alpha: float
    beta: float

    def __post_init__(self) -> None:
        if not (0 < self.p0 < self.p1 < 1 and 0 < self.alpha < 0.5 and 0 < self.beta < 0.5):
            raise ValueError(f"no test: {self}")

    @property
    def step_bad(self) -> float:
        """What a bad trial adds to the logarithm of the likelihood ratio."""
        return log(self.p1 / self.p0)

    @property
    def step_good(self) -> float:
        """What a good trial adds; negative."""
        return log((1 - self.p1) / (1 - self.p0))

    @property
    def upper(self) -> float:
        """Wald's bound from which on it is bad."""
        return log((1 - self.beta) / self.alpha)

    @property
    def lower(self) -> float:
        """Wald's bound up to which it is good."""
        return log(self.beta / (1 - self.alpha))


class SequentialTest:
    """A run of the test. Found good, it begins anew, so that a release that turns bad later is found too."""

    def __init__(self, settings: Sprt, ratio: float = 0.0) -> None:
        """ratio: where a run goes on that was interrupted."""
        self._bad, self._good = settings.step_bad, settings.step_good
        self._upper, self._lower = settings.upper, settings.lower
        self.ratio = ratio  # logarithm of the likelihood ratio

    @property
    def at_start(self) -> bool:
        """Whether this run of the test has seen nothing yet."""
        return self.ratio == 0.0

    def feed(self, bad: int, trials: int = 1, most: float = inf) -> bool:
        """Takes `trials` of which `bad` were bad, whose order is not known; True once it is bad for sure. They add
        `most` at most.
        """
        self.ratio += min(bad * self._bad + (trials - bad) * self._good, most)
        if self.ratio <= self._lower:
            self.ratio = 0.0
        return self.ratio >= self._upper


@dataclass(frozen=True, slots=True)
class Signal:
    """One soft signal over blocks and how it is weighed.

    A block lasts at least block_s and holds at least `fewest` requests; it is bad when at least `share` of its
    requests, and at least `least_bad`, are.
    """

    test: Sprt
    share: float
    block_s: float = 1.0
    fewest: int = 1
    least_bad: int = 1


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one run of the test has seen."""

    bad: int = 0
    requests: int = 0
    bad_blocks: int = 0
    blocks: int = 0


class Onsets:
    """Feeds the test with answers, and with the failures that came right after one. A block is one report."""

    def __init__(self, test: Sprt, ratio: float = 0.0) -> None:
        self.settings = test
        self.evidence = Evidence()
        self._test = SequentialTest(test, ratio)
        self._most = MOST_AT_ONCE * test.upper

    @property
    def ratio(self) -> float:
        return self._test.ratio

    def add(self, onsets: int, answers: int) -> bool:
        """So many answers, and so many failures whose predecessor was an answer. True once the release is bad for sure.

        Each answer is followed by one request, which is such a failure or not.
        """
        trials = max(onsets, answers)
        if not trials:
            return False
        self.evidence = _with(self.evidence, self._test.at_start, onsets, trials, onsets > 0)
        return self._test.feed(onsets, trials, self._most)


class Blocks:
    """Gathers requests into blocks and feeds them to the test. Time is an argument."""

    def __init__(self, signal: Signal, ratio: float = 0.0) -> None:
        self.settings = signal.test
        self.evidence = Evidence()
        self.last_block_bad = False
        self._signal = signal
        self._test = SequentialTest(signal.test, ratio)
        self._opened_at: float | None = None
        self._block_bad = 0
        self._block_requests = 0

    @property
    def ratio(self) -> float:
        return self._test.ratio

    def add(self, bad: int, requests: int, began_s: float, ended_s: float) -> bool:
        """`bad` of `requests` went wrong between the two times. True once the release is bad for sure.

        A span without requests says nothing.
        """
        if requests:
            if self._opened_at is None:
                self._opened_at = began_s
            self._block_bad += bad
            self._block_requests += requests
        if self._opened_at is None or ended_s - self._opened_at < self._signal.block_s:
            return False
        if self._block_requests < self._signal.fewest:
            return False
        return self._close()

    def drop(self) -> None:
        """The open block is not weighed, nor held against the release."""
        self._opened_at, self._block_bad, self._block_requests = None, 0, 0
        self.last_block_bad = False

    def _close(self) -> bool:
        bad, requests, signal = self._block_bad, self._block_requests, self._signal
        self._opened_at, self._block_bad, self._block_requests = None, 0, 0
        self.last_block_bad = bad >= max(signal.least_bad, signal.share * requests)
        self.evidence = _with(self.evidence, self._test.at_start, bad, requests, self.last_block_bad)
        return self._test.feed(self.last_block_bad)


def _with(seen: Evidence, at_start: bool, bad: int, requests: int, block_bad: bool) -> Evidence:
    if at_start:
        seen = Evidence()
    return Evidence(
        bad=seen.bad + bad,
        requests=seen.requests + requests,
        bad_blocks=seen.bad_blocks + block_bad,
        blocks=seen.blocks + 1,
    )
