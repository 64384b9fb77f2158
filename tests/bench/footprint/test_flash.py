"""How bytes in a while become megabytes in a day."""

import pytest

from bench.footprint.flash import Window, ours_mb


def test_a_window_stands_for_a_day_of_windows() -> None:
    assert Window(1_000_000, 86_400.0).daily_mb == pytest.approx(1.0)
    assert Window(4_096, 60.0).daily_mb == pytest.approx(5.898, abs=0.001)


def test_what_the_machine_writes_without_us_is_not_ours() -> None:
    assert ours_mb(Window(3_000, 100.0), Window(1_000, 50.0)) == pytest.approx(0.864)
    assert ours_mb(Window(1_000, 100.0), Window(1_000, 50.0)) == 0.0
