"""The record of the committed release, as the next trial is weighed against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from agent.control import Counters, Reported
from agent.slots import Slot
from agent.updater.baseline import ENOUGH_ANSWERS, RECENT_VOTES, Baseline
from agent.updater.machine import State
from agent.updater.steps import Judge, Rooms
from littoral.bundle.manifest import Manifest
from tests.agent.updater.fakes import FakeJudge, World, make_release
from tests.agent.updater.running import Device


def told(votes: int = 0, votes_bad: int = 0, worker: int = 1, answers: int = ENOUGH_ANSWERS, run: int = 0) -> Counters:
    counts = {"votes": votes, "votes_bad": votes_bad, "answers": answers, "longest_run_inputs": run}
    return Counters("m", 1, "b" * 64, "committed", worker, **counts)  # type: ignore[arg-type]


def record(*counters: Counters) -> tuple[int, int, int]:
    baseline = Baseline()
    for each in counters:
        baseline.notice(each, 0.0)
    taken = baseline.take()
    return taken["baseline_constant"], taken["baseline_votes"], taken["baseline_votes_bad"]


def test_votes_add_up_within_a_worker_and_over_workers() -> None:
    assert record(told(3, 1), told(5, 2), told(5, 2), told(2, 2, worker=9), told(4, 3, worker=9)) == (0, 9, 5)


def test_the_longest_run_counts_once_enough_was_answered() -> None:
    assert record(told(answers=ENOUGH_ANSWERS - 1, run=30)) == (0, 0, 0)
    assert record(told(run=7), told(run=3, worker=2)) == (7, 0, 0)


def test_of_many_votes_the_newer_ones_weigh_more() -> None:
    good = [told(votes, 0) for votes in range(0, 100 * RECENT_VOTES, 100)]
    since = good[-1].votes
    bad = [told(since + votes, votes) for votes in range(0, RECENT_VOTES + 1, 10)]
    _, votes, votes_bad = record(*good, *bad)
    assert votes <= RECENT_VOTES
    assert votes_bad > votes / 2


def test_once_taken_it_begins_anew_with_what_the_worker_has_counted() -> None:
    baseline = Baseline()
    baseline.notice(told(30, 30, run=5), 0.0)
    baseline.take()
    assert set(baseline.take().values()) == {0}
    baseline.notice(told(31, 30), 0.0)
    assert baseline.take()["baseline_votes"] == 31


def test_memory_counts_by_its_rise_within_ten_minutes_after_the_warm_up() -> None:
    baseline = Baseline()
    for second in range(3_600):
        warm_up = min(second, 50) * 1_000_000  # no growth
        baseline.notice(replace(told(), memory_bytes=10_000_000 + warm_up + 1_000 * second), float(second))
    assert 590_000 <= baseline.take()["baseline_rise_bytes"] <= 600_000


def test_what_falls_back_still_counts_as_a_rise() -> None:
    baseline = Baseline()
    for second in range(600):
        baseline.notice(replace(told(), memory_bytes=10_000 + second % 100), float(second))
    assert baseline.take()["baseline_rise_bytes"] == 99


def test_what_the_baseline_was_told_is_known_to_the_judge_of_the_next_release_over_restarts(tmp_path: Path) -> None:
    device = Device(tmp_path)
    first = device.install(1)
    said = {"votes": 40, "votes_bad": 30, "answers": 500, "longest_run_inputs": 6}
    counters = Counters("cats", 1, first.bundle, "committed", 7, **said)  # type: ignore[arg-type]
    device.updates.notice(counters, device.now)
    device.updates.notice(replace(counters, bundle="f" * 64, votes=900), device.now)
    judged: list[Slot] = []
    device.world.traffic = False
    device.world.rooms = _noting(device.world, judged)  # type: ignore[method-assign]
    device.start_agent()
    device.updates.notice(counters, device.now)
    device.want(device.world.add(make_release(2)).want())
    device.until(State.PROBATION)
    device.start_agent()
    device.turn()
    found = [(slot.release, slot.baseline_votes, slot.baseline_votes_bad, slot.baseline_constant) for slot in judged]
    assert found == [(2, 40, 30, 6)] * 2


def test_notes_of_apps_are_given_to_the_judge(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.install(1)
    device.world.traffic, judge = False, FakeJudge()
    device.world.judge = judge
    second = device.world.add(make_release(2))
    device.want(second.want())
    device.until(State.PROBATION)
    device.updates.notice(Reported("cats", 1, "f" * 64, ("of another",)), device.now)
    assert not judge.notes
    device.updates.notice(Reported("cats", 2, second.bundle, ("no cat",)), device.now)
    assert judge.notes == ("no cat",)


def _noting(world: World, judged: list[Slot]) -> Callable[[], Rooms]:
    made = world.rooms

    def judge(manifest: Manifest, slot: Slot) -> Judge:
        judged.append(slot)
        return world.judge

    return lambda: replace(made(), judge=judge)
