"""agent/updater/baseline.py: what a trial is compared with."""

from __future__ import annotations

from dataclasses import replace

from agent.control import Counters
from agent.updater.baseline import Baseline

BEGUN = Counters("m", 1, "b" * 64, "committed", 100)


def test_the_longest_run_counts_once_enough_was_answered() -> None:
    baseline = Baseline()
    baseline.notice(replace(BEGUN, answers=49, longest_run_inputs=7), 1.0)
    assert baseline.learned() == {"baseline_constant": 0, "baseline": {}}
    baseline.notice(replace(BEGUN, answers=50, longest_run_inputs=7), 2.0)
    baseline.notice(replace(BEGUN, worker=101, answers=60, longest_run_inputs=2), 3.0)
    assert baseline.learned()["baseline_constant"] == 7


def test_reports_add_up_over_workers() -> None:
    baseline = Baseline()
    for worker in (100, 101):
        for votes in (0, 4, 9):
            baseline.notice(replace(BEGUN, worker=worker, votes=votes, votes_bad=votes // 4), 1.0)
    assert baseline.learned()["baseline"] == {"votes": 18, "votes_bad": 4}


def test_memory_counts_by_its_rise_within_ten_minutes_after_the_warm_up() -> None:
    baseline = Baseline()
    for second in range(3_600):
        warm_up = min(second, 50) * 1_000_000  # no growth
        baseline.notice(replace(BEGUN, memory_bytes=10_000_000 + warm_up + 1_000 * second), float(second))
    rise = baseline.learned()["baseline"]["rise_bytes"]
    assert 590_000 <= rise <= 600_000


def test_what_falls_back_still_counts_as_a_rise() -> None:
    baseline = Baseline()
    for second in range(600):
        baseline.notice(replace(BEGUN, memory_bytes=10_000 + second % 100), float(second))
    assert baseline.learned()["baseline"] == {"rise_bytes": 99}
