"""A bad trial is found by name and with its numbers; a good one with bad moments is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from agent.control import Died
from agent.health.judge import Before, Judge, Verdict
from tests.agent.health.trials import POLICY, WELL, Trial, seconds_until_found


def test_a_good_trial_is_never_found_bad() -> None:
    trial = Trial()
    assert seconds_until_found(trial, lambda: {"answers": 10}) is None
    assert trial.judge.answers == 6_000


def test_an_idle_trial_is_never_found_bad() -> None:
    assert seconds_until_found(Trial(), dict) is None


@pytest.mark.parametrize(
    ("died", "code", "text"),
    [
        (Died("m", 2, "b", "trial", signal=11, status=0), "crashed", "killed by SIGSEGV"),
        (Died("m", 2, "b", "trial", signal=0, status=3), "crashed", "exited with status 3"),
        (Died("m", 2, "b", "trial", signal=200, status=0), "crashed", "killed by signal 200"),
        (Died("m", 2, "b", "trial", signal=9, status=0, memory=True), "resources", "want of memory"),
    ],
)
def test_the_death_of_its_worker_ends_a_trial_at_once(died: Died, code: str, text: str) -> None:
    judge = Judge(POLICY)
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


def test_a_trial_that_fails_every_time_is_found_in_seven_seconds() -> None:
    trial = Trial()
    assert seconds_until_found(trial, lambda: {"errors": 10}) == 7
    verdict = trial.judge.verdict(trial.now)
    assert verdict is not None
    assert verdict.code == "errors"
    assert verdict.reason == "70 of 70 requests failed, in 7 of 7 blocks of 1 s and more"
    assert verdict.facts == {
        "bad": 70,
        "requests": 70,
        "bad_blocks": 7,
        "blocks": 7,
        "ratio_milli": 11266,
        "bound_milli": 10992,
        "p0_ppm": 180000,
        "p1_ppm": 900000,
        "alpha": "1.7e-05",
    }


def test_a_trial_asked_once_in_ten_seconds_is_found_after_seventy_failures() -> None:
    steps: list[dict[str, int]] = [{}] * 9 + [{"errors": 1}]
    clock: Iterator[dict[str, int]] = iter(steps * 80)
    assert seconds_until_found(Trial(), lambda: next(clock), 800) == 700


def test_a_trial_that_fails_after_every_fourth_answer_is_found_by_its_onsets() -> None:
    trial = Trial()
    found = seconds_until_found(trial, lambda: {"answers": 8, "errors": 2, "error_runs": 2})
    verdict = trial.judge.verdict(trial.now)
    assert found == 3
    assert verdict is not None
    assert verdict.code == "errors"
    assert verdict.reason.startswith("6 of 24 requests that came after an answer failed")


def test_a_release_that_fails_one_client_of_several_all_the_time_is_found() -> None:
    for each in ({"answers": 5, "errors": 5}, {"answers": 8, "errors": 2}):
        trial = Trial()
        found = seconds_until_found(trial, lambda each=each: each)  # type: ignore[misc]
        assert found == 40
        verdict = trial.judge.verdict(trial.now)
        assert verdict is not None
        assert verdict.code == "errors"


def test_what_the_baseline_fails_on_too_never_counts() -> None:
    assert seconds_until_found(Trial(), lambda: {"answers": 1, "excused": 9}) is None


def test_three_requests_that_the_baseline_answered_instead_end_a_trial() -> None:
    trial = Trial()
    assert trial.second(answers=1_000, outdone=2) is None
    verdict = trial.second(answers=1_000, outdone=1)
    assert verdict is not None
    assert (verdict.code, verdict.facts) == ("outdone", {"outdone": 3})


def test_strikes_count_over_workers() -> None:
    trial = Trial()
    trial.second(answers=5, outdone=2)
    trial.begin_worker(101)
    assert trial.second(answers=5, outdone=1) is not None


def test_a_trial_that_is_always_late_is_found() -> None:
    trial = Trial()
    found = seconds_until_found(trial, lambda: {"answers": 10, "late": 10})
    assert found is not None
    assert found == 15
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


def test_a_slow_model_that_is_always_late_is_found_within_half_a_minute() -> None:
    """Twice over its own p95 it is late at nearly every answer, however few a second they are."""
    for each in ({"answers": 1, "late": 1}, {"answers": 2, "late": 2}, {"answers": 30, "late": 30}):
        found = seconds_until_found(Trial(), lambda each=each: each)  # type: ignore[misc]
        assert found is not None
        assert found <= 30


def test_while_the_device_is_in_trouble_lateness_says_nothing() -> None:
    trial = Trial()
    trial.judge.canary(True, "", "", trial.now)
    for _ in range(120):
        trial.judge.device(True, trial.now)
        assert trial.second(answers=10, late=10, overtaken=5) is None
        assert trial.judge.healthy(trial.now)
    trial.judge.device(False, trial.now)
    assert seconds_until_found(trial, lambda: {"answers": 10, "late": 10}) == 15


def test_trouble_in_the_middle_of_a_block_drops_the_block() -> None:
    trial = Trial()
    for _ in range(50):  # 2 s late, then 2 s of trouble: no block is ever whole
        for _ in range(2):
            assert trial.second(answers=10, late=10) is None
        trial.judge.device(True, trial.now)
        trial.second(answers=10, late=10)
        trial.judge.device(False, trial.now)
    assert trial.judge.evidence()["lateness"]["blocks"] == 0


def test_errors_count_while_the_device_is_in_trouble() -> None:
    trial = Trial()
    trial.judge.device(True, trial.now)
    assert seconds_until_found(trial, lambda: {"errors": 10}) == 7


# --- reports of apps ----------------------------------------------------------------------------------------------


def test_a_release_that_apps_report_bad_is_found() -> None:
    trial = Trial()
    found = seconds_until_found(trial, lambda: {"answers": 10, "votes": 1, "votes_bad": 1})
    verdict = trial.judge.verdict(trial.now)
    assert found == 25
    assert verdict is not None
    assert verdict.code == "reported"


def test_an_app_that_reports_everything_bad_does_not_decide_against_one_that_reports_good() -> None:
    random = Random(3)
    for _ in range(30):
        trial = Trial()
        each = lambda: {"answers": 10, "votes": (n := random.randint(0, 1)) + 1, "votes_bad": n}  # noqa: E731
        assert seconds_until_found(trial, each) is None


def test_reports_are_not_heard_where_the_baseline_was_reported_bad_too() -> None:
    assert not Before(votes=100, votes_bad=26).heeds_apps
    assert all(before.heeds_apps for before in (Before(), Before(votes=19, votes_bad=19), WELL))


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
    trial = Trial(Judge(POLICY, Before(constant=baseline)))
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
    judge = Judge(POLICY)
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
    judge = Judge(POLICY)
    for code in ("deadline", "inference-failed", "busy", "deadline"):
        judge.canary(False, code, "", 1.0)
    assert judge.verdict(1.0) is not None


# --- what others found out ------------------------------------------------------------------------------------------


def test_a_required_check_that_is_bad_three_times_in_a_row_ends_a_trial() -> None:
    judge = Judge(POLICY)
    for bad in (True, True, False, True, True):
        judge.external("door", True, bad, "the door stays shut", 1.0)
        judge.external("light", True, True, "dark", 1.0) if bad else None
        judge.external("light", True, False, "", 1.0)
        assert judge.verdict(1.0) is None
    judge.external("door", True, True, "the door stays shut", 1.0)
    reason = "the required check door was bad 3 times in a row: the door stays shut"
    assert judge.verdict(1.0) == Verdict("external", reason, {"check": "door", "failures": 3})


def test_a_wanted_check_only_adds_to_the_facts() -> None:
    judge = Judge(POLICY)
    for name in ("rain", "fog", "fog", "fog"):
        judge.external(name, False, True, "", 1.0)
    judge.external("rain", False, False, "", 1.0)
    assert judge.verdict(1.0) is None
    judge.died(Died("m", 2, "b", "trial", signal=0, status=3), 1.0)
    verdict = judge.verdict(1.0)
    assert verdict is not None
    assert verdict.facts == {"status": 3, "wanted_bad": "fog"}


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
    trial.begin_worker(worker)
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


# --- what the baseline answers in its place -------------------------------------------------------------------------


def test_three_requests_that_failed_here_and_the_baseline_answered_end_a_trial() -> None:
    trial = Trial()
    assert trial.second(answers=10, outdone=2) is None
    verdict = trial.second(answers=10, outdone=1)
    assert verdict == Verdict("outdone", "3 requests failed here, and the baseline answered them", {"outdone": 3})


def test_a_release_that_is_too_slow_for_its_clients_all_the_time_is_found() -> None:
    trial = Trial()
    found = seconds_until_found(trial, lambda: {"answers": 5, "overtaken": 5}, 60)
    assert found is not None
    verdict = trial.judge.verdict(trial.now)
    assert verdict is not None
    assert verdict.code == "overtaken"


def test_one_that_is_too_slow_now_and_then_is_left_alone() -> None:
    random = Random(11)
    trial = Trial()
    assert seconds_until_found(trial, lambda: {"answers": 10, "overtaken": random.random() < 0.1}, 3_600) is None


def test_what_the_baseline_fails_on_too_is_no_fault() -> None:
    assert seconds_until_found(Trial(), lambda: {"answers": 5, "excused": 5}) is None
