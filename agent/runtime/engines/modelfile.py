"""What a .tflite file says of itself that engines do not tell: its signatures and the order of their tensors, and
whether it keeps a state. The flatbuffer is read field by field; no offset is trusted, and nothing is run.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from struct import Struct

from littoral.errors import ModelLoadError
from littoral.tensors import DTYPES, Tensor

_U16, _I32, _U32, _I64, _F32 = Struct("<H"), Struct("<i"), Struct("<I"), Struct("<q"), Struct("<f")

# Numbers of the TFLite schema: dtypes, and the operators that hold a variable from run to run.
_DTYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8", 10: "float64",
    12: "uint64", 15: "uint32", 16: "uint16",
}  # fmt: skip
_STRING = 5
_STATE_OPERATORS = {129, 142, 143, 144}  # CALL_ONCE, VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE


@dataclass(frozen=True, slots=True)
class Graph:
    """One subgraph: its tensors as indices, in the order in which their bytes follow one another."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    tensors: tuple["_Table", ...]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """graphs: in the file's order. signatures: (key, graph) in the file's order. stateful: it has variables."""

    graphs: tuple[Graph, ...]
    signatures: tuple[tuple[str, int], ...]
    stateful: bool

    def tensor(self, graph: int, index: int, shape: tuple[int, ...]) -> Tensor:
        """The tensor with the shape the engine gave it. Raises ModelLoadError for what raw bytes cannot carry."""
        with _named_errors():
            name, kind, scales, zero_points = self._described(graph, index)
        dtype = _DTYPES.get(kind, "strings" if kind == _STRING else f"dtype {kind}")
        if dtype not in DTYPES:
            raise ModelLoadError(f"the tensor {name!r} holds {dtype}, which is not served")
        if any(size < 1 for size in shape):
            raise ModelLoadError(f"the tensor {name!r} has the shape {shape}, which is not fixed")
        if len(scales) > 1:
            raise ModelLoadError(f"the tensor {name!r} is quantized per channel, which is not served")
        if not scales:
            return Tensor(name, dtype, shape)
        return Tensor(name, dtype, shape, scales[0], int(zero_points[0]) if zero_points else 0)

    def _described(self, graph: int, index: int) -> tuple[str, int, list[float], list[float]]:
        """Name, dtype, scales and zero points."""
        table = self.graphs[graph].tensors[index]
        quantization = table.table(4)
        if quantization is None:
            return table.text(3), table.byte(1), [], []
        scales, zero_points = quantization.numbers(2, _F32), quantization.numbers(3, _I64)
        return table.text(3), table.byte(1), list(scales), list(zero_points)

    def shape(self, graph: int, index: int) -> tuple[int, ...]:
        """As the file has it: with 1 where the converter left a size open."""
        with _named_errors():
            return tuple(int(size) for size in self.graphs[graph].tensors[index].numbers(0, _I32))


def read(data: bytes) -> ModelFile:
    """Raises ModelLoadError for what is no TFLite model, or a senseless one."""
    if data[4:8] != b"TFL3":
        raise ModelLoadError("the file does not begin like a TFLite model")
    with _named_errors():
        model = _Table(data, _U32.unpack_from(data, 0)[0])
        graphs = tuple(_graph(table) for table in model.tables(2))
        signatures = tuple((table.text(2), table.number(4, _U32)) for table in model.tables(7))
        operators = {max(code.byte(0), code.number(3, _I32)) for code in model.tables(1)}
        stateful = bool(operators & _STATE_OPERATORS) or any(t.byte(5) for graph in graphs for t in graph.tensors)
    if not graphs or not graphs[0].inputs or not graphs[0].outputs:
        raise ModelLoadError("the model has no graph with inputs and outputs")
    if any(graph >= len(graphs) for _, graph in signatures):
        raise ModelLoadError("a signature names a graph that the model does not have")
    return ModelFile(graphs, signatures, stateful)


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except (struct.error, IndexError, ValueError) as problem:
        raise ModelLoadError(f"the file is no whole TFLite model: {problem}") from problem


def _graph(table: "_Table") -> Graph:
    tensors = tuple(table.tables(0))
    inputs, outputs = (tuple(int(n) for n in table.numbers(field, _I32)) for field in (1, 2))
    if not all(0 <= index < len(tensors) for index in (*inputs, *outputs)):
        raise ValueError("an input or output that is no tensor")
    return Graph(inputs, outputs, tensors)


@dataclass(frozen=True, slots=True)
class _Table:
    """A flatbuffer table at `at`. Fields left out read as 0, empty or None. Raises struct.error beyond the file."""

    data: bytes
    at: int

    def _field(self, number: int) -> int:
        """Where the field lies; 0 where it was left out."""
        vtable = self.at - _I32.unpack_from(self.data, self.at)[0]
        if vtable < 0:
            raise ValueError("a table before the file")
        slot = 4 + 2 * number
        if slot + 2 > _U16.unpack_from(self.data, vtable)[0]:
            return 0
        offset = int(_U16.unpack_from(self.data, vtable + slot)[0])
        return self.at + offset if offset else 0

    def _target(self, number: int) -> int:
        at = self._field(number)
        return at + int(_U32.unpack_from(self.data, at)[0]) if at else 0

    def _vector(self, number: int, item_bytes: int) -> range:
        at = self._target(number)
        if not at:
            return range(0)
        count = _U32.unpack_from(self.data, at)[0]
        return range(at + 4, at + 4 + count * item_bytes, item_bytes)

    def byte(self, number: int) -> int:
        at = self._field(number)
        return self.data[at] if at else 0

    def number(self, number: int, form: Struct) -> int:
        at = self._field(number)
        return int(form.unpack_from(self.data, at)[0]) if at else 0

    def numbers(self, number: int, form: Struct) -> Iterator[float]:
        return (form.unpack_from(self.data, at)[0] for at in self._vector(number, form.size))

    def text(self, number: int) -> str:
        where = self._vector(number, 1)
        return self.data[where.start : where.stop].decode(errors="replace")

    def table(self, number: int) -> "_Table | None":
        at = self._target(number)
        return _Table(self.data, at) if at else None

    def tables(self, number: int) -> Iterator["_Table"]:
        return (_Table(self.data, at + _U32.unpack_from(self.data, at)[0]) for at in self._vector(number, 4))
