"""Spoiled releases are spoiled as they say, and good siblings are good."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bench.health import damage, tflite
from bench.health.network import Floats, Network
from examples.demo.assets import ensure
from tests.bench.health.conftest import COLOURS, coloured
from tests.bench.health.test_tflite import asked

PIXELS, WANTED = coloured(60, seed=5)


def right(content: bytes) -> float:
    return float(np.mean(asked(content, PIXELS).argmax(axis=1) == WANTED.argmax(axis=1)))


def weights(content: bytes) -> list[Floats]:
    return [layer.weights.astype(np.float32) for layer in damage.layers(bytearray(content))]


@pytest.mark.parametrize(
    "spoil",
    [
        damage.zeroed,
        lambda model: damage.shuffled(model, 1),
        damage.collapsed,
        damage.rolled,
        lambda model: damage.labels_shuffled(model, 1),
        damage.swapped,
    ],
    ids=["zeroed", "shuffled", "collapsed", "rolled", "labels_shuffled", "swapped"],
)
def test_what_is_spoiled_is_as_long_and_right_much_less_often(model: bytes, spoil: Callable[[bytes], bytes]) -> None:
    assert right(model) > 0.9
    assert len(spoil(model)) == len(model)
    assert right(spoil(model)) < 0.7


@pytest.mark.parametrize(
    "change",
    [damage.repacked, damage.rescaled, lambda model: damage.touched(model, 1)],
    ids=["repacked", "rescaled", "touched"],
)
def test_a_good_sibling_has_other_bytes_and_is_as_good(model: bytes, change: Callable[[bytes], bytes]) -> None:
    changed = change(model)
    assert changed != model
    assert np.abs(asked(changed, PIXELS) - asked(model, PIXELS)).mean() < 0.02


def test_a_repacked_model_answers_the_same_to_the_byte() -> None:
    model = ensure().classifier.read_bytes()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    assert np.array_equal(asked(damage.repacked(model), pixels), asked(model, pixels))


def test_labels_rolled_are_the_same_scores_one_further(model: bytes) -> None:
    assert np.array_equal(asked(damage.rolled(model), PIXELS), np.roll(asked(model, PIXELS), 1, axis=1))


def test_no_shuffled_label_is_where_it_was_and_only_those_asked_for_move(model: bytes) -> None:
    last = weights(model)[-1]
    moved = weights(damage.labels_shuffled(model, 1, slice(1, None)))[-1]
    assert np.array_equal(moved[0], last[0])
    assert all(not np.array_equal(moved[row], last[row]) for row in range(1, COLOURS))


def test_pruning_leaves_a_fifth_of_the_weights(model: bytes) -> None:
    for before, after in zip(weights(model), weights(damage.pruned(model)), strict=True):
        assert np.mean(after != 0) <= 0.21
        assert np.array_equal(after[after != 0], before[after != 0])


def test_a_twentieth_of_the_weights_has_one_bit_flipped(model: bytes) -> None:
    flipped = damage.flipped(model, 1)
    changed = np.frombuffer(model, np.uint8) ^ np.frombuffer(flipped, np.uint8)
    count = sum(layer.size for layer in weights(model))
    assert np.count_nonzero(changed) == pytest.approx(count / 20, rel=0.35)
    assert all(bin(byte).count("1") == 1 for byte in changed[changed != 0])


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_one_that_is_brightened_answers_as_to_brighter_pictures(model: bytes, factor: float) -> None:
    dim = (PIXELS // 2).astype(np.uint8)  # nothing is cut off at twice as bright
    shown = (dim * factor).astype(np.uint8)
    assert np.abs(asked(damage.brightened(model, factor), dim) - asked(model, shown)).mean() < 0.02


def test_one_with_no_number_in_it_is_for_floats_only(net: Network, model: bytes) -> None:
    assert np.isnan(weights(damage.not_a_number(tflite.floating(net)))[-1]).sum() == 1
    with pytest.raises(ValueError, match="floats"):
        damage.not_a_number(model)
