"""Wald's test holds what it promises, and bursts do not make a good release look bad."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.health.sequential import Blocks, Evidence, Onsets, SequentialTest, Signal, Sprt

tests = st.builds(
    Sprt,
    p0=st.floats(0.005, 0.2),
    p1=st.floats(0.3, 0.9),
    alpha=st.floats(1e-9, 0.05),
    beta=st.floats(1e-4, 0.2),
)
blocks = st.lists(st.booleans(), max_size=300)


@pytest.mark.parametrize(
    ("p0", "p1", "alpha", "beta"),
    [(0.5, 0.1, 0.01, 0.01), (0.1, 0.1, 0.01, 0.01), (0, 0.5, 0.01, 0.01), (0.1, 1, 0.01, 0.01), (0.1, 0.5, 0, 0.01)],
)
def test_a_test_that_could_tell_nothing_is_refused(p0: float, p1: float, alpha: float, beta: float) -> None:
    with pytest.raises(ValueError):
        Sprt(p0, p1, alpha, beta)


@given(tests)
def test_a_bad_block_speaks_against_a_release_and_a_good_one_for_it(settings: Sprt) -> None:
    assert settings.step_bad > 0 > settings.step_good
    assert settings.upper > 0 > settings.lower


@given(tests, st.floats(0, 1))
def test_the_steps_are_the_log_likelihood_ratio(settings: Sprt, share: float) -> None:
    """Expected step under p: below zero at p0, above zero at p1, and rising in p."""

    def drift(p: float) -> float:
        return p * settings.step_bad + (1 - p) * settings.step_good

    assert drift(settings.p0) < 0 < drift(settings.p1)
    assert drift(share) <= drift(min(1.0, share + 0.1)) + 1e-12


@given(tests, blocks)
def test_one_more_bad_block_never_saves_a_release(settings: Sprt, history: list[bool]) -> None:
    """Of two histories that differ in one block, the one in which it was bad is found bad no later, if the test did not
    begin anew in between."""
    for at, bad in enumerate(history[:20]):
        if not bad:
            worse = [*history[:at], True, *history[at + 1 :]]
            found, ratios = run(settings, history)
            found_worse, _ = run(settings, worse)
            if found is not None and min(ratios, default=0.0) > settings.lower:
                assert found_worse is not None
                assert found_worse <= found


def run(settings: Sprt, history: list[bool]) -> tuple[int | None, list[float]]:
    """(index of the block that decided, running sums as they would be without beginning anew)."""
    test = SequentialTest(settings)
    sums, total = [], 0.0
    for index, bad in enumerate(history):
        total += settings.step_bad if bad else settings.step_good
        sums.append(total)
        if test.feed(bad):
            return index, sums
    return None, sums


@given(tests, st.integers(1, 500))
def test_good_blocks_alone_never_find_a_release_bad(settings: Sprt, count: int) -> None:
    test = SequentialTest(settings)
    assert not any(test.feed(False) for _ in range(count))
    assert settings.lower < test.ratio <= 0


@given(tests)
def test_bad_blocks_alone_find_it_bad_after_as_many_as_the_bound_needs(settings: Sprt) -> None:
    test = SequentialTest(settings)
    count = next(n for n in range(1, 10_000) if test.feed(True))
    assert (count - 1) * settings.step_bad < settings.upper * (1 + 1e-9)
    assert count * settings.step_bad >= settings.upper * (1 - 1e-9)


@given(tests, blocks, st.integers(1, 50))
def test_a_release_that_turns_bad_late_is_found_about_as_soon(settings: Sprt, history: list[bool], more: int) -> None:
    """Whatever went before, the test never needs more than the whole way from its lower to its upper bound."""
    test = SequentialTest(settings)
    if any(test.feed(bad) for bad in history):
        return
    needed = int((settings.upper - settings.lower) / settings.step_bad) + 2
    assert any(test.feed(True) for _ in range(needed))


def test_the_errors_stay_near_walds_bounds() -> None:
    """At p0 at most alpha is found bad, at p1 at most beta good (both up to the factor that Wald's bounds allow)."""
    settings = Sprt(p0=0.1, p1=0.4, alpha=0.05, beta=0.1)
    random = Random(1945)
    wrong = {settings.p0: 0, settings.p1: 0}
    for p in wrong:
        for _ in range(2_000):
            ratio = 0.0
            while settings.lower < ratio < settings.upper:
                ratio += settings.step_bad if random.random() < p else settings.step_good
            wrong[p] += (ratio >= settings.upper) == (p == settings.p0)
    assert wrong[settings.p0] / 2_000 <= settings.alpha / (1 - settings.beta)
    assert wrong[settings.p1] / 2_000 <= settings.beta / (1 - settings.alpha)


SIGNAL = Signal(Sprt(0.05, 0.5, 1e-6, 0.01), share=0.05)


def test_a_burst_weighs_as_much_as_the_blocks_it_lies_in() -> None:
    many, few = Blocks(SIGNAL), Blocks(SIGNAL)
    for second in range(4):
        assert not many.add(1_000, 1_000, second, second + 1)
        assert not few.add(1, 10, second, second + 1)
    assert many.evidence == Evidence(4_000, 4_000, 4, 4)
    assert few.evidence == Evidence(4, 40, 4, 4)


def test_spans_without_requests_say_nothing() -> None:
    watch = Blocks(SIGNAL)
    for second in range(1_000):
        assert not watch.add(0, 0, second, second + 1)
    assert watch.evidence == Evidence()


def test_a_block_is_closed_when_its_time_is_over_and_it_holds_enough() -> None:
    watch = Blocks(Signal(SIGNAL.test, share=0.3, fewest=10))
    for tenth in range(9):
        watch.add(1, 1, tenth / 10, (tenth + 1) / 10)
    watch.add(0, 0, 0.9, 5.0)
    assert watch.evidence == Evidence()
    watch.add(1, 1, 5.0, 5.1)
    assert watch.evidence == Evidence(10, 10, 1, 1)
    assert watch.last_block_bad


@pytest.mark.parametrize(
    ("bad", "requests", "is_bad"),
    [(0, 10, False), (1, 10, True), (1, 20, True), (1, 21, False), (5, 100, True), (4, 100, False), (1, 1, True)],
)
def test_a_block_is_bad_from_a_twentieth_on(bad: int, requests: int, is_bad: bool) -> None:
    watch = Blocks(SIGNAL)
    watch.add(bad, requests, 0, 1)
    assert watch.last_block_bad is is_bad


def test_the_evidence_is_of_the_present_run_of_the_test() -> None:
    watch = Blocks(SIGNAL)
    for second in range(8):  # 8 good blocks reach the lower bound
        watch.add(0, 10, second, second + 1)
    for second in range(8, 13):
        assert not watch.add(3, 10, second, second + 1)
    assert watch.add(3, 10, 13, 14)
    assert watch.evidence == Evidence(18, 60, 6, 6)


def test_a_test_goes_on_where_it_was_interrupted() -> None:
    whole, first = Blocks(SIGNAL), Blocks(SIGNAL)
    for second in range(5):
        whole.add(5, 10, second, second + 1)
        if second < 3:
            first.add(5, 10, second, second + 1)
    rest = Blocks(SIGNAL, first.ratio)
    for second in range(3, 5):
        rest.add(5, 10, second, second + 1)
    assert rest.ratio == pytest.approx(whole.ratio)


def test_a_dropped_block_says_nothing() -> None:
    watch = Blocks(Signal(SIGNAL.test, share=0.3, block_s=3))
    watch.add(10, 10, 0, 1)
    watch.drop()
    watch.add(0, 10, 1, 2)
    watch.add(0, 10, 2, 4)
    assert watch.evidence == Evidence(0, 20, 0, 1)


ONSETS = Sprt(0.01, 0.1, 1e-4, 0.01)


def test_a_burst_of_failures_counts_once_however_long_it_is() -> None:
    short, long = Onsets(ONSETS), Onsets(ONSETS)
    short.add(1, 9)
    long.add(1, 9)
    for _ in range(100):
        long.add(0, 0)  # it fails on, and nothing follows an answer
    assert long.ratio == short.ratio
    assert long.evidence == Evidence(1, 9, 1, 1)


def test_no_single_second_decides() -> None:
    watch = Onsets(ONSETS)
    assert not watch.add(1_000, 1_000)
    assert watch.add(1_000, 1_000)


def test_a_release_that_fails_each_tenth_time_is_found_by_its_onsets() -> None:
    watch = Onsets(ONSETS)
    assert any(watch.add(1, 9) for _ in range(30))


def test_a_release_that_fails_each_two_hundredth_time_is_not() -> None:
    watch = Onsets(ONSETS)
    assert not any(watch.add(second % 20 == 0, 10) for second in range(10_000))


@given(tests, st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=50))
def test_the_order_of_answers_within_a_report_does_not_matter(settings: Sprt, reports: list[tuple[int, int]]) -> None:
    """What they add is the sum of what each adds."""
    test = SequentialTest(settings)
    for bad, good in reports:
        before = test.ratio
        test.feed(bad, bad + good)
        added = bad * settings.step_bad + good * settings.step_good
        assert test.ratio == 0.0 or test.ratio == pytest.approx(before + added)
