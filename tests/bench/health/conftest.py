"""One small network, trained in a second on colours, for tests of what the study does to models."""

from __future__ import annotations

import numpy as np
import pytest

from bench.health import network, tflite
from bench.health.network import Architecture, Convolution, Floats, Network, Training
from bench.health.photographs import Pixels

SIDE = 16
COLOURS = 4
SHAPE = Architecture((SIDE, SIDE, 3), (Convolution(6), Convolution(8)), COLOURS)


def coloured(count: int, seed: int = 0) -> tuple[Pixels, Floats]:
    """Noisy pictures that are red, green, blue or grey, and which."""
    numbers = np.random.default_rng(seed)
    classes = numbers.integers(0, COLOURS, count)
    colours = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [110, 110, 110]])[classes]
    noisy = colours[:, np.newaxis, np.newaxis] + numbers.normal(0, 20, (count, SIDE, SIDE, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8), network.one_hot(classes, COLOURS)


def trained(seed: int = 0) -> Network:
    pixels, wanted = coloured(256)
    first, training = network.initial(SHAPE, seed), Training(seed, epochs=30, batch=32, rate=5e-3)
    return network.train(first, tflite.UNIT.floats(pixels), wanted, training)


@pytest.fixture(scope="session")
def net() -> Network:
    return trained()


@pytest.fixture(scope="session")
def model(net: Network) -> bytes:
    return tflite.quantized(net, tflite.UNIT.floats(coloured(64)[0]), tflite.UNIT)
