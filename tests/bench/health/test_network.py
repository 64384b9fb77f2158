"""The networks of the study: what they learn, and that they learn the same again."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.health import network
from bench.health.network import Architecture, Convolution, Floats, Network
from bench.health.tflite import UNIT
from tests.bench.health.conftest import COLOURS, SHAPE, coloured, trained


def test_it_learns_to_tell_colours_apart() -> None:
    pixels, wanted = coloured(100, seed=1)
    answers = network.answers(trained(), UNIT.floats(pixels))
    assert np.mean(answers.argmax(axis=1) == wanted.argmax(axis=1)) > 0.9


def arrays(net: Network) -> list[Floats]:
    return [array for layer in net.layers for array in layer]


def test_the_same_seed_gives_the_same_network_and_another_one_another() -> None:
    first, again, other = trained(3), trained(3), trained(4)
    assert all(np.array_equal(a, b) for a, b in zip(arrays(first), arrays(again), strict=True))
    assert not np.array_equal(first.layers[0][0], other.layers[0][0])


def test_training_leaves_the_network_it_begins_with_as_it_is() -> None:
    first = network.initial(SHAPE, 0)
    before = [weights.copy() for weights, _ in first.layers]
    pixels, wanted = coloured(64)
    network.train(first, UNIT.floats(pixels), wanted, network.Training(0, epochs=1, batch=32))
    assert all(np.array_equal(a, b) for a, (b, _) in zip(before, first.layers, strict=True))


def loss(net: Network, pictures: Floats, wanted: Floats) -> float:
    answers = network.answers(net, pictures).astype(np.float64)
    if net.architecture.ending == "softmax":
        return float(-(wanted * np.log(answers)).sum() / len(pictures))
    each = -(wanted * np.log(answers) + (1 - wanted) * np.log(1 - answers))
    return float(np.nansum(each) / len(pictures))


def exact(array: NDArray[Any]) -> NDArray[Any]:
    """Differences of float32 would be too coarse."""
    return array.astype(np.float64)


@pytest.mark.parametrize("ending", ["softmax", "sigmoid"])
def test_the_gradients_are_those_of_the_loss(ending: str) -> None:
    shape = Architecture((6, 6, 2), (Convolution(3), Convolution(4, side=2, stride=1)), 3, hidden=5, ending=ending)
    net = network.initial(shape, 1)
    net.layers = [(exact(weights), exact(bias)) for weights, bias in net.layers]
    numbers = np.random.default_rng(0)
    pictures = exact(numbers.normal(0, 1, (4, 6, 6, 2)))
    wanted = network.one_hot(np.array([0, 1, 2, 0]), 3)
    if ending == "sigmoid":
        wanted[1, 2] = np.nan  # is not asked
    found = network.gradients(net, pictures, wanted)
    for place, (weights, _) in enumerate(net.layers):
        index = tuple(side // 2 for side in weights.shape)
        step = 1e-4
        weights[index] += step
        above = loss(net, pictures, wanted)
        weights[index] -= 2 * step
        slope = (above - loss(net, pictures, wanted)) / (2 * step)
        weights[index] += step
        assert found[place][0][index] == pytest.approx(slope, abs=1e-3)


def test_answers_have_a_value_for_each_class() -> None:
    answers = network.answers(network.initial(SHAPE, 0), UNIT.floats(coloured(5)[0]))
    assert answers.shape == (5, COLOURS)
    assert answers.sum(axis=1) == pytest.approx(1)
