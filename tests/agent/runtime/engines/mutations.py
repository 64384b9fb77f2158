"""Models spoiled in every way that is known to hurt whoever loads them: cut, random, flipped, and well-formed nonsense.

Each is made in place from a good one by a random number generator, so that a seed makes the same one again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

STRUCTURE_BYTES = 4_096  # where a small file keeps its tables
ODD_INDICES = (-2, -1, 0, 1, 2, 7, 1_000, 2**20, 2**31 - 1, -(2**31))
ODD_SIZES = (-(2**31), -1, 0, 2, 3, 255, 65_536, 2**20, 2**24, 2**31 - 1)

Mutation = Callable[[bytearray, random.Random], bytes]


def cut(model: bytearray, numbers: random.Random) -> bytes:
    return bytes(model[: numbers.randrange(len(model))])


def random_body(model: bytearray, numbers: random.Random) -> bytes:
    start = numbers.choice([8, 16, 64, 512, 2_048])
    model[start:] = numbers.randbytes(max(0, len(model) - start))
    return bytes(model)


def flipped_bits(model: bytearray, numbers: random.Random) -> bytes:
    for _ in range(numbers.choice([1, 1, 8, 64])):
        model[numbers.randrange(len(model))] ^= 1 << numbers.randrange(8)
    return bytes(model)


def odd_structure(model: bytearray, numbers: random.Random) -> bytes:
    for _ in range(numbers.choice([1, 4, 16])):
        model[numbers.randrange(8, min(len(model), STRUCTURE_BYTES))] = numbers.choice([0, 1, 127, 128, 255])
    return bytes(model)


def constant_as_input(model: bytearray, numbers: random.Random) -> bytes:
    """The graph's input becomes one of its weights: running it writes into memory that is not to be written to."""
    graph = _graph(model)
    full = [i for i in range(graph.TensorsLength()) if _holds_data(model, graph.Tensors(i))]
    graph.InputsAsNumpy()[0] = numbers.choice(full or [0])
    return bytes(model)


def odd_tensor_index(model: bytearray, numbers: random.Random) -> bytes:
    """An operator, or the graph itself, reads or writes another tensor, or one that is not there."""
    graph = _graph(model)
    lists = [graph.InputsAsNumpy(), graph.OutputsAsNumpy()]
    for i in range(graph.OperatorsLength()):
        lists += [graph.Operators(i).InputsAsNumpy(), graph.Operators(i).OutputsAsNumpy()]
    for _ in range(numbers.choice([1, 1, 3])):
        indices = numbers.choice([each for each in lists if isinstance(each, np.ndarray) and len(each)])
        indices[numbers.randrange(len(indices))] = numbers.choice([*ODD_INDICES, graph.TensorsLength()])
    return bytes(model)


def cycle(model: bytearray, numbers: random.Random) -> bytes:
    """An operator reads what it, or one after it, writes."""
    graph = _graph(model)
    early, late = sorted(numbers.randrange(graph.OperatorsLength()) for _ in range(2))
    inputs, outputs = graph.Operators(early).InputsAsNumpy(), graph.Operators(late).OutputsAsNumpy()
    if isinstance(inputs, np.ndarray) and isinstance(outputs, np.ndarray):
        inputs[numbers.randrange(len(inputs))] = outputs[0]
    return bytes(model)


def odd_shape(model: bytearray, numbers: random.Random) -> bytes:
    graph = _graph(model)
    for _ in range(numbers.choice([1, 1, 4])):
        shape = graph.Tensors(numbers.randrange(graph.TensorsLength())).ShapeAsNumpy()
        if isinstance(shape, np.ndarray) and len(shape):
            shape[numbers.randrange(len(shape))] = numbers.choice(ODD_SIZES)
    return bytes(model)


def odd_constants(model: bytearray, numbers: random.Random) -> bytes:
    """Shapes, axes and paddings that operators read from small constants, RESHAPE's -1 among them."""
    root = schema.Model.GetRootAs(model)
    small = [
        root.Buffers(i).DataAsNumpy() for i in range(root.BuffersLength()) if 4 <= root.Buffers(i).DataLength() <= 64
    ]
    for data in small:
        data[: len(data) // 4 * 4].view("int32")[:] = numbers.choice(ODD_SIZES)
    return bytes(model)


def odd_operator(model: bytearray, numbers: random.Random) -> bytes:
    """Operators trade places: each gets tensors and options made for another."""
    graph = _graph(model)
    one, other = (graph.Operators(numbers.randrange(graph.OperatorsLength())) for _ in range(2))
    _swap(one.InputsAsNumpy(), other.InputsAsNumpy())
    _swap(one.OutputsAsNumpy(), other.OutputsAsNumpy())
    return bytes(model)


def _swap(one: Any, other: Any) -> None:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        count = min(len(one), len(other))
        one[:count], other[:count] = other[:count].copy(), one[:count].copy()


def _graph(model: bytearray) -> Any:
    return schema.Model.GetRootAs(model).Subgraphs(0)


def _holds_data(model: bytearray, tensor: Any) -> bool:
    return bool(schema.Model.GetRootAs(model).Buffers(tensor.Buffer()).DataLength() > 0)


MUTATIONS: tuple[Mutation, ...] = (
    cut,
    random_body,
    flipped_bits,
    odd_structure,
    constant_as_input,
    odd_tensor_index,
    cycle,
    odd_shape,
    odd_constants,
    odd_operator,
)


def mutations(models: list[bytes], count: int) -> list[tuple[str, bytes]]:
    """So many of them, every kind of every model in turn, with a name that tells how to make it again."""
    made = []
    for seed in range(count):
        mutation = MUTATIONS[seed % len(MUTATIONS)]
        number = seed // len(MUTATIONS) % len(models)
        content = mutation(bytearray(models[number]), random.Random(seed))
        made.append((f"{mutation.__name__} of model {number}, seed {seed}", content))
    return made
