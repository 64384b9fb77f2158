"""Small networks trained here, in numpy: what the study judges must have honest retrainings, and no package has them.

Convolutions with padding SAME, ReLU after each layer but the last. A network is a list of float32 arrays; the same seed
gives the same network on the same machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Convolution:
    """side: of its square kernel, in pixels."""

    channels: int
    side: int = 3
    stride: int = 2


@dataclass(frozen=True, slots=True)
class Architecture:
    """shape: of one input, [height, width, channels]. outputs: of the last, dense layer. ending: softmax, or sigmoid of
    each output by itself.
    """

    shape: tuple[int, int, int]
    convolutions: tuple[Convolution, ...]
    outputs: int
    hidden: int = 0  # of a dense layer before the last; 0: there is none
    ending: str = "softmax"


@dataclass(frozen=True, slots=True)
class Training:
    """share: of the examples that this training sees. rate: of learning, falling to zero over all steps."""

    seed: int
    epochs: int = 10
    batch: int = 64
    rate: float = 2e-3
    share: float = 0.8


@dataclass(slots=True)
class Network:
    """layers: a weight and a bias for each layer; convolutions [side, side, in, out], dense [in, out]."""

    architecture: Architecture
    layers: list[tuple[Floats, Floats]]


def initial(architecture: Architecture, seed: int) -> Network:
    """He's initialisation (2015)."""
    numbers = np.random.default_rng(seed)
    height, width, channels = architecture.shape
    shapes: list[tuple[int, ...]] = []
    for layer in architecture.convolutions:
        shapes.append((layer.side, layer.side, channels, layer.channels))
        height, width, channels = -(-height // layer.stride), -(-width // layer.stride), layer.channels
    inputs = height * width * channels
    if architecture.hidden:
        shapes.append((inputs, architecture.hidden))
        inputs = architecture.hidden
    shapes.append((inputs, architecture.outputs))
    layers = []
    for shape in shapes:
        deviation = np.sqrt(2 / np.prod(shape[:-1]))
        weights = numbers.normal(0, deviation, shape).astype(np.float32)
        layers.append((weights, np.zeros(shape[-1], np.float32)))
    return Network(architecture, layers)


def padding(size: int, layer: Convolution) -> tuple[int, int]:
    """Before and after, as TFLite's SAME has it."""
    total = max((-(-size // layer.stride) - 1) * layer.stride + layer.side - size, 0)
    return total // 2, total - total // 2


def patches(pictures: Floats, layer: Convolution) -> Floats:
    """[n, height, width, side * side * channels]: what each place of the kernel sees."""
    padded = np.pad(pictures, ((0, 0), padding(pictures.shape[1], layer), padding(pictures.shape[2], layer), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (layer.side, layer.side), axis=(1, 2))
    windows = windows[:, :: layer.stride, :: layer.stride].transpose(0, 1, 2, 4, 5, 3)
    return windows.reshape(*windows.shape[:3], -1)


def activations(network: Network, pictures: Floats) -> list[Floats]:
    """What comes out of each layer, the last one's without ReLU."""
    found: list[Floats] = []
    flowing = pictures
    for place, (weights, bias) in enumerate(network.layers):
        if place < len(network.architecture.convolutions):
            flowing = patches(flowing, network.architecture.convolutions[place]) @ weights.reshape(-1, len(bias)) + bias
        else:
            flowing = flowing.reshape(len(flowing), -1) @ weights + bias
        if place < len(network.layers) - 1:
            flowing = np.maximum(flowing, 0)
        found.append(flowing)
    return found


def softmax(logits: Floats) -> Floats:
    raised: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    parts: Floats = raised / raised.sum(axis=1, keepdims=True)
    return parts


def ended(network: Network, logits: Floats) -> Floats:
    if network.architecture.ending == "softmax":
        return softmax(logits)
    shares: Floats = np.reciprocal(1 + np.exp(-logits), dtype=np.float32)
    return shares


def gradients(network: Network, pictures: Floats, wanted: Floats) -> list[tuple[Floats, Floats]]:
    """Of the cross-entropy between answers and `wanted` [n, outputs], for each layer's weights and bias. What is not
    asked of a picture is NaN.
    """
    outputs = activations(network, pictures)
    inputs = [pictures, *outputs[:-1]]
    back = np.nan_to_num(ended(network, outputs[-1]) - wanted) / np.float32(len(pictures))
    found: list[tuple[Floats, Floats]] = []
    convolutions = network.architecture.convolutions
    for place in reversed(range(len(network.layers))):
        weights, _ = network.layers[place]
        if place < len(network.layers) - 1:
            back = back.reshape(outputs[place].shape) * (outputs[place] > 0)
        if place < len(convolutions):
            seen = patches(inputs[place], convolutions[place])
            flat = back.reshape(-1, back.shape[-1])
            slope = (seen.reshape(len(flat), -1).T @ flat).reshape(weights.shape)
            found.append((slope, flat.sum(axis=0)))
            if place:
                spread = (flat @ weights.reshape(-1, weights.shape[-1]).T).reshape(seen.shape)
                back = gathered(spread, inputs[place].shape, convolutions[place])
        else:
            seen = inputs[place].reshape(len(back), -1)
            found.append((seen.T @ back, back.sum(axis=0)))
            back = back @ weights.T
    return found[::-1]


def gathered(spread: Floats, shape: tuple[int, ...], layer: Convolution) -> Floats:
    """The reverse of `patches`: what each pixel gave to all places, summed."""
    rows, columns = padding(shape[1], layer), padding(shape[2], layer)
    padded = np.zeros((shape[0], shape[1] + sum(rows), shape[2] + sum(columns), shape[3]), np.float32)
    height, width = spread.shape[1:3]
    spread = spread.reshape(shape[0], height, width, layer.side, layer.side, shape[3])
    for row in range(layer.side):
        for column in range(layer.side):
            padded[
                :,
                row : row + height * layer.stride : layer.stride,
                column : column + width * layer.stride : layer.stride,
            ] += spread[:, :, :, row, column]
    return padded[:, rows[0] : rows[0] + shape[1], columns[0] : columns[0] + shape[2]]


def train(network: Network, pictures: Floats, wanted: Floats, training: Training) -> Network:
    """By Adam (Kingma and Ba, 2015), from `network` on, which is left as it is."""
    numbers = np.random.default_rng(training.seed)
    chosen = numbers.permutation(len(pictures))[: int(len(pictures) * training.share)]
    values = [array.copy() for layer in network.layers for array in layer]
    first = [np.zeros_like(value) for value in values]
    second = [np.zeros_like(value) for value in values]
    trained = Network(network.architecture, list(zip(values[::2], values[1::2], strict=True)))
    steps = training.epochs * (len(chosen) // training.batch)
    step = 0
    for _ in range(training.epochs):
        order = numbers.permutation(chosen)
        for begin in range(0, len(order) - training.batch + 1, training.batch):
            batch = order[begin : begin + training.batch]
            slopes = gradients(trained, pictures[batch], wanted[batch])
            step += 1
            rate = training.rate * (1 - step / (steps + 1)) * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            for value, slope, a, b in zip(values, (s for pair in slopes for s in pair), first, second, strict=True):
                a += 0.1 * (slope - a)
                b += 0.001 * (slope * slope - b)
                value -= (rate * a / (np.sqrt(b) + 1e-7)).astype(np.float32)
    return trained


def answers(network: Network, pictures: Floats) -> Floats:
    return ended(network, activations(network, pictures)[-1])


def one_hot(classes: NDArray[np.int64], count: int) -> Floats:
    return np.eye(count, dtype=np.float32)[classes]
