"""Switches of releases while clients ask: whether one answer is wrong, and how long anybody waits."""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections.abc import Sequence

from agent.runtime.engines import open_engine
from bench.measures import Measure, Reading
from bench.models import Model, sibling
from bench.native import Load, Running
from bench.runtime import Runtime
from bench.scene import QUESTIONS, Scene, Server

MEASURES = (
    Measure(
        "switch-wrong", "switches in a row under full load: answers lost, repeated, reordered or wrong", 0, "answers"
    ),
    Measure(
        "switch-wait", "switches now and then: longest wait of a client, over the longest without a switch", None, "ms"
    ),
    Measure("switch-drain", "the same: drain to handed over, p99", None, "ms"),
)
CLIENTS = 4
DEPTH = 3
BOTH_RELEASES = 0b110
SPACED_S = 0.25  # at most, between two switches
WAIT_MS, DRAIN_MS = 15, 10


def measure(scene: Scene) -> dict[str, Reading]:
    model = scene.models.mobilenet
    pair = [model, sibling(model)]
    expected = scene.folder / "expected"
    expected.write_bytes(answers(pair))
    with scene.runtime("switches", watched=True) as runtime:
        for number, each in enumerate(pair, 1):
            runtime.add("m", number, each, tuned=True)
        runtime.serve("m")
        return Switching(scene, runtime, str(expected)).measure()


def answers(models: Sequence[Model]) -> bytes:
    """What each model answers to each question, as the engine gives it in this process."""
    engine = open_engine("litert")
    given = []
    for model in models:
        interpreter = engine.load(model.content, ()).interpreter()
        questions, size = model.questions(QUESTIONS), model.interface.input_bytes
        given.append([interpreter.run(questions[size * i : size * (i + 1)]).data for i in range(QUESTIONS)])
    if any(a == b for a, b in zip(*given, strict=True)):
        raise RuntimeError("the two releases answer the same: a mistaken answer would not be seen")
    return b"".join(b"".join(each) for each in given)


class Switching:
    """A model under load, switched between its two releases."""

    def __init__(self, scene: Scene, runtime: Runtime, expected: str) -> None:
        self._scene = scene
        self._runtime = runtime
        self._expected = expected
        self._server = Server(str(runtime.device.socket), runtime.worker("m"))
        self._next = itertools.cycle((2, 1))
        self._pauses = random.Random(3)

    def measure(self) -> dict[str, Reading]:
        plan = self._scene.plan
        row, row_drains_ms = self._in_a_row(plan.switches)
        count = max(1, plan.spaced_switches // plan.rounds)
        drains_before = len(drains_ms(self._runtime))
        seen = self._scene.interleaved(
            {"still": lambda: self._spaced(count, still=True), "switching": lambda: self._spaced(count)}
        )
        loads = [row, *seen["still"], *seen["switching"]]
        return {
            "switch-wrong": wrong(
                loads,
                f"{plan.switches} switches, {row.answered} answers, drain p99 {percentile(row_drains_ms, 99):.1f} ms",
            ),
            **waits(count, seen["still"], seen["switching"], drains_ms(self._runtime)[drains_before:]),
        }

    def _switch(self) -> None:
        self._runtime.serve("m", next(self._next))

    def _clients(self, **options: object) -> Running:
        model = self._scene.models.mobilenet
        return self._scene.clients(self._server, model, cpu=None, clients=CLIENTS, expect=self._expected, **options)

    def _in_a_row(self, count: int) -> tuple[Load, list[float]]:
        """One switch right after the other; each client has several requests on their way, sent in pieces."""
        clients = self._clients(depth=DEPTH, pieces=True)
        for _ in range(count):
            self._switch()
        seen = clients.stop()
        if seen.releases != BOTH_RELEASES:
            raise RuntimeError("not both releases answered")
        return seen, drains_ms(self._runtime)

    def _spaced(self, count: int, *, still: bool = False) -> Load:
        """Switches now and then, or as much time without."""
        clients = self._clients()
        for _ in range(count):
            time.sleep(self._pauses.uniform(0, SPACED_S))
            if not still:
                self._switch()
        return clients.stop()


def wrong(loads: Sequence[Load], text: str) -> Reading:
    count = sum(load.wrong + load.asked - load.answered for load in loads)
    problems = sorted({load.problem for load in loads if load.problem})
    return Reading(count, "; ".join([text, *problems]))


def waits(
    count: int, still: Sequence[Load], switching: Sequence[Load], drained_ms: Sequence[float]
) -> dict[str, Reading]:
    invoke_ms = statistics.median(load.invoked_us.p50 for load in still) / 1000
    usual_ms = statistics.median(load.gap_us.p50 for load in still) / 1000
    longest_ms, without_ms = ([load.gap_us.max / 1000 for load in loads] for loads in (switching, still))
    return {
        "switch-wait": Reading(
            statistics.median(a - b for a, b in zip(longest_ms, without_ms, strict=True)),
            f"longest of {count} switches {statistics.median(longest_ms):.1f} ms, in the worst round "
            f"{max(longest_ms):.1f} ms; without a switch {statistics.median(without_ms):.1f} ms, "
            f"in the worst round {max(without_ms):.1f} ms, usually {usual_ms:.1f} ms",
            invoke_ms + WAIT_MS,
        ),
        "switch-drain": Reading(
            percentile(drained_ms, 99),
            f"p50 {statistics.median(drained_ms):.1f} ms of {len(drained_ms)}, invoke {invoke_ms:.1f} ms",
            2 * invoke_ms + DRAIN_MS,
        ),
    }


def drains_ms(runtime: Runtime) -> list[float]:
    """From telling a worker to drain to having handed over all its connections, of each switch so far."""
    began: dict[int, int] = {}
    found = []
    for stamp in runtime.stamps():
        if stamp.what == "drain":
            began[stamp.pid] = stamp.at_ns
        elif stamp.what == "drained":
            found.append((stamp.at_ns - began[stamp.pid]) / 1e6)
    return found


def percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) * percent // 100, len(values) - 1)]
