"""What apps report of a trial: enough of them, for long enough, end it; one that finds everything bad does not."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from agent.config import Probation
from agent.control import Counters
from agent.health.judge import MAX_QUOTED, Before, Judge, Verdict
from agent.health.policy import policy
from littoral.bundle.manifest import Health

RATE = 10  # answers a second
PROBATION_S = 600


class Trial:
    """A worker that answers, and the apps that are answered."""

    def __init__(self, before: Before | None = None) -> None:
        before = before or Before()
        self.judge = Judge(policy(Probation(), Health(), late=False, reported=before.heeds_apps), before)
        self.now = 0.0
        self._counters = Counters("m", 2, "b" * 64, "trial", 100)
        self.second(answers=0)
        self.judge.canary(True, "", "", self.now)

    def second(self, votes: int = 0, bad: int = 0, answers: int = RATE) -> Verdict | None:
        old = self._counters
        self._counters = replace(
            old, answers=old.answers + answers, votes=old.votes + votes, votes_bad=old.votes_bad + bad
        )
        self.now += 1
        self.judge.counters(self._counters, self.now)
        return self.judge.verdict(self.now)


def found_after(trial: Trial, bad: list[bool]) -> int | None:
    """In which second it is found bad, where one app complains in those that are bad."""
    for number, is_bad in enumerate(bad, 1):
        if trial.second(votes=is_bad, bad=is_bad):
            return number
    return None


def complaints(random: Random, share: float, seconds: int = PROBATION_S) -> list[bool]:
    return [random.random() < share for _ in range(seconds)]


def test_a_release_that_is_called_bad_all_the_time_is_found_with_what_apps_wrote() -> None:
    trial = Trial()
    trial.judge.noted(("no cat", "a dog"))
    assert found_after(trial, [True] * 60) == 25
    verdict = trial.judge.verdict(trial.now)
    assert verdict is not None
    assert (verdict.code, verdict.facts["bad_blocks"], verdict.facts["notes"]) == ("reported", 25, "a dog / no cat")


def test_without_notes_there_are_only_numbers() -> None:
    trial = Trial()
    found_after(trial, [True] * 60)
    verdict = trial.judge.verdict(trial.now)
    assert verdict is not None
    assert "notes" not in verdict.facts


def test_what_is_quoted_fits_into_a_record() -> None:
    trial = Trial()
    trial.judge.noted(("x" * 200,) * 3)
    found_after(trial, [True] * 60)
    verdict = trial.judge.verdict(trial.now)
    assert verdict is not None
    assert verdict.facts["notes"] == "x" * MAX_QUOTED


@pytest.mark.parametrize(
    ("votes", "bad", "found"), [(1, 1, True), (2, 1, False), (3, 1, False), (3, 2, True), (9, 6, True), (9, 5, False)]
)
def test_of_several_apps_more_than_half_must_complain(votes: int, bad: int, found: bool) -> None:
    trial = Trial()
    assert any(trial.second(votes, bad) for _ in range(120)) is found


@pytest.mark.parametrize(
    ("before", "heeded"),
    [
        (Before(votes=20, votes_bad=5), True),
        (Before(votes=20, votes_bad=6), False),
        (Before(votes=19, votes_bad=19), True),  # too few to know the apps by
        (Before(votes=1_000, votes_bad=1_000), False),
        (Before(votes=1_000), True),
    ],
)
def test_apps_that_called_the_baseline_bad_too_are_not_heeded(before: Before, heeded: bool) -> None:
    trial = Trial(before)
    assert (found_after(trial, [True] * 120) is not None) is heeded
    assert trial.judge.healthy(trial.now) is not heeded


def test_a_second_with_a_complaint_is_not_a_healthy_one() -> None:
    trial = Trial()
    trial.second()
    assert trial.judge.healthy(trial.now)
    trial.second(votes=1, bad=1)
    assert not trial.judge.healthy(trial.now)
    trial.second()
    assert trial.judge.healthy(trial.now)


def test_votes_of_a_worker_before_the_judge_came_are_not_counted() -> None:
    judge = Trial().judge
    judge.counters(Counters("m", 2, "b" * 64, "trial", 1, answers=900, votes=900, votes_bad=900), 1.0)
    assert judge.verdict(1.0) is None


# --- the numbers of docs/health.md --------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "within_s"), [(0.5, 90), (0.3, 240)])
def test_complaints_in_many_seconds_end_a_trial(share: float, within_s: int) -> None:
    random = Random(5)
    found = [found_after(Trial(), complaints(random, share)) for _ in range(100)]
    assert all(second is not None for second in found)
    assert sorted(second or 0 for second in found)[90] <= within_s


def test_complaints_in_few_seconds_do_not() -> None:
    random = Random(6)
    assert [found_after(Trial(), complaints(random, 0.07)) for _ in range(100)] == [None] * 100


def test_ten_seconds_of_complaints_in_every_few_minutes_do_not() -> None:
    assert found_after(Trial(), ([True] * 10 + [False] * 110) * 20) is None
