from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.worker.rates import Rates

SECOND = 1_000_000_000


def test_a_second_of_requests_may_come_at_once_and_then_one_at_a_time() -> None:
    rates = Rates()
    assert [rates.wait_ms(1, 5, 0) for _ in range(5)] == [0] * 5
    assert rates.wait_ms(1, 5, 0) == 201
    assert rates.wait_ms(1, 5, SECOND // 5) == 0
    assert rates.wait_ms(1, 5, SECOND // 5) > 0


def test_less_than_one_a_second_is_one_request_and_then_a_longer_wait() -> None:
    rates = Rates()
    assert rates.wait_ms(1, 0.1, 0) == 0
    assert rates.wait_ms(1, 0.1, 5 * SECOND) == 5_001
    assert rates.wait_ms(1, 0.1, 11 * SECOND) == 0


def test_users_do_not_share_a_bucket() -> None:
    rates = Rates()
    assert rates.wait_ms(1, 1, 0) == 0
    assert rates.wait_ms(1, 1, 0) > 0
    assert rates.wait_ms(2, 1, 0) == 0


@given(st.floats(0.1, 100), st.lists(st.integers(0, SECOND), min_size=1, max_size=50))
def test_no_user_gets_more_than_the_rate_and_one_burst(rate: float, pauses_ns: list[int]) -> None:
    rates, now_ns, taken = Rates(), 0, 0
    for pause_ns in pauses_ns:
        now_ns += pause_ns
        taken += rates.wait_ms(1, rate, now_ns) == 0
    assert taken <= max(1.0, rate) + now_ns * rate / SECOND + 1e-6
