"""Releases spoiled on purpose, and good ones of other bytes, made of one .tflite file.

All but `repacked` change bytes of the flatbuffer in place: nothing is packed anew, and the length stays the same. What
is drawn by chance is drawn from a seed. Raises ValueError where a model has no layer to spoil in this way.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from bench.health.tflite import AlignedBuffer
from fleet import modelfile

_WEIGHTED = {
    schema.BuiltinOperator.CONV_2D,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D,
    schema.BuiltinOperator.FULLY_CONNECTED,
}
_TYPES = {
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.FLOAT32: np.float32,
}


@dataclass(frozen=True, slots=True)
class Layer:
    """Views into the bytes of a model: what is written to them is written to it. No scales: the weights are floats.

    weights: output channels first. zero: the weight that stands for 0.
    """

    weights: NDArray[Any]
    bias: NDArray[Any]
    scales: NDArray[np.float32]
    bias_scales: NDArray[np.float32]
    zero: int


def layers(model: bytearray) -> list[Layer]:
    """Those with constant weights and a bias, as they run; of depthwise ones the channels are last."""
    root = schema.Model.GetRootAs(model)
    graph = root.Subgraphs(0)
    found = []
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        if root.OperatorCodes(operator.OpcodeIndex()).BuiltinCode() not in _WEIGHTED or operator.InputsLength() < 3:
            continue
        weights, bias = graph.Tensors(operator.Inputs(1)), graph.Tensors(operator.Inputs(2))
        values, added = _values(root, weights), _values(root, bias)
        if values is None or added is None:
            continue
        zeros = weights.Quantization().ZeroPointAsNumpy() if weights.Quantization() else 0
        zero = 0 if isinstance(zeros, int) else int(zeros[0])
        found.append(Layer(values, added, _scales(weights), _scales(bias), zero))
    if not found:
        raise ValueError("this model has no layer whose weights can be reached")
    return found


def _values(root: Any, tensor: Any) -> NDArray[Any] | None:
    content = root.Buffers(tensor.Buffer()).DataAsNumpy()
    dtype = _TYPES.get(tensor.Type())
    if isinstance(content, int) or dtype is None:
        return None
    values: NDArray[Any] = content.view(dtype).reshape(tensor.ShapeAsNumpy())
    return values


def _scales(tensor: Any) -> NDArray[np.float32]:
    scales = tensor.Quantization().ScaleAsNumpy() if tensor.Quantization() else 0
    return np.zeros(0, np.float32) if isinstance(scales, int) else scales


# Spoiled weights


def zeroed(model: bytes) -> bytes:
    damaged = bytearray(model)
    for layer in layers(damaged):
        layer.weights[:] = layer.zero
    return bytes(damaged)


def shuffled(model: bytes, seed: int) -> bytes:
    """The weights of each layer, in another order."""
    damaged, numbers = bytearray(model), np.random.default_rng(seed)
    for layer in layers(damaged):
        layer.weights[:] = numbers.permutation(layer.weights.ravel()).reshape(layer.weights.shape)
    return bytes(damaged)


def pruned(model: bytes, share: float = 0.8) -> bytes:
    """The smallest weights of each layer are gone, and nobody trained the rest again."""
    damaged = bytearray(model)
    for layer in layers(damaged):
        sizes = np.abs(layer.weights.astype(np.float32) - layer.zero)
        layer.weights[sizes <= np.quantile(sizes, share)] = layer.zero
    return bytes(damaged)


def collapsed(model: bytes, answer: int = 0) -> bytes:
    """It answers one class to everything, as after a training that went wrong; how sure it is still varies a little."""
    damaged = bytearray(model)
    last = layers(damaged)[-1]
    last.weights[:] = last.zero + ((last.weights.astype(np.float32) - last.zero) / 16).astype(last.weights.dtype)
    largest = np.abs(last.bias).max() + 1
    last.bias[:] = 0
    last.bias[answer] = 20 * largest
    return bytes(damaged)


def flipped(model: bytes, seed: int, share: float = 0.05) -> bytes:
    """One bit of so many bytes of weights, as a bad memory or a bad disk leaves it."""
    damaged, numbers = bytearray(model), np.random.default_rng(seed)
    for layer in layers(damaged):
        content = layer.weights.reshape(-1).view(np.uint8)
        hit = numbers.random(len(content)) < share
        content[hit] ^= (1 << numbers.integers(0, 8, int(hit.sum()))).astype(np.uint8)
    return bytes(damaged)


# Labels


def relabelled(model: bytes, order: NDArray[np.int64]) -> bytes:
    """Answer i is what answer order[i] was."""
    damaged = bytearray(model)
    last = layers(damaged)[-1]
    if len(last.weights) != len(order):
        raise ValueError(f"the last layer gives {len(last.weights)} answers, not {len(order)}")
    for values in (last.weights, last.bias, last.scales, last.bias_scales):
        if len(values) == len(order):
            values[:] = values[order]
    return bytes(damaged)


def rolled(model: bytes, classes: slice = slice(None)) -> bytes:
    """classes: which values of the last layer are scores of classes."""
    order = np.arange(answers(model))
    order[classes] = np.roll(order[classes], 1)
    return relabelled(model, order)


def labels_shuffled(model: bytes, seed: int, classes: slice = slice(None)) -> bytes:
    """No label is where it was."""
    numbers, order = np.random.default_rng(seed), np.arange(answers(model))
    before = order[classes].copy()
    if len(before) < 2:
        raise ValueError("one label has no other place")
    while (order[classes] == before).any():
        order[classes] = numbers.permutation(before)
    return relabelled(model, order)


def answers(model: bytes) -> int:
    return len(layers(bytearray(model))[-1].weights)


# What the camera's pictures are made into


def swapped(model: bytes) -> bytes:
    """Red and blue are exchanged."""
    damaged = bytearray(model)
    first = layers(damaged)[0].weights
    if first.ndim != 4 or first.shape[-1] != 3:
        raise ValueError("the first layer of this model does not take colours")
    first[:] = first[..., ::-1].copy()
    return bytes(damaged)


def brightened(model: bytes, factor: float) -> bytes:
    """It sees what it is given times `factor`, about what its input holds to be zero."""
    damaged = bytearray(model)
    first = layers(damaged)[0]
    if not len(first.scales):
        first.weights[:] *= factor
    elif not len(first.bias_scales):
        raise ValueError("the bias of the first layer has no scale")
    else:
        first.scales[:] *= factor
        first.bias_scales[:] *= factor
        first.bias[:] = np.rint(first.bias / factor)
    return bytes(damaged)


def not_a_number(model: bytes) -> bytes:
    """One weight of the last layer of a model of floats."""
    damaged = bytearray(model)
    last = layers(damaged)[-1].weights
    if last.dtype != np.float32:
        raise ValueError("only floats can be no number")
    last.reshape(-1)[0] = np.nan
    return bytes(damaged)


# Good siblings


def repacked(model: bytes, description: str = "repacked") -> bytes:
    """The same graph and weights, put into a new file in another order."""
    unpacked = schema.ModelT.InitFromPackedBuf(model)
    count = len(unpacked.buffers)
    place = [0, *range(count - 1, 0, -1)]  # the first stays: it stands for no data
    buffers = []
    for index in place:
        buffer = AlignedBuffer()
        buffer.data = unpacked.buffers[index].data
        buffers.append(buffer)
    unpacked.buffers = buffers
    for tensor in itertools.chain.from_iterable(graph.tensors for graph in unpacked.subgraphs):
        tensor.buffer = place[tensor.buffer]
    for metadata in unpacked.metadata or []:
        metadata.buffer = place[metadata.buffer]
    unpacked.description = description
    builder = flatbuffers.Builder(len(model) + 4096)
    builder.Finish(unpacked.Pack(builder), modelfile.MAGIC)
    return bytes(builder.Output())


def rescaled(model: bytes, factor: float = 1.03) -> bytes:
    """Quantized once more, with weights and biases in steps that are `factor` times as wide."""
    changed = bytearray(model)
    for layer in layers(changed):
        if len(layer.scales) and len(layer.bias_scales):
            layer.weights[:] = layer.zero + np.rint((layer.weights.astype(np.float32) - layer.zero) / factor)
            layer.bias[:] = np.rint(layer.bias / factor)
            layer.scales[:] *= factor
            layer.bias_scales[:] *= factor
    return bytes(changed)


def touched(model: bytes, seed: int, share: float = 0.1) -> bytes:
    """Slightly tuned: some weights of the last layer are one step more or less, and its bias up to a fiftieth."""
    changed, numbers = bytearray(model), np.random.default_rng(seed)
    last = layers(changed)[-1]
    if last.weights.dtype == np.float32:
        last.weights[:] *= numbers.normal(1, 0.02, last.weights.shape).astype(np.float32)
    else:
        steps = numbers.choice([-1, 0, 1], last.weights.shape, p=[share / 2, 1 - share, share / 2])
        limits = np.iinfo(last.weights.dtype)
        last.weights[:] = np.clip(last.weights.astype(np.int64) + steps, limits.min, limits.max)
    last.bias[:] = (last.bias * numbers.uniform(0.98, 1.02, last.bias.shape)).astype(last.bias.dtype)
    return bytes(changed)
