"""The numbers of docs/health.md: thousands of probations, simulated answer by answer with the code itself. Fixed seeds.

A trial of 600 s; its counters come each second, as a worker counts them for one camera on one connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import log
from random import Random
from statistics import median

import pytest

from agent.config import Probation
from agent.health.judge import Judge
from agent.health.policy import policy
from agent.health.sequential import Blocks, Onsets
from littoral.bundle.manifest import Health
from tests.agent.health.trials import POLICY, WELL, Trial

PROBATION_S = 600
FEW = 300
MANY = 10_000
RATES = (1, 3, 10, 30)  # answers a second


Second = dict[str, int]


def seconds(random: Random, rate: int, share: float, length: int) -> Iterator[Second]:
    """What a worker counts in each second: `share` of the requests fail, in runs of `length`; one run may follow
    another at once.
    """
    begins = share / length / (1 - share + share / length)  # a run, where none goes on
    good, bad = _until(random, begins), 0
    failed = False
    plain = {"answers": rate, "errors": 0, "error_runs": 0}
    while True:
        if good >= rate and not bad:
            good -= rate
            failed = False
            yield plain
            continue
        count = {"answers": 0, "errors": 0, "error_runs": 0}
        for _ in range(rate):
            if not bad and not good:
                good, bad = _until(random, begins), length
            before, failed = failed, bad > 0
            if failed:
                bad -= 1
            else:
                good -= 1
            count["errors" if failed else "answers"] += 1
            count["error_runs"] += failed and not before
        yield count


def _until(random: Random, chance: float) -> int:
    """How many times something of this chance does not happen before it does."""
    return int(log(1 - random.random()) / log(1 - chance)) if chance < 1 else 0


class SoftTests:
    """The soft tests alone, as the judge feeds them: much faster."""

    def __init__(self) -> None:
        assert POLICY.late is not None
        self.onsets, self.outage, self.late = Onsets(POLICY.errors), Blocks(POLICY.outage), Blocks(POLICY.late)
        self.lasting = Blocks(POLICY.lasting)
        self.now = 0

    def second(self, answers: int, errors: int = 0, error_runs: int = 0, late: int = 0) -> bool:
        now = self.now
        self.now += 1
        found = self.onsets.add(error_runs, answers)
        found |= self.outage.add(errors, answers + errors, now, now + 1)
        found |= self.lasting.add(errors, answers + errors, now, now + 1)
        return found | self.late.add(late, answers, now, now + 1)


def requests_until_found(trial: Trial | SoftTests, each: Iterator[Second], longest_s: int = PROBATION_S) -> int | None:
    requests = 0
    for count in islice(each, longest_s):
        requests += count["answers"] + count["errors"]
        if trial.second(**count):
            return requests
    return None


def rolled_back(trials: int, rate: int, share: float, length: int) -> int:
    random = Random(1_000 * rate + length)
    return sum(
        requests_until_found(SoftTests(), seconds(random, rate, share, length)) is not None for _ in range(trials)
    )


def test_what_is_simulated_is_what_was_asked_for() -> None:
    for share, length in ((0.005, 1), (0.005, 30), (0.2, 1), (0.2, 5), (1.0, 1)):
        seen = list(islice(seconds(Random(1), 10, share, length), 60_000))
        assert sum(s["errors"] for s in seen) / 600_000 == pytest.approx(share, rel=0.15)
        assert all(s["answers"] + s["errors"] == 10 for s in seen)
        runs = sum(s["error_runs"] for s in seen)
        if share < 1:  # that follow another at once are one
            assert runs / 600_000 == pytest.approx(
                share / length * (1 - share) / (1 - share + share / length), rel=0.15
            )


def test_the_judge_finds_what_the_tests_find() -> None:
    for share, length in ((0.2, 1), (0.05, 1), (0.1, 10), (1.0, 1), (0.005, 30)):
        for seed in range(10):
            found = [
                requests_until_found(trial, seconds(Random(seed), 10, share, length))
                for trial in (Trial(), SoftTests())
            ]
            assert found[0] == found[1]


# --- equal releases ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 5, 30])
@pytest.mark.parametrize("rate", RATES)
def test_an_equal_release_with_bursts_of_errors_is_kept(rate: int, length: int) -> None:
    assert rolled_back(FEW, rate, 0.005, length) == 0


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 5, 30])
@pytest.mark.parametrize("rate", RATES)
def test_of_ten_thousand_equal_releases_with_bursts_of_errors_ten_at_most_are_lost(rate: int, length: int) -> None:
    lost = rolled_back(MANY, rate, 0.005, length)
    print(f"{rate} a second, runs of {length}: {lost} of {MANY}")
    assert lost <= 10


def late(random: Random, rate: int, share: float) -> Iterator[Second]:
    while True:
        yield {"answers": rate, "errors": 0, "late": sum(random.random() < share for _ in range(rate))}


@pytest.mark.parametrize("rate", RATES)
def test_a_release_that_is_late_as_often_as_its_p95_allows_is_kept(rate: int) -> None:
    random = Random(95 + rate)
    assert all(requests_until_found(SoftTests(), late(random, rate, 0.05)) is None for _ in range(30))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("rate", RATES)
def test_of_ten_thousand_releases_late_as_often_as_allowed_ten_at_most_are_lost(rate: int) -> None:
    random = Random(95 + rate)
    lost = sum(requests_until_found(SoftTests(), late(random, rate, 0.05)) is not None for _ in range(MANY))
    print(f"{rate} a second, 5 % late: {lost} of {MANY}")
    assert lost <= 10


# --- bad ones ---------------------------------------------------------------------------------------------------------


def needed(trials: int, rate: int, share: float) -> list[int]:
    """Requests until each was found, of those that were."""
    random = Random(20)
    found = [requests_until_found(SoftTests(), seconds(random, rate, share, 1)) for _ in range(trials)]
    return sorted(count for count in found if count is not None)


def told(what: str, counts: list[int], of: int) -> None:
    print(f"{what}: {len(counts)} of {of}, median {median(counts):g}, 9 of 10 {counts[int(0.9 * len(counts))]}")


@pytest.mark.parametrize(
    ("share", "most", "found"), [(0.2, 40, 1.0), (0.1, 100, 1.0), (0.05, 400, 0.99), (0.8, 40, 1.0), (1.0, 70, 1.0)]
)
def test_a_bad_release_is_found_soon(share: float, most: int, found: float) -> None:
    counts = needed(200, 10, share)
    assert len(counts) >= found * 200
    assert median(counts) <= most


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("rate", RATES)
def test_of_ten_thousand_bad_releases_all_are_found(rate: int, share: float) -> None:
    trials = MANY if share == 0.2 else 1_000
    counts = needed(trials, rate, share)
    told(f"{rate} a second, {share:.0%} fail", counts, trials)
    if share >= 0.1:
        assert len(counts) >= 0.999 * trials


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.5, 0.99])
@pytest.mark.parametrize("rate", RATES)
def test_late_releases_are_found(rate: int, share: float) -> None:
    random = Random(30)
    trials = 500
    found = [requests_until_found(SoftTests(), late(random, rate, share)) for _ in range(trials)]
    counts = sorted(count // rate for count in found if count is not None)
    if counts:
        told(f"{rate} a second, {share:.0%} late, seconds", counts, trials)
    if share == 0.99:
        assert len(counts) == trials
        assert counts[-1] <= 30


# --- restarts in the middle -------------------------------------------------------------------------------------------


def again(remembered: dict[str, int]) -> Judge:
    return Judge(POLICY, WELL, remembered)


@pytest.mark.parametrize("every_s", [1, 7])
def test_restarts_of_the_agent_change_nothing_about_what_is_found(every_s: int) -> None:
    """Whatever its worker did while no agent looked is weighed by the next one, once."""
    for seed in range(60):
        plain, restarted = Trial(), Trial()
        found = requests_until_found(plain, seconds(Random(seed), 10, 0.2, 1))
        each = seconds(Random(seed), 10, 0.2, 1)
        requests = 0
        while restarted.judge.verdict(0) is None:
            if restarted.now % every_s == 0:
                restarted.restart_agent(again)
            requests += 10
            restarted.second(**next(each))
        assert found == requests
        assert restarted.judge.answers <= plain.judge.answers


def test_what_happened_while_the_agent_was_away_is_weighed_once() -> None:
    trial = Trial(answers=100)
    trial.second(answers=10, errors=2, error_runs=2)
    before = trial.judge.evidence()["onsets"]["ratio_milli"]
    remembered = trial.judge.remember()
    trial.seen = away = trial.seen
    for judge in (again(remembered), again(remembered)):
        trial.judge, trial.seen = judge, away
        trial.second(answers=10, errors=2, error_runs=2)
        trial.second()
        assert trial.judge.evidence()["onsets"]["ratio_milli"] == pytest.approx(2 * before, abs=2)
        assert trial.judge.answers == 0  # it is no evidence for a commit


def test_after_a_power_cut_the_next_worker_counts_from_nothing_and_the_tests_go_on() -> None:
    trial = Trial()
    trial.second(answers=30, errors=3, error_runs=3)
    before = trial.judge.evidence()["onsets"]["ratio_milli"]
    trial.restart_agent(again)
    trial.begin_worker(101)
    trial.second(answers=10, errors=1, error_runs=1)
    after = trial.judge.evidence()["onsets"]["ratio_milli"]
    assert after == pytest.approx(before * 4 / 3, abs=100)


def test_a_restart_without_counters_in_between_remembers_the_same() -> None:
    trial = Trial()
    trial.second(answers=10, errors=2, error_runs=2, outdone=1)
    remembered = trial.judge.remember()
    assert again(again(remembered).remember()).remember() == remembered


def test_an_equal_release_survives_a_plug_pulled_every_five_minutes() -> None:
    random = Random(5)
    for _ in range(40):
        trial = Trial()
        each = seconds(random, 10, 0.005, 30)
        for boot in range(3):
            assert requests_until_found(trial, each, 300) is None
            trial.restart_agent(again)
            trial.begin_worker(101 + boot)


# --- what a release may say of itself ---------------------------------------------------------------------------------


def trial_of(health: Health, settings: Probation | None = None) -> Trial:
    return Trial(Judge(policy(settings or Probation(), health, late=True, reported=True), WELL))


def found_of(health: Health, share: float, settings: Probation | None = None) -> int:
    random = Random(9)
    return sum(
        requests_until_found(trial_of(health, settings), seconds(random, 10, share, 1)) is not None for _ in range(30)
    )


def test_a_release_that_says_it_fails_sometimes_is_kept_when_it_does() -> None:
    assert found_of(Health(errors_ppm=40_000), 0.03) == 0
    assert found_of(Health(), 0.03) >= 1


def test_a_release_cannot_say_that_failing_is_normal_beyond_what_the_device_allows() -> None:
    assert found_of(Health(errors_ppm=900_000), 0.2) == 30
    assert found_of(Health(errors_ppm=900_000), 0.1, Probation(errors_most=0.02)) == 30


def test_a_release_cannot_be_so_strict_that_one_failure_ends_it() -> None:
    trial = trial_of(Health(errors_ppm=1, late_ppm=1))
    assert trial.second(answers=9, errors=1, error_runs=1) is None
    assert trial.second(answers=9, errors=1, error_runs=1) is None


def test_alpha_is_shared_by_the_tests_that_run() -> None:
    alone, all_of_them = (policy(Probation(alpha=0.01), Health(), late, late) for late in (False, True))
    assert alone.errors.alpha == alone.outage.test.alpha == pytest.approx(0.01 / 4)
    assert alone.late is alone.reported is None
    assert all_of_them.late is not None
    assert all_of_them.reported is not None
    blocks = (all_of_them.outage, all_of_them.lasting, all_of_them.late, all_of_them.overtaken)
    alphas = [all_of_them.errors.alpha, *(block.test.alpha for block in blocks)]
    assert alphas == [pytest.approx(0.01 / 6)] * 5
    assert all_of_them.reported.test.alpha < 0.001
