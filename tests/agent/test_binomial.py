"""The binomial distribution."""

import pytest

from agent import binomial


@pytest.mark.parametrize(("share", "limits"), [(0.15, [10, 12, 14, 19, 22, 37]), (0.45, [15, 21, 26, 35, 45, 80])])
def test_the_limits_of_disagreement_are_those_of_the_study(share: float, limits: list[int]) -> None:
    assert [binomial.limit(of, share, 1e-4) for of in (16, 24, 32, 48, 64, 128)] == limits


def test_a_limit_is_the_least_count_that_chance_does_not_reach() -> None:
    for of in (5, 20, 64):
        least = binomial.limit(of, 0.3, 1e-4)
        assert binomial.tail(least, of, 0.3) <= 1e-4
        assert binomial.tail(least - 1, of, 0.3) > 1e-4


def test_where_nothing_is_beyond_chance_there_is_no_limit_to_reach() -> None:
    assert binomial.limit(3, 0.5, 1e-4) == 4


def test_a_tail_is_a_chance() -> None:
    assert binomial.tail(0, 10, 0.5) == pytest.approx(1)
    assert binomial.tail(10, 10, 0.5) == pytest.approx(2**-10)
    assert binomial.tail(11, 10, 0.5) == 0
