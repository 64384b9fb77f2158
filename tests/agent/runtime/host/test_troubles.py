from __future__ import annotations

from agent.runtime.host import troubles
from agent.runtime.host.troubles import Troubles


def test_three_deaths_within_a_minute_are_too_many() -> None:
    lately = Troubles()
    assert [lately.count_death(now) for now in (0.0, 10.0, 59.0)] == [False, False, True]


def test_deaths_further_apart_are_not() -> None:
    lately = Troubles()
    assert not any(lately.count_death(now) for now in (0.0, 31.0, 61.0, 92.0, 122.0))


def test_the_first_death_waits_for_nothing_and_each_further_start_longer_up_to_a_limit() -> None:
    lately, waits = Troubles(), []
    for _ in range(8):
        lately.count_death(5.0)
        waits.append(lately.not_before - 5.0)
    assert waits == sorted(waits)
    assert waits[0] == 0 < waits[1] < 1 < waits[-1] <= troubles.BACKOFF_LAST_S
