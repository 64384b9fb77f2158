"""A .tflite file, read and never run: its interface and its operators.

The flatbuffer is walked with the schema that comes with ai-edge-litert. Nothing is handed to an engine, so that a
model which kills whoever loads it can still be described. Whether an engine takes it, only an engine can say.
"""

import re
import struct
from dataclasses import dataclass
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from littoral.bundle.manifest import MAX_BLOB_BYTES
from littoral.errors import NotAModelError, UnsupportedError
from littoral.tensors import DTYPES, Interface, Tensor

MAGIC = b"TFL3"
MAX_VERSION_BYTES = 32
_VERSION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}")
_TYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
_OPS = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
_DAMAGED = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What a file says of itself. `operators` are names, custom ones as `custom:NAME`, unknown ones as `op NUMBER`.

    least_tflite: the oldest tflite-runtime that has these operators in these versions, as the converter wrote it; ""
    where it did not.
    """

    interface: Interface
    operators: tuple[str, ...]
    description: str
    least_tflite: str = ""

    @property
    def custom_operators(self) -> tuple[str, ...]:
        """Operators that an engine has only by an extension."""
        return tuple(name for name in self.operators if name.startswith("custom:"))

    @property
    def unknown_operators(self) -> tuple[str, ...]:
        """Operators that this schema does not know: of a newer converter, or of none."""
        return tuple(name for name in self.operators if name.startswith("op "))


def read(data: bytes) -> ModelFile:
    """Raises NotAModelError for what is no whole .tflite file, UnsupportedError for tensors that are not served."""
    if data[4:8] != MAGIC:
        raise NotAModelError("the file does not begin like a TFLite model")
    if len(data) > MAX_BLOB_BYTES:
        raise NotAModelError(f"a model of {len(data)} bytes, the limit is {MAX_BLOB_BYTES}")
    try:
        model = schema.Model.GetRootAs(data, 0)
        _check_whole(model, len(data))
        graph = model.Subgraphs(0)
        return ModelFile(
            interface=Interface(
                tuple(_tensor(graph, graph.Inputs(i)) for i in range(graph.InputsLength())),
                tuple(_tensor(graph, graph.Outputs(i)) for i in range(graph.OutputsLength())),
            ),
            operators=tuple(sorted({_operator(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())})),
            description=_text(model.Description()),
            least_tflite=_least_tflite(model),
        )
    except _DAMAGED as error:
        raise NotAModelError(f"the file is no whole TFLite model: {error!r}") from error


def _check_whole(model: Any, size: int) -> None:
    """Raises ValueError where the file ends before its weights do, or holds no graph with inputs and outputs."""
    if model.Version() != 3:
        raise ValueError(f"schema version {model.Version()}")
    if model.SubgraphsLength() < 1 or not model.Subgraphs(0).InputsLength() or not model.Subgraphs(0).OutputsLength():
        raise ValueError("no graph with inputs and outputs")
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if not buffer.DataIsNone() and buffer.DataLength():
            buffer.Data(buffer.DataLength() - 1)  # fails beyond the end of the file
        if buffer.Offset() > 1 and buffer.Offset() + buffer.Size() > size:
            raise ValueError("weights beyond the end of the file")


def _tensor(graph: Any, index: int) -> Tensor:
    if not 0 <= index < graph.TensorsLength():
        raise ValueError(f"tensor {index} of {graph.TensorsLength()}")
    tensor = graph.Tensors(index)
    name, dtype = _text(tensor.Name()), _TYPES.get(tensor.Type(), f"type {tensor.Type()}")
    if dtype not in DTYPES:
        raise UnsupportedError(
            f"the tensor {name!r} is of dtype {dtype}, which is not served",
            remedy=f"Convert the model so that its inputs and outputs are one of {', '.join(DTYPES)}.",
        )
    shape = tuple(int(tensor.Shape(i)) for i in range(tensor.ShapeLength()))
    if any(size < 1 for size in shape):
        raise UnsupportedError(f"the tensor {name!r} has the shape {shape}, which is not fixed")
    quantization = tensor.Quantization()
    if quantization is None or not quantization.ScaleLength():
        return Tensor(name, dtype, shape)
    if quantization.ScaleLength() > 1:
        raise UnsupportedError(f"the tensor {name!r} is quantized per channel, which is not served")
    zero_point = int(quantization.ZeroPoint(0)) if quantization.ZeroPointLength() else 0
    return Tensor(name, dtype, shape, float(quantization.Scale(0)), zero_point)


def _least_tflite(model: Any) -> str:
    for index in range(model.MetadataLength()):
        if model.Metadata(index).Name() == b"min_runtime_version":
            buffer = model.Buffers(model.Metadata(index).Buffer())
            data = bytes(buffer.Data(place) for place in range(min(buffer.DataLength(), MAX_VERSION_BYTES)))
            found = _VERSION.match(data.decode("ascii", "replace"))
            return found[0] if found else ""
    return ""


def _operator(code: Any) -> str:
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    if number == schema.BuiltinOperator.CUSTOM:
        return f"custom:{_text(code.CustomCode())}"
    return str(_OPS.get(number, f"op {number}"))


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")
