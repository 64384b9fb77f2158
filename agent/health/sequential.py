"""Wald's sequential probability ratio test, over blocks of time instead of single answers.

A. Wald, "Sequential Tests of Statistical Hypotheses", Annals of Mathematical Statistics 16 (1945), 117-186, for
Bernoulli trials. Bad answers come in bursts (a blinded camera, a busy second); a block with thirty of them weighs no
more than a block with three, so that bursts do not add up to a verdict.
"""

from dataclasses import dataclass
from math import log


@dataclass(frozen=True, slots=True)
class Sprt:
    """Tells a share p0 of bad blocks (good) from a share p1 (bad).

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
        """What a bad block adds to the logarithm of the likelihood ratio."""
        return log(self.p1 / self.p0)

    @property
    def step_good(self) -> float:
        """What a good block adds; negative."""
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

    def __init__(self, settings: Sprt) -> None:
        self._bad, self._good = settings.step_bad, settings.step_good
        self._upper, self._lower = settings.upper, settings.lower
        self.ratio = 0.0  # logarithm of the likelihood ratio

    @property
    def at_start(self) -> bool:
        """Whether this run of the test has seen nothing yet."""
        return self.ratio == 0.0

    def feed(self, bad: bool) -> bool:
        """Takes one block; True once it is bad for sure."""
        self.ratio += self._bad if bad else self._good
        if self.ratio <= self._lower:
            self.ratio = 0.0
        return self.ratio >= self._upper


@dataclass(frozen=True, slots=True)
class Signal:
    """One soft signal and how it is weighed.

    A block lasts at least block_s and holds at least `fewest` requests; it is bad when at least `share` of its
    requests, and at least one, are.
    """

    test: Sprt
    share: float
    block_s: float = 1.0
    fewest: int = 1


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one run of the test has seen."""

    bad: int = 0
    requests: int = 0
    bad_blocks: int = 0
    blocks: int = 0


class Watch:
    """Gathers requests into blocks and feeds them to the test. Time is an argument."""

    def __init__(self, signal: Signal) -> None:
        self._signal = signal
        self._test = SequentialTest(signal.test)
        self._opened_at: float | None = None
        self._block_bad = 0
        self._block_requests = 0
        self.evidence = Evidence()
        self.last_block_bad = False

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

    def _close(self) -> bool:
        bad, requests = self._block_bad, self._block_requests
        self._opened_at, self._block_bad, self._block_requests = None, 0, 0
        self.last_block_bad = bad > 0 and bad >= self._signal.share * requests
        seen = Evidence() if self._test.at_start else self.evidence
        self.evidence = Evidence(
            bad=seen.bad + bad,
            requests=seen.requests + requests,
            bad_blocks=seen.bad_blocks + self.last_block_bad,
            blocks=seen.blocks + 1,
        )
        return self._test.feed(self.last_block_bad)
