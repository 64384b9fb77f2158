"""How a release runs best on this device: how many threads, how many interpreters side by side, and on which CPUs.

What is cheaper stands unless the other is clearly faster, because a device has more than one model to run. Two
interpreters come before a second thread: they give more answers of the same processors (1.93 times those of one, two
threads 1.86), and one client's long run holds up no other's.
"""

import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.runtime.engine import Interpreter, Tuning
from agent.runtime.trial.report import MOST_INTERPRETERS, MOST_THREADS

CLEARLY = 0.8  # of the time: what counts as faster
LONG_US = 500  # up to here two interpreters do no more than one, and threads wait longer for each other than they run
BUDGET_S = 0.05  # of one measurement; thirteen are the most that are made
LEAST_RUNS, MOST_RUNS = 3, 1_000

CAPACITIES = Path("/sys/devices/system/cpu")


class Bench(Protocol):
    """Measures on this device."""

    def run_us(self, threads: int, interpreters: int, cpus: int) -> float:
        """Median microseconds of one run of `threads` threads, `interpreters` at the same time. cpus 0: all."""
        ...


def choose(bench: Bench, allowed: int, fast: int, most_interpreters: int) -> Tuning:
    """allowed and fast: bit i stands for CPU i; `fast` are those of the highest capacity, 0 where all are equal."""
    best, best_us = Tuning(1, 1, 0), bench.run_us(1, 1, 0)
    if fast and (fast_us := _faster(bench, best, best_us, Tuning(1, 1, fast))):
        best, best_us = Tuning(1, 1, fast), fast_us
    if best_us <= LONG_US:
        return best
    room = (best.cpus or allowed).bit_count()
    interpreters = 1
    if room > 1 and most_interpreters > 1:
        two = Tuning(1, MOST_INTERPRETERS, best.cpus)
        interpreters = MOST_INTERPRETERS if _faster(bench, best, best_us, two) else 1
    while (threads := 2 * best.threads) * interpreters <= room and threads <= MOST_THREADS:
        more = Tuning(threads, 1, best.cpus)
        if not (more_us := _faster(bench, best, best_us, more)):
            break
        best, best_us = more, more_us
    return Tuning(best.threads, interpreters, best.cpus)


def _faster(bench: Bench, usual: Tuning, usual_us: float, other: Tuning) -> float:
    """Microseconds of one run of the other where it does clearly more in the same time, else 0.

    Each is measured twice, in turn, and the better counts: what disturbs a measurement only ever makes it longer.
    """
    other_us = bench.run_us(other.threads, other.interpreters, other.cpus)
    usual_us = min(usual_us, bench.run_us(usual.threads, usual.interpreters, usual.cpus))
    other_us = min(other_us, bench.run_us(other.threads, other.interpreters, other.cpus))
    return other_us if other_us <= CLEARLY * other.interpreters * usual_us else 0.0


def allowed_cpus() -> int:
    """The CPUs this process may use."""
    return sum(1 << cpu for cpu in os.sched_getaffinity(0))


def fast_cpus(allowed: int, folder: Path = CAPACITIES) -> int:
    """Those of the highest capacity among the allowed; 0 where the kernel tells no difference."""
    capacities = {}
    for cpu in range(allowed.bit_length()):
        try:
            capacities[cpu] = int((folder / f"cpu{cpu}" / "cpu_capacity").read_text())
        except (OSError, ValueError):
            return 0
    known = {cpu: capacity for cpu, capacity in capacities.items() if allowed >> cpu & 1}
    if len(set(known.values())) < 2:
        return 0
    return sum(1 << cpu for cpu, capacity in known.items() if capacity == max(known.values()))


def pin(cpus: int) -> None:
    """This process, and the threads it makes from now on, to these CPUs."""
    os.sched_setaffinity(0, {cpu for cpu in range(cpus.bit_length()) if cpus >> cpu & 1})


@dataclass(slots=True)
class ModelBench:
    """Measures one model by one question. interpreter: a new one of so many threads."""

    interpreter: Callable[[int], Interpreter]
    question: bytes | memoryview
    allowed: int

    def run_us(self, threads: int, interpreters: int, cpus: int) -> float:
        pin(cpus or self.allowed)
        try:
            # threads of the engine stay on the CPUs that their maker had
            runners = [_Runner(self.interpreter(threads), self.question) for _ in range(interpreters)]
            for other in runners[1:]:
                other.start()
            runners[0].run()
            for other in runners[1:]:
                other.join()
        finally:
            pin(self.allowed)
        return max(runner.median_us for runner in runners)


class _Runner(threading.Thread):
    """Runs one interpreter until its time is over, in this thread (run) or one of its own (start)."""

    def __init__(self, interpreter: Interpreter, question: bytes | memoryview) -> None:
        super().__init__(daemon=True)
        self._interpreter = interpreter
        self._question = question
        self.median_us = math.inf
        interpreter.run(question)  # the first run touches memory that the others find warm

    def run(self) -> None:
        times_ns: list[int] = []
        until_ns = time.monotonic_ns() + int(BUDGET_S * 1e9)
        while len(times_ns) < LEAST_RUNS or (len(times_ns) < MOST_RUNS and time.monotonic_ns() < until_ns):
            started_ns = time.monotonic_ns()
            self._interpreter.run(self._question)
            times_ns.append(time.monotonic_ns() - started_ns)
        self.median_us = sorted(times_ns)[len(times_ns) // 2] / 1_000
