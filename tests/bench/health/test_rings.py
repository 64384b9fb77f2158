"""Rings are filled as a device fills them."""

from __future__ import annotations

import os

import numpy as np

from agent.runtime import ring
from agent.runtime.worker.sampler import Sampler, Taken
from bench.health import pictures, rings
from littoral.tensors import Interface, Tensor

NUMBERS = np.random.default_rng(0)
POOL = pictures.pool({"a": NUMBERS.integers(0, 256, (200, 200, 3)).astype(np.uint8)}, (), 60, 16, seed=1)
APART = rings.apart(np.rint(pictures.sketches(POOL.pixels)).astype(np.uint8))
ANSWERS = NUMBERS.integers(0, 4, len(POOL))


def test_a_ring_holds_what_the_samplers_own_rule_keeps() -> None:
    """The real sampler, in memory of its own, shown the same pictures one after the other."""
    photographs = {str(n): NUMBERS.integers(0, 256, (40, 40, 3)).astype(np.uint8) for n in range(20)}
    pool = pictures.pool(photographs, (), 60, 16, seed=2)
    sketches = np.rint(pictures.sketches(pool.pixels)).astype(np.uint8)
    interface = Interface(
        (Tensor("in", "uint8", (1, 16, 16, 3), 1.0, 0),), (Tensor("out", "uint8", (1, 4), 1.0, 0),), ()
    )
    looked = rings.looks("moving", 60, np.random.default_rng(3))
    looked = np.concatenate((looked, rings.looks("round", 60, np.random.default_rng(4))))
    descriptor = ring.make()
    sampler = Sampler(descriptor, 64 * 1024 * 1024)
    for index in looked:
        outputs = bytes(int(ANSWERS[index] == answer) for answer in range(4))
        sampler.take(Taken(1000, interface, pool.pixels[index].tobytes(), outputs))
        sampler.tick()
    held = sorted(ring.read_all(descriptor).values(), key=lambda kept: kept.kept_ns)
    os.close(descriptor)
    ours = rings.kept(looked, rings.apart(sketches), ANSWERS)
    assert [kept.data for kept in held] == [pool.pixels[index].tobytes() for index in ours]
    assert len(ours) == ring.PLACES


def test_rings_are_the_same_for_one_seed_and_no_camera_is_left_out() -> None:
    first = list(rings.draw(POOL, APART, ANSWERS, 6, seed=1))
    again = list(rings.draw(POOL, APART, ANSWERS, 6, seed=1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(first) == 6


def test_a_fixed_camera_has_few_views_and_a_moving_one_sees_no_night() -> None:
    numbers = np.random.default_rng(1)
    assert len(set(POOL.view[rings.looks("fixed", 60, numbers)])) < 9
    assert POOL.light[rings.looks("moving", 60, numbers)].min() == pictures.NIGHT
    assert POOL.light[rings.looks("round", 60, numbers)].min() == 0
