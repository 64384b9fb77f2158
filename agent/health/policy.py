"""The numbers a trial is judged by: of the code, of the device's configuration, and of the signed release within it.

Simulated in tests/agent/health/test_simulated.py; docs/health.md has the results.
"""

from dataclasses import dataclass

from agent.config import Probation
from agent.health.sequential import Signal, Sprt
from littoral.bundle.manifest import Health

ERRORS, LATE = 0.01, 0.05  # shares of failing and late answers that are normal where the release does not say
ERRORS_LEAST, LATE_LEAST = 0.001, 0.01  # what is below would let a single bad answer decide
BAD_BEYOND = 0.09  # a release is bad whose share of failures is so much above what is normal
LASTING_BEYOND = 0.14  # likewise, over blocks of ten seconds
LATE_FACTOR = 4  # a block is bad that has so many times as many late answers as are normal
BETA = 0.01
REPORTED = 1e-14  # of alpha: who complains does so for ten seconds on end, and may do so twice in a minute
PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class Policy:
    """How one trial is judged.

    errors: failures that come right after an answer. outage: blocks in which nearly all fails. lasting: long blocks in
    which more fails than in a burst, whoever is failed. late, reported: blocks
    of answers over the release's p95_us, and of bad reports of apps; None: not judged. overtaken: blocks of requests
    that were too slow for their deadline, so that the baseline answered them.
    """

    errors: Sprt
    outage: Signal
    lasting: Signal
    late: Signal | None
    overtaken: Signal
    reported: Signal | None
    constant_answers: int = 50  # a run of equal answers as long as this ...
    constant_inputs: int = 10  # ... to as many distinct inputs ...
    constant_factor: int = 2  # ... and to more than so many times those of the baseline's longest run
    canary_failures: int = 3  # in a row
    external_failures: int = 3  # in a row, of one required check
    outdone: int = 3
    stale_s: float = 5.0  # counters come each second; a trial of which none came for so long is not known to be well
    stalled_s: float = 30.0


def policy(settings: Probation, health: Health, late: bool, reported: bool) -> Policy:
    """late: whether the release promises a p95_us. reported: whether what apps say of answers is worth anything.

    Each of the soft tests that run gets its part of alpha, so that all together err no more often than it says
    (Bonferroni).
    """
    alpha = settings.alpha / (4 + late + reported)
    errors = _within(health.errors_ppm, ERRORS, ERRORS_LEAST, settings.errors_most)
    share = LATE_FACTOR * _within(health.late_ppm, LATE, LATE_LEAST, settings.late_most)
    return Policy(
        errors=Sprt(errors, errors + BAD_BEYOND, alpha, BETA),
        # Seven blocks in a row: two bursts of thirty failures that happen to meet make six.
        outage=Signal(Sprt(0.18, 0.9, alpha, BETA), share=0.9, block_s=1, fewest=10),
        # One client of several that is failed all the time has one onset and makes no outage.
        lasting=Signal(Sprt(0.05, 0.9, alpha, BETA), share=errors + LASTING_BEYOND, block_s=10, fewest=60),
        # Blocks of 3 s: a device that is busy for ten seconds delays every model on it, and makes at most four.
        late=Signal(Sprt(0.05, 0.5, alpha, BETA), share, block_s=3, fewest=4, least_bad=3) if late else None,
        overtaken=Signal(Sprt(0.05, 0.5, alpha, BETA), 0.3, block_s=3, fewest=4, least_bad=3),
        # One app that says bad of all and another that says good, as often, make half of each block.
        reported=Signal(Sprt(0.05, 0.3, alpha * REPORTED, BETA), share=0.6) if reported else None,
        stalled_s=settings.stalled_s,
    )


def _within(told_ppm: int, usual: float, least: float, most: float) -> float:
    """What the release says is normal, as far as this device goes along."""
    return max(least, min(told_ppm / PPM if told_ppm else usual, most))
