"""Small .tflite models made field by field, without the flatbuffers package: for what no real model at hand has.

A table is a dict from field number to value; a value is a Scalar, a Vector, text, bytes, a table or a list of tables.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

FLOAT32, FLOAT16, INT32, UINT8, INT64, STRING, BOOL, INT16, INT8, RESOURCE = 0, 1, 2, 3, 4, 5, 6, 7, 9, 13
ADD, DEQUANTIZE, FULLY_CONNECTED, RESHAPE, CUSTOM, CAST, CALL_ONCE, VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE = (
    0, 6, 9, 22, 32, 53, 129, 142, 143, 144,
)  # fmt: skip
GATHER, DIV = 36, 42
_OPTIONS = {
    FULLY_CONNECTED: 8, ADD: 11, RESHAPE: 17, GATHER: 23, DIV: 29, CAST: 37, DEQUANTIZE: 38, CALL_ONCE: 103,
    VAR_HANDLE: 111, READ_VARIABLE: 112, ASSIGN_VARIABLE: 113,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scalar:
    code: str
    value: int


@dataclass(frozen=True, slots=True)
class Vector:
    code: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor. `data` makes it a constant."""

    name: str
    dtype: int
    shape: tuple[int, ...]
    data: bytes = b""
    scale: float = 0.0
    zero_point: int = 0
    variable: bool = False
    open_shape: tuple[int, ...] = ()  # with -1 where the size is open


@dataclass(frozen=True, slots=True)
class Operator:
    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """inputs and outputs: names of arguments with the index of their tensors."""

    key: str
    graph: int
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)


def model(*graphs: Graph, signatures: tuple[Signature, ...] = ()) -> bytes:
    codes = sorted({operator.code for graph in graphs for operator in graph.operators})
    buffers: list[bytes] = [b""]
    tables = [_graph(graph, codes, buffers) for graph in graphs]
    return encode(
        {
            0: Scalar("I", 3),
            1: [{0: Scalar("b", min(code, 127)), 3: Scalar("i", code), 2: Scalar("i", 1)} for code in codes],
            2: tables,
            3: "made by a test",
            4: [{0: data} if data else {} for data in buffers],
            7: [
                {
                    0: [{0: name, 1: Scalar("I", index)} for name, index in signature.inputs.items()],
                    1: [{0: name, 1: Scalar("I", index)} for name, index in signature.outputs.items()],
                    2: signature.key,
                    4: Scalar("I", signature.graph),
                }
                for signature in signatures
            ],
        }
    )


def _graph(graph: Graph, codes: list[int], buffers: list[bytes]) -> dict[int, object]:
    tensors = []
    for tensor in graph.tensors:
        if tensor.data:
            buffers.append(tensor.data)
        quantization: dict[int, object] = {}
        if tensor.scale:
            quantization = {2: Vector("f", (tensor.scale,)), 3: Vector("q", (tensor.zero_point,))}
        tensors.append(
            {
                0: Vector("i", tensor.shape),
                1: Scalar("b", tensor.dtype),
                2: Scalar("I", len(buffers) - 1 if tensor.data else 0),
                3: tensor.name,
                4: quantization,
                5: Scalar("b", tensor.variable),
                7: Vector("i", tensor.open_shape),
            }
        )
    operators = [
        {
            0: Scalar("I", codes.index(operator.code)),
            1: Vector("i", operator.inputs),
            2: Vector("i", operator.outputs),
            3: Scalar("B", _OPTIONS.get(operator.code, 0)),
            4: _options(operator.code),
        }
        for operator in graph.operators
    ]
    return {0: tensors, 1: Vector("i", graph.inputs), 2: Vector("i", graph.outputs), 3: operators, 4: "main"}


def _options(code: int) -> dict[int, object]:
    """Those that differ from what is left out: a variable's name, and the graph that CALL_ONCE calls."""
    known: dict[int, dict[int, object]] = {VAR_HANDLE: {1: "state"}, CALL_ONCE: {0: Scalar("i", 1)}}
    return known.get(code, {})


def encode(root: dict[int, object]) -> bytes:
    out = bytearray(b"\0\0\0\0TFL3")
    struct.pack_into("<I", out, 0, _table(out, root))
    return bytes(out)


def _pad(out: bytearray, size: int, before: int = 0) -> None:
    """So that what follows `before` more bytes is aligned to `size`."""
    out += bytes(-(len(out) + before) % size)


def _table(out: bytearray, fields: dict[int, object]) -> int:
    """Writes it and then what it points to; returns where it begins."""
    present = {number: value for number, value in fields.items() if value not in ("", b"", {}, [], Vector("i", ()))}
    count = max(present, default=-1) + 1
    vtable_bytes = 4 + 2 * count
    _pad(out, 4, vtable_bytes)
    slots = {number: 4 + 4 * place for place, number in enumerate(present)}
    offsets = [slots.get(number, 0) for number in range(count)]
    out += struct.pack(f"<HH{count}H", vtable_bytes, 4 + 4 * len(present), *offsets)
    at = len(out)
    out += struct.pack("<i", vtable_bytes) + bytes(4 * len(present))
    for number, value in present.items():
        slot = at + slots[number]
        if isinstance(value, Scalar):
            struct.pack_into(f"<{value.code}", out, slot, value.value)
        else:
            struct.pack_into("<I", out, slot, _pointed(out, value) - slot)
    return at


def _pointed(out: bytearray, value: object) -> int:
    """Writes what an offset points to; returns where."""
    if isinstance(value, dict):
        return _table(out, value)
    if isinstance(value, list):
        _pad(out, 4)
        at = len(out)
        out += struct.pack("<I", len(value)) + bytes(4 * len(value))
        for place, item in enumerate(value):
            slot = at + 4 + 4 * place
            struct.pack_into("<I", out, slot, _table(out, item) - slot)
        return at
    if isinstance(value, str):
        _pad(out, 4)
        data, count = value.encode() + b"\0", len(value.encode())
    elif isinstance(value, bytes):
        _pad(out, 16, 4)  # as kernels want their weights
        data, count = value, len(value)
    else:
        assert isinstance(value, Vector)
        _pad(out, 8, 4)
        data, count = struct.pack(f"<{len(value.values)}{value.code}", *value.values), len(value.values)
    at = len(out)
    out += struct.pack("<I", count) + data
    return at
