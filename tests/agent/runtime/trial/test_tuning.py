from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.runtime.engine import Result, Tuning
from agent.runtime.trial import tuning

ALL, BIG = 0b1111, 0b1100


@dataclass
class Scripted:
    """What each measurement gives; what is not scripted takes as long as one thread alone."""

    alone_us: float
    times_us: dict[tuple[int, int, int], float] = field(default_factory=dict)
    asked: list[tuple[int, int, int]] = field(default_factory=list)

    def run_us(self, threads: int, interpreters: int, cpus: int) -> float:
        self.asked.append((threads, interpreters, cpus))
        return self.times_us.get((threads, interpreters, cpus), self.alone_us)


def choose(bench: Scripted, allowed: int = ALL, fast: int = 0, most: int = 2) -> Tuning:
    return tuning.choose(bench, allowed, fast, most)


def test_a_short_model_has_one_interpreter_and_one_thread() -> None:
    bench = Scripted(400)
    assert choose(bench) == Tuning(1, 1, 0)
    assert bench.asked == [(1, 1, 0)]


def test_a_long_model_has_two_interpreters_where_they_run_side_by_side() -> None:
    assert choose(Scripted(4_000, {(1, 2, 0): 4_300})).interpreters == 2
    assert choose(Scripted(4_000, {(1, 2, 0): 7_500})).interpreters == 1


@pytest.mark.parametrize(("allowed", "most"), [(0b1, 2), (0b1111, 1)], ids=["one CPU", "no room"])
def test_a_second_interpreter_needs_a_cpu_and_room(allowed: int, most: int) -> None:
    assert choose(Scripted(4_000), allowed, most=most).interpreters == 1


@pytest.mark.parametrize(
    ("two_us", "four_us", "threads"), [(2_200, 1_300, 4), (2_200, 1_900, 2), (3_300, 1_000, 1)], ids=str
)
def test_more_threads_are_taken_while_each_step_is_clearly_faster(two_us: int, four_us: int, threads: int) -> None:
    bench = Scripted(4_000, {(2, 1, 0): two_us, (4, 1, 0): four_us})
    assert choose(bench, most=1).threads == threads


@pytest.mark.parametrize("disturbed", range(5))
def test_a_measurement_that_was_disturbed_does_not_decide(disturbed: int) -> None:
    class Disturbed(Scripted):
        def run_us(self, threads: int, interpreters: int, cpus: int) -> float:
            return super().run_us(threads, interpreters, cpus) * (2 if len(self.asked) - 1 == disturbed else 1)

    assert choose(Disturbed(4_000, {(2, 1, 0): 3_800, (1, 1, BIG): 3_900}), fast=BIG, most=1) == Tuning(1, 1, 0)
    assert choose(Disturbed(4_000, {(1, 2, 0): 4_300})) == Tuning(1, 2, 0)


def test_threads_and_interpreters_together_are_no_more_than_the_cpus() -> None:
    faster = {(1, 2, 0): 4_100.0, (2, 1, 0): 2_100.0, (4, 1, 0): 1_100.0}
    assert choose(Scripted(4_000, faster), 0b11) == Tuning(1, 2, 0)
    assert choose(Scripted(4_000, faster), 0b1111) == Tuning(2, 2, 0)
    assert choose(Scripted(4_000, faster), 0b11111111) == Tuning(4, 2, 0)


def test_fast_cpus_are_taken_only_where_they_are_clearly_faster() -> None:
    assert choose(Scripted(400, {(1, 1, BIG): 200}), fast=BIG).cpus == BIG
    assert choose(Scripted(400, {(1, 1, BIG): 390}), fast=BIG).cpus == 0


def test_on_the_fast_cpus_there_are_only_so_many_threads() -> None:
    bench = Scripted(4_000, {(1, 1, BIG): 2_000, (2, 1, BIG): 1_200, (4, 1, BIG): 100})
    assert choose(bench, fast=BIG, most=1) == Tuning(2, 1, BIG)


def capacities(folder: Path, *values: int | None) -> Path:
    for cpu, value in enumerate(values):
        (folder / f"cpu{cpu}").mkdir()
        if value is not None:
            (folder / f"cpu{cpu}" / "cpu_capacity").write_text(f"{value}\n")
    return folder


@pytest.mark.parametrize(
    ("values", "allowed", "fast"),
    [
        ((446, 446, 1024, 1024), 0b1111, 0b1100),
        ((446, 446, 1024, 1024), 0b1011, 0b1000),
        ((446, 446, 1024, 1024), 0b0011, 0),
        ((1024, 1024), 0b11, 0),
        ((None, None), 0b11, 0),
        ((446, None), 0b11, 0),
    ],
    ids=["big and little", "fewer allowed", "only little", "all equal", "not told", "half told"],
)
def test_the_fast_cpus_are_those_of_the_highest_capacity(
    tmp_path: Path, values: tuple[int | None, ...], allowed: int, fast: int
) -> None:
    assert tuning.fast_cpus(allowed, capacities(tmp_path, *values)) == fast


class Counting:
    """An interpreter that remembers where it ran."""

    def __init__(self, seen: list[tuple[int, frozenset[int]]]) -> None:
        self._seen = seen

    def run(self, data: bytes | bytearray | memoryview, signature: str = "") -> Result:
        self._seen.append((threading.get_ident(), frozenset(os.sched_getaffinity(0))))
        return Result(bytes(data), finite=True)


def test_interpreters_side_by_side_run_in_threads_of_their_own_on_the_cpus_asked_for() -> None:
    allowed = tuning.allowed_cpus()
    last = 1 << (allowed.bit_length() - 1)
    seen: list[tuple[int, frozenset[int]]] = []
    threads_asked: list[int] = []

    def interpreter(threads: int) -> Counting:
        threads_asked.append(threads)
        return Counting(seen)

    bench = tuning.ModelBench(interpreter, b"question", allowed)
    assert 0 < bench.run_us(3, 2, last) < float("inf")
    assert threads_asked == [3, 3]
    assert len({thread for thread, _ in seen}) == 2
    assert {cpus for _, cpus in seen} == {frozenset({last.bit_length() - 1})}
    assert tuning.allowed_cpus() == allowed
