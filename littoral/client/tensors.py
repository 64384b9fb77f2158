"""Inputs as the raw bytes of INFER, and outputs by their names: bytes, or numpy arrays where the caller has numpy.

It quantizes and turns back as TFLite does. It knows no connection.
"""

import sys
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from littoral import errors
from littoral.tensors import Interface, Tensor


@runtime_checkable
class Array(Protocol):
    """What is used of a numpy array."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def tobytes(self) -> bytes: ...


Inputs = bytes | bytearray | memoryview | Mapping[str, Any]


def wants_arrays(inputs: Inputs) -> bool:
    return isinstance(inputs, Mapping) and any(isinstance(value, Array) for value in inputs.values())


def encode(inputs: Inputs, interface: Interface, *, quantize: bool = False) -> bytes | memoryview:
    """All inputs as the raw bytes of INFER. Raises as Client.infer says."""
    if not isinstance(inputs, Mapping):
        data = memoryview(inputs).cast("B")
        if len(data) != interface.input_bytes:
            raise errors.WrongSizeError(f"{len(data)} bytes of inputs, the model takes {interface.input_bytes}")
        return data
    names = [tensor.name for tensor in interface.inputs]
    if set(inputs) != set(names):
        raise errors.WrongInputsError(
            f"inputs {', '.join(sorted(inputs)) or 'none'} are given; the model takes {', '.join(names)}"
        )
    return b"".join(_encode_one(inputs[tensor.name], tensor, quantize) for tensor in interface.inputs)


def _encode_one(value: Any, tensor: Tensor, quantize_it: bool) -> bytes | memoryview:
    if not isinstance(value, Array):
        data = memoryview(value).cast("B")
        if len(data) != tensor.size_bytes:
            raise errors.WrongSizeError(f"{tensor.name}: {len(data)} bytes, it takes {tensor.size_bytes}")
        return data
    if tuple(value.shape) != tensor.shape:
        raise errors.WrongShapeError(f"{tensor.name}: shape {list(value.shape)}, it takes {list(tensor.shape)}")
    if quantize_it and tensor.scale:
        value = quantize(value, tensor)
    if value.dtype.name != tensor.dtype or not value.dtype.isnative:
        raise errors.WrongDtypeError(
            f"{tensor.name}: dtype {value.dtype.str}, it takes {tensor.dtype}",
            remedy="Real values are quantized with quantize=True." if tensor.scale else None,
        )
    return bytes(value.tobytes())


def decode(data: bytes, interface: Interface, *, arrays: bool, real: bool) -> dict[str, Any]:
    """Outputs by tensor name; real: those of quantized outputs as real values."""
    outputs: dict[str, Any] = {}
    at = 0
    for tensor in interface.outputs:
        part = data[at : at + tensor.size_bytes]
        at += tensor.size_bytes
        if not arrays:
            outputs[tensor.name] = part
            continue
        array = sys.modules["numpy"].frombuffer(part, tensor.dtype).reshape(tensor.shape)
        outputs[tensor.name] = dequantize(array, tensor) if real and tensor.scale else array
    return outputs


def quantize(array: Any, tensor: Tensor) -> Any:
    """Real values as the tensor stores them: round(real / scale) + zero_point, halves away from zero, clipped.

    That is what TFLite's QUANTIZE does. Needs numpy.
    """
    import numpy

    limits = numpy.iinfo(tensor.dtype)
    steps = numpy.asarray(array, "float32") / numpy.float32(tensor.scale)
    rounded = numpy.trunc(steps + numpy.copysign(numpy.float32(0.5), steps)) + tensor.zero_point
    return numpy.clip(rounded, limits.min, limits.max).astype(tensor.dtype)


def dequantize(array: Any, tensor: Tensor) -> Any:
    """Stored values as real ones, float32: scale * (stored - zero_point). Needs numpy."""
    import numpy

    stored = numpy.asarray(array).astype("float32")
    return (stored - numpy.float32(tensor.zero_point)) * numpy.float32(tensor.scale)
