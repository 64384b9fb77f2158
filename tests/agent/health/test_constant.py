"""A release that says the same of everything, on real photographs and with the real classifier as its baseline.

Worker's counters and judge together; the photographs are those on which no threshold was chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, cycle, islice

import pytest

from agent.control import Counters
from agent.health.judge import Before, Judge, Verdict
from agent.runtime.worker.counters import Tally, mark
from agent.runtime.worker.scenes import Scenes
from examples.demo.assets import ensure
from tests.agent.health.trials import POLICY
from tests.agent.runtime.reals import Loaded, load
from tests.agent.runtime.worker.cameras import TESTED_ON, Sensor, moving, still

CAMERA = Sensor(32, 3, "int8")
GOOD, LONGEST = 300, 250
CONSTANT = b"the same as ever"


@pytest.fixture(scope="module")
def classifier() -> Loaded:
    return load(ensure().classifier.read_bytes())


class Worker:
    """Counts answers as a worker does, and tells the judge each second, at ten a second."""

    def __init__(self, judge: Judge | None = None) -> None:
        self.tally = Tally(inputs=Scenes(CAMERA.dtype))
        self.judge = judge
        self._second = 0

    def answer(self, frame: bytes, answer: bytes) -> Verdict | None:
        self.tally.answered(mark(frame), answer, 100, True)
        if self.judge is None or self.tally.answers % 10:
            return None
        self._second += 1
        counts = self.tally.counts()
        counters = Counters("m", 2, "b" * 64, "trial", 1, **{**counts, "histogram": (0,) * 32})  # type: ignore[arg-type]
        self.judge.counters(counters, float(self._second))
        return self.judge.verdict(self._second)


def by_day(classifier: Loaded, names: Iterable[str]) -> int:
    """The baseline's longest run, as it is seen while a camera moves."""
    worker = Worker()
    for name in names:
        for frame in moving(name, CAMERA, 200, seed=7):
            worker.answer(frame, bytes(classifier.run(frame, "").data))
    return worker.tally.longest_run_inputs


def answers_until_found(judge: Judge, classifier: Loaded, good: Iterator[bytes], then: Iterator[bytes]) -> int | None:
    worker = Worker(judge)
    for frame in islice(good, GOOD):
        assert worker.answer(frame, bytes(classifier.run(frame, "").data)) is None
    for count, frame in enumerate(then, 1):
        verdict = worker.answer(frame, CONSTANT)
        if verdict is not None:
            assert verdict.code == "constant"
            return count
    return None


@pytest.mark.parametrize("name", TESTED_ON)
def test_constant_answers_are_found_within_250_frames_of_a_camera_that_moves(name: str, classifier: Loaded) -> None:
    judge = Judge(POLICY, Before(constant=by_day(classifier, TESTED_ON)))
    frames = moving(name, CAMERA, GOOD + LONGEST, seed=3)
    found = answers_until_found(judge, classifier, frames, frames)
    print(f"{name}: found after {found}")
    assert found is not None


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0, 6.0])
@pytest.mark.parametrize("light", [0.0, 0.01, 0.05])
def test_never_at_night_though_the_baseline_was_seen_by_day_only(
    sigma: float, light: float, classifier: Loaded
) -> None:
    sensor = Sensor(32, 3, "int8", sigma)
    for name in TESTED_ON:
        judge = Judge(POLICY, Before(constant=1))  # the strictest record there is
        day = moving(name, CAMERA, GOOD)
        assert answers_until_found(judge, classifier, day, still(name, sensor, 400, light=(light, light))) is None


@pytest.mark.parametrize("name", TESTED_ON)
def test_never_on_a_constant_scene_nor_while_it_grows_dark(name: str, classifier: Loaded) -> None:
    judge = Judge(POLICY, Before(constant=1))
    sensor = Sensor(32, 3, "int8", 6.0)
    scene = chain(still(name, sensor, 200), still(name, sensor, 600, light=(1.0, 0.0)))
    assert answers_until_found(judge, classifier, moving(name, CAMERA, GOOD), scene) is None


def test_never_where_the_baseline_is_constant_too(classifier: Loaded) -> None:
    baseline = Worker()
    for name in TESTED_ON:
        for frame in moving(name, CAMERA, 100):
            baseline.answer(frame, CONSTANT)
    judge = Judge(POLICY, Before(constant=baseline.tally.longest_run_inputs))
    frames = cycle(list(chain(*(moving(name, CAMERA, 150, seed=2) for name in TESTED_ON))))
    assert answers_until_found(judge, classifier, frames, islice(frames, 3_000)) is None
