"""Rings of recent inputs as devices would hold them: what a camera saw, kept by the sampler's own rule.

Three cameras look at views of a pool: one that moves on all the time, by day; one on a round of some views, by day and
night; and some that never move, over a day. The rule is agent/runtime/worker/sampler.py's, on arrays, for many rings
at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from agent.runtime import ring
from agent.runtime.worker import sampler
from bench.health.pictures import LIGHTS, NIGHT, Pool

Indices = NDArray[np.int64]
CAMERAS = ("moving", "round", "fixed")


def looks(camera: str, views: int, numbers: np.random.Generator) -> Indices:
    """Which pictures of a pool one camera saw, one after the other."""
    lights = len(LIGHTS)
    if camera == "moving":
        count = int(numbers.integers(20, 160))
        return numbers.integers(0, views, count) * lights + numbers.integers(NIGHT, lights, count)
    few = numbers.permutation(views)[: int(numbers.integers(10, 40) if camera == "round" else numbers.integers(3, 9))]
    seen = [view * lights + light for light in numbers.permutation(lights) for view in numbers.permutation(few)]
    return np.array(seen)


def apart(sketches: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[n, n]: how far each picture of a pool is from each other one."""
    real = sketches.astype(np.float32)
    return np.array([np.abs(real - sketch).mean(axis=1) for sketch in real], np.float32)


def kept(looked: Indices, distances: NDArray[np.float32], answers: Indices) -> Indices:
    """What the ring holds in the end. answers: of the baseline, to every picture of the pool."""
    held: list[int] = []
    for index in looked.tolist():
        if held and distances[index, held].min() <= sampler.ALIKE:
            continue
        if len(held) >= ring.PLACES:
            counts = np.bincount(answers[held])
            commonest = counts.max()
            del held[next(place for place, one in enumerate(held) if counts[answers[one]] == commonest)]
        held.append(index)
    return np.array(held)


def draw(pool: Pool, distances: NDArray[np.float32], answers: Indices, count: int, seed: int) -> Iterator[Indices]:
    """`count` rings, of each camera in turn. distances: as apart() gives them."""
    numbers = np.random.default_rng(seed)
    views = len(pool) // len(LIGHTS)
    for number in range(count):
        looked = looks(CAMERAS[number % len(CAMERAS)], views, numbers)
        yield kept(looked, distances, answers)
