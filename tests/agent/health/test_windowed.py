"""What grows and does not stop is found; what warms up, breathes, or takes a step is left alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import pytest

from agent.health.judge import Before, Judge
from agent.health.windowed import MIB, Growth
from tests.agent.health.trials import POLICY, WELL, Trial, seconds_until_found

Shape = Callable[[float], float]  # seconds to MiB


def found_after(shape: Shape, seconds: int = 600, baseline_rise_bytes: int = 0) -> int | None:
    growth = Growth(baseline_rise_bytes)
    for second in range(1, seconds + 1):
        if growth.add(7, round(shape(second) * MIB), second):
            return second
    return None


def leak(mib_per_minute: float) -> Shape:
    return lambda t: 30 + mib_per_minute * t / 60


def warm_up(mib: float, tau_s: float) -> Shape:
    return lambda t: 30 + mib * (1 - math.exp(-t / tau_s))


def sawtooth(mib: float, period_s: float) -> Shape:
    return lambda t: 30 + mib * (t % period_s) / period_s


def step(mib: float, at_s: float) -> Shape:
    return lambda t: 30 + mib * (t >= at_s)


def test_a_worker_that_grows_without_end_is_found_within_a_probation() -> None:
    for per_minute in (4, 10, 60):
        found = found_after(leak(per_minute))
        assert found is not None
        assert found <= 480


def test_growth_with_a_ragged_edge_is_found_too() -> None:
    random = Random(1)
    assert found_after(lambda t: leak(6)(t) + 8 * random.random()) is not None


@pytest.mark.parametrize("tau_s", [5, 30, 60, 120, 240])
@pytest.mark.parametrize("mib", [20, 60, 400])
def test_a_warm_up_is_no_leak(tau_s: float, mib: float) -> None:
    assert found_after(warm_up(mib, tau_s)) is None


@pytest.mark.parametrize("period_s", [3, 10, 45, 60, 90, 120, 200, 300])
@pytest.mark.parametrize("mib", [20, 60, 400])
def test_what_comes_and_goes_is_no_leak(period_s: float, mib: float) -> None:
    assert found_after(sawtooth(mib, period_s), 3_600) is None


@pytest.mark.parametrize("at_s", range(70, 600, 60))
def test_a_step_is_no_leak(at_s: int) -> None:
    assert found_after(step(60, at_s), 3_600) is None


def test_what_stays_within_its_bounds_is_no_leak() -> None:
    assert found_after(leak(1.4)) is None  # under 16 MiB in all
    assert found_after(lambda t: 300 + leak(10)(t)) is None  # under half of its start


def test_a_leak_that_the_baseline_has_too_is_no_fault_of_the_trial() -> None:
    assert found_after(leak(6), baseline_rise_bytes=50 * MIB) is None
    assert found_after(leak(6), 86_400, baseline_rise_bytes=50 * MIB) is None
    assert found_after(leak(20), baseline_rise_bytes=50 * MIB) is not None


def test_a_leak_over_a_whole_day_is_found() -> None:
    assert found_after(leak(0.1), 86_400) is not None


def test_a_new_worker_begins_anew() -> None:
    growth = Growth()
    for second in range(1, 3_600):
        assert not growth.add(second // 240, round(leak(10)(second % 240) * MIB), second)


def test_a_leak_ends_a_trial_with_its_numbers() -> None:
    trial = Trial()
    assert seconds_until_found(trial, lambda: {"answers": 10, "memory_bytes": 100_000}) is not None
    verdict = trial.judge.verdict(trial.now)
    assert verdict is not None
    assert verdict.code == "memory"
    assert verdict.facts["last_bytes"] > verdict.facts["first_bytes"]  # type: ignore[operator]


# --- frames in against results out --------------------------------------------------------------------------------


def test_a_release_that_takes_frames_in_and_gives_nothing_is_found() -> None:
    trial = Trial(answers=50, received=50)
    assert (
        seconds_until_found(trial, lambda: {"received": 1, "waiting": 2}) == 31
    )  # from the first second in which they wait
    verdict = trial.judge.verdict(trial.now)
    assert verdict is not None
    assert (verdict.code, verdict.facts) == ("stalled", {"stalled_s": 30, "waiting": 2})


@pytest.mark.parametrize("done", ["answers", "errors", "busy", "replaced", "expired", "excused"])
def test_whatever_becomes_of_requests_is_progress(done: str) -> None:
    trial = Trial(Judge(POLICY, WELL))
    for second in range(200):
        more = {done: 1} if second % 25 == 0 else {}
        assert trial.second(received=10, waiting=9, **more) is None


def test_nobody_who_asks_is_no_stall() -> None:
    assert seconds_until_found(Trial(), dict) is None
    assert seconds_until_found(Trial(), lambda: {"received": 1}) is None  # mistakes of clients, refused at once


def test_one_long_request_is_no_stall() -> None:
    trial = Trial()
    trial.second(received=2, waiting=1)
    assert seconds_until_found(trial, lambda: {"waiting": 1}, 100) is None


def test_a_baseline_says_how_much_its_memory_breathes() -> None:
    trial = Trial(Judge(POLICY, Before(rise_bytes=40 * MIB)))
    assert seconds_until_found(trial, lambda: {"answers": 10, "memory_bytes": 100_000}) is None
