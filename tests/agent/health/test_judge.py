"""A bad trial is found by name and with its numbers; a good one with bad moments is left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from statistics import median

import pytest

from agent.control import Counters, Died
from agent.health.judge import Before, Judge, Policy, Verdict
from agent.health.sequential import Watch


class Trial:
    """A worker that answers, second by second, and the judge that watches it."""

    def __init__(self, judge: Judge | None = None, worker: int = 100, **start: int) -> None:
        self.judge = judge or Judge(Policy(), Before(constant=3))
        self.now = 0.0
        self.state = {"answers": 0, "errors": 0, "invalid": 0, "late": 0, **start}
        self.run = {"run_answers": 0, "run_inputs": 0}
        self.worker = worker
        self.second()

    def second(self, answers: int = 0, errors: int = 0, invalid: int = 0, late: int = 0, **run: int) -> Verdict | None:
        for key, more in (("answers", answers), ("errors", errors), ("invalid", invalid), ("late", late)):
            self.state[key] += more
        self.run.update(run)
        self.now += 1.0
        counters = replace(Counters("m", 2, "b" * 64, "trial", self.worker), **self.state, **self.run)  # type: ignore[arg-type]
        self.judge.counters(counters, self.now)
        return self.judge.verdict(self.now)


def seconds_until_found(trial: Trial, each: Callable[[], dict[str, int]], longest: int = 600) -> int | None:
    for second in range(1, longest + 1):
        if trial.second(**each()):
            return second
    return None


def test_a_good_trial_is_never_found_bad() -> None:
    trial = Trial()
    assert seconds_until_found(trial, lambda: {"answers": 10}) is None
    assert trial.judge.answers == 6_000


def test_an_idle_trial_is_never_found_bad() -> None:
    assert seconds_until_found(Trial(), dict) is None


def test_a_device_in_trouble_makes_no_release_late() -> None:
    trial = Trial()
    assert seconds_until_found(trial, lambda: {"answers": 10, "late": 10}, longest=11) is None
    trial.judge.device(True, trial.now)  # what came before it was known says nothing either
    assert seconds_until_found(trial, lambda: {"answers": 10, "late": 10}) is None
    trial.judge.canary(True, "", "", trial.now)
    assert trial.judge.healthy(trial.now)
    trial.judge.device(False, trial.now)
    assert seconds_until_found(trial, lambda: {"answers": 10, "late": 10}) == 12


def test_a_device_in_trouble_excuses_no_errors() -> None:
    trial = Trial()
    trial.judge.device(True, trial.now)
    assert seconds_until_found(trial, lambda: {"answers": 0, "errors": 10}) == 6


@pytest.mark.parametrize(
    ("died", "code", "text"),
    [
        (Died("m", 2, "b", "trial", signal=11, status=0), "crashed", "killed by SIGSEGV"),
        (Died("m", 2, "b", "trial", signal=0, status=0, hung=True), "hung", "does not come back"),
        (Died("m", 2, "b", "trial", signal=0, status=3), "crashed", "exited with status 3"),
        (Died("m", 2, "b", "trial", signal=200, status=0), "crashed", "killed by signal 200"),
        (Died("m", 2, "b", "trial", signal=9, status=0, memory=True), "resources", "want of memory"),
    ],
)
def test_the_death_of_its_worker_ends_a_trial_at_once(died: Died, code: str, text: str) -> None:
    judge = Judge(Policy())
    judge.died(died, 1.0)
    verdict = judge.verdict(1.0)
    assert verdict is not None
    assert (verdict.code, text in verdict.reason) == (code, True)


def test_one_answer_that_is_not_finite_ends_a_trial_at_once() -> None:
    trial = Trial()
    verdict = trial.second(answers=10, invalid=1)
    assert verdict == Verdict("not-finite", "1 of 10 answers hold NaN or infinity", {"invalid": 1, "answers": 10})


def test_answers_that_were_not_finite_before_the_judge_came_count() -> None:
    trial = Trial(answers=1_000, invalid=4)
    verdict = trial.judge.verdict(1.0)
    assert verdict is not None
    assert verdict.code == "not-finite"


def test_the_first_verdict_stays() -> None:
    trial = Trial()
    first = trial.second(answers=1, invalid=1)
    trial.judge.died(Died("m", 2, "b", "trial", 11, 0), 2.0)
    assert trial.second(answers=1) == first


# --- errors and latency -------------------------------------------------------------------------------------------


def test_a_trial_that_fails_every_time_is_found_in_six_seconds() -> None:
    trial = Trial()
    assert seconds_until_found(trial, lambda: {"errors": 10}) == 6
    verdict = trial.judge.verdict(trial.now)
    assert verdict == Verdict(
        "errors",
        "60 of 60 requests failed, in 6 of 6 blocks of 1 s",
        {"bad": 60, "requests": 60, "bad_blocks": 6, "blocks": 6},
    )


def test_a_trial_asked_once_in_ten_seconds_is_found_after_six_failures() -> None:
    steps: list[dict[str, int]] = [{}] * 9 + [{"errors": 1}]
    clock: Iterator[dict[str, int]] = iter(steps * 10)
    assert seconds_until_found(Trial(), lambda: next(clock), 100) == 60


def test_a_trial_that_is_always_late_is_found() -> None:
    trial = Trial()
    found = seconds_until_found(trial, lambda: {"answers": 10, "late": 10})
    assert found is not None
    assert found <= 15
    verdict = trial.judge.verdict(trial.now)
    assert verdict is not None
    assert verdict.code == "late"
    assert f"{found * 10} of {found * 10} answers took longer than the release's own p95_us" in verdict.reason


def test_a_trial_that_is_late_as_often_as_a_p95_allows_is_left_alone() -> None:
    random = Random(95)
    for rate in (1, 3, 10, 30):
        trial = Trial()
        each = lambda n=rate: {"answers": n, "late": sum(random.random() < 0.05 for _ in range(n))}  # noqa: E731
        assert seconds_until_found(trial, each, 3_600) is None


def test_ten_seconds_in_which_the_whole_device_is_slow_are_forgiven() -> None:
    trial = Trial()
    for _ in range(50):
        for _ in range(10):
            assert trial.second(answers=10, late=10) is None
        for _ in range(60):
            assert trial.second(answers=10) is None


# --- constant answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "inputs", "baseline", "found"),
    [
        (64, 41, 3, True),
        (49, 41, 3, False),  # too few answers
        (64, 9, 3, False),  # too few distinct inputs: a still picture
        (50, 10, 1, True),
        (64, 41, 20, True),
        (64, 40, 20, False),  # the baseline said the same for nearly as long
        (10_000, 1_000, 600, False),
        (10_000, 1_000, 0, False),  # nobody knows what the scene itself does
    ],
)
def test_constant_answers_are_judged_against_the_baselines_own(
    answers: int, inputs: int, baseline: int, found: bool
) -> None:
    trial = Trial(Judge(Policy(), Before(constant=baseline)))
    verdict = trial.second(answers=answers, run_answers=answers, run_inputs=inputs)
    assert (verdict is not None) is found


def test_a_constant_verdict_tells_its_numbers() -> None:
    verdict = Trial().second(answers=64, run_answers=64, run_inputs=41)
    assert verdict == Verdict(
        "constant",
        "64 equal answers to 41 distinct inputs; the baseline's longest run was 3",
        {"run_answers": 64, "run_inputs": 41, "baseline_run_inputs": 3},
    )


# --- canary -------------------------------------------------------------------------------------------------------


def test_three_canaries_that_fail_in_a_row_end_a_trial() -> None:
    judge = Judge(Policy())
    for outcome in (False, False, True, False, False):
        judge.canary(outcome, "" if outcome else "deadline", "no answer in time", 1.0)
        assert judge.verdict(1.0) is None
    judge.canary(False, "deadline", "no answer in time", 1.0)
    assert judge.verdict(1.0) == Verdict(
        "canary",
        "3 canary inferences in a row failed, the last by deadline: no answer in time",
        {"failures": 3, "code": "deadline"},
    )


@pytest.mark.parametrize(
    "code", ["runtime-away", "other-release", "no-release", "unknown-model", "busy", "stale-interface", "canary-error"]
)
def test_what_is_not_the_releases_fault_never_ends_a_trial_and_is_not_health(code: str) -> None:
    trial = Trial()
    for _ in range(100):
        trial.judge.canary(False, code, "", trial.now)
        assert trial.second(answers=1) is None
        assert not trial.judge.healthy(trial.now)


def test_failures_around_an_innocent_one_still_count_as_in_a_row() -> None:
    judge = Judge(Policy())
    for code in ("deadline", "inference-failed", "busy", "deadline"):
        judge.canary(False, code, "", 1.0)
    assert judge.verdict(1.0) is not None


# --- what the updater counts ----------------------------------------------------------------------------------------


def test_answers_to_the_canary_are_no_evidence() -> None:
    trial = Trial()
    for _ in range(20):
        trial.judge.canary(True, "", "", trial.now)
        trial.second(answers=1)
    assert trial.judge.answers == 0
    trial.second(answers=5)
    assert trial.judge.answers == 5


def test_what_a_worker_did_before_the_judge_came_is_not_counted() -> None:
    trial = Trial(answers=5_000, errors=4_000, late=5_000)
    trial.second(answers=3)
    assert trial.judge.answers == 3
    assert trial.judge.verdict(trial.now) is None


@pytest.mark.parametrize(("worker", "answers"), [(101, 7), (101, 70), (100, 7)])
def test_a_new_worker_counts_from_nothing(worker: int, answers: int) -> None:
    """Even where it is further already, or the system gives it the same process id."""
    trial = Trial()
    trial.second(answers=50, errors=1)
    trial.worker = worker
    trial.state = dict.fromkeys(trial.state, 0)
    trial.second(answers=answers)
    assert trial.judge.answers == 50 + answers
    assert trial.judge.verdict(trial.now) is None


def test_a_trial_is_healthy_while_it_counts_answers_the_canary_and_has_no_bad_block() -> None:
    trial = Trial()
    assert not trial.judge.healthy(trial.now)
    trial.judge.canary(True, "", "", trial.now)
    trial.second(answers=10)
    assert trial.judge.healthy(trial.now)
    assert not trial.judge.healthy(trial.now + 60)
    trial.second(answers=5, errors=5)
    assert not trial.judge.healthy(trial.now)
    trial.second(answers=10)
    assert trial.judge.healthy(trial.now)
    trial.judge.canary(False, "deadline", "", trial.now)
    assert not trial.judge.healthy(trial.now)


# --- simulation: the numbers of docs/health.md ----------------------------------------------------------------------

RATE = 10  # answers per second
PROBATION_S = 600


def blocks_with_bursts(random: Random, share: float, length: int) -> Iterator[int]:
    """Bad answers in each second of a probation: `share` of all, in runs of `length`."""
    left = 0
    for _ in range(PROBATION_S):
        bad = 0
        for _ in range(RATE):
            if left == 0 and random.random() < share / length:
                left = length
            bad += left > 0
            left = max(0, left - 1)
        yield bad


def found_bad(random: Random, share: float, length: int) -> bool:
    watch = Watch(Policy().errors)
    return any(
        watch.add(bad, RATE, second, second + 1) for second, bad in enumerate(blocks_with_bursts(random, share, length))
    )


@pytest.mark.parametrize(("length", "allowed"), [(1, 2), (5, 2), (30, 8)])
def test_bursts_of_errors_almost_never_cost_a_good_release(length: int, allowed: int) -> None:
    random = Random(length)
    assert sum(found_bad(random, 0.005, length) for _ in range(300)) <= allowed


@pytest.mark.slow
@pytest.mark.parametrize(("length", "per_10_000"), [(1, 2), (5, 10), (30, 150)])
def test_of_ten_thousand_good_releases_with_bursts_of_errors_few_are_lost(length: int, per_10_000: int) -> None:
    random = Random(length)
    assert sum(found_bad(random, 0.005, length) for _ in range(10_000)) <= per_10_000


@pytest.mark.parametrize(("share", "answers_median", "found"), [(0.2, 80, 1.0), (0.1, 140, 1.0), (0.05, 350, 0.99)])
def test_a_bad_release_is_found_soon(share: float, answers_median: int, found: float) -> None:
    random = Random(20)
    needed: list[int] = []
    for _ in range(200):
        trial = Trial()
        each = lambda: _some_failed(random, share)  # noqa: E731
        seconds = seconds_until_found(trial, each, PROBATION_S)
        if seconds is not None:
            needed.append(seconds * RATE)
    assert len(needed) >= found * 200
    assert median(needed) <= answers_median


def _some_failed(random: Random, share: float) -> dict[str, int]:
    errors = sum(random.random() < share for _ in range(RATE))
    return {"answers": RATE - errors, "errors": errors}


# --- the owner's checks -----------------------------------------------------------------------------------------


def test_a_required_check_that_is_bad_three_times_in_a_row_is_a_verdict() -> None:
    trial = Trial()
    for bad in (True, True, False, True, True):
        trial.judge.external("lamp", True, bad, "it is dark", trial.now)
    assert trial.judge.verdict(trial.now) is None
    trial.judge.external("lamp", True, True, "it is dark", trial.now)
    reason = "the required check lamp was bad 3 times in a row: it is dark"
    assert trial.judge.verdict(trial.now) == Verdict("external", reason, {"check": "lamp", "failures": 3})


def test_each_check_counts_for_itself() -> None:
    trial = Trial()
    for _ in range(2):
        for name in ("lamp", "page", "disk"):
            trial.judge.external(name, True, True, "", trial.now)
    assert trial.judge.verdict(trial.now) is None


def test_a_wanted_check_decides_nothing() -> None:
    trial = Trial()
    trial.judge.canary(True, "", "", trial.now)
    for _ in range(100):
        trial.judge.external("lamp", False, True, "it is dark", trial.now)
    assert trial.judge.verdict(trial.now) is None
    assert trial.judge.healthy(trial.now)


def test_a_trial_with_a_required_check_that_is_bad_is_not_healthy() -> None:
    trial = Trial()
    trial.judge.canary(True, "", "", trial.now)
    trial.judge.external("lamp", True, True, "it is dark", trial.now)
    assert not trial.judge.healthy(trial.now)
    trial.judge.external("lamp", True, False, "", trial.now)
    assert trial.judge.healthy(trial.now)
