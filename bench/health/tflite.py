"""A trained network as a .tflite file: int8 throughout, or float32.

Quantized as LiteRT's converter does it: weights symmetric, of one scale for a layer or one for each output channel;
what flows between layers asymmetric, by the range that calibration pictures show; biases int32. The output has
scale 1/256 and zero point -128. What ends in sigmoid is a table of one place, as docs/card.md has it for
yolo: [1, outputs, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from bench.health.network import Floats, Network, activations
from fleet import modelfile

DESCRIPTION = "made by the study of health" + " " * 32  # with room for another


@dataclass(frozen=True, slots=True)
class Input:
    """How a network takes pictures: a float is (pixel - mean) / deviation."""

    mean: float
    deviation: float

    def floats(self, pixels: NDArray[np.uint8]) -> Floats:
        return (pixels.astype(np.float32) - np.float32(self.mean)) / np.float32(self.deviation)


CENTRED, UNIT = Input(128, 128), Input(0, 255)


class AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """Packed so that data begin at a multiple of 16 bytes, which engines want and the generated code does not do."""

    def Pack(self, builder: Any) -> Any:  # noqa: N802, the name the generated code calls
        if self.data is None:
            return super().Pack(builder)
        content = bytes(self.data)
        builder.StartVector(1, len(content), 16)
        builder.head -= len(content)
        builder.Bytes[builder.head : builder.head + len(content)] = content
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


class Writer:
    """One graph, put together tensor by tensor."""

    def __init__(self) -> None:
        self.buffers: list[AlignedBuffer] = [AlignedBuffer()]
        self.codes: list[int] = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []

    def tensor(
        self,
        name: str,
        kind: int,
        shape: tuple[int, ...],
        scale: Floats | float | None = None,
        zero: int = 0,
        data: bytes | None = None,
        axis: int = 0,
    ) -> int:
        made = schema.TensorT()
        made.name, made.type, made.shape, made.buffer = name, kind, list(shape), 0
        if data is not None:
            buffer = AlignedBuffer()
            buffer.data = data
            made.buffer = len(self.buffers)
            self.buffers.append(buffer)
        if scale is not None:
            scales = np.atleast_1d(np.float32(scale))
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = scales
            made.quantization.zeroPoint = np.full(len(scales), zero, np.int64)
            made.quantization.quantizedDimension = axis
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def operator(
        self, code: int, inputs: list[int], outputs: list[int], options: Any = None, kind: int = 0, version: int = 1
    ) -> None:
        """The versions of one operator are those of its first use."""
        if code not in [known.builtinCode for known in self.codes]:  # type: ignore[attr-defined]
            known = schema.OperatorCodeT()
            known.builtinCode, known.deprecatedBuiltinCode, known.version = code, min(code, 127), version
            self.codes.append(known)
        made = schema.OperatorT()
        made.opcodeIndex = [known.builtinCode for known in self.codes].index(code)  # type: ignore[attr-defined]
        made.inputs, made.outputs = inputs, outputs
        made.builtinOptions, made.builtinOptionsType = options, kind
        self.graph.operators.append(made)

    def finish(self, inputs: list[int], outputs: list[int]) -> bytes:
        self.graph.inputs, self.graph.outputs, self.graph.name = inputs, outputs, "main"
        model = schema.ModelT()
        model.version, model.operatorCodes, model.subgraphs = 3, self.codes, [self.graph]
        model.buffers, model.description = self.buffers, DESCRIPTION
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), modelfile.MAGIC)
        return bytes(builder.Output())


def quantized(network: Network, calibration: Floats, taking: Input, *, per_channel: bool = False) -> bytes:
    """int8 [1, *shape] to int8 [1, outputs]. calibration: pictures as the network takes them."""
    ranges = [_range(layer) for layer in activations(network, calibration)]
    writer = Writer()
    zero = round(taking.mean) - 128
    scale = 1 / taking.deviation
    flowing = writer.tensor("image", schema.TensorType.INT8, (1, *network.architecture.shape), scale, zero)
    first = flowing
    for place, (_, bias) in enumerate(network.layers):
        stored = _stored(network, place)
        steps = _steps(stored, per_channel=per_channel and place < len(network.architecture.convolutions))
        whole = np.clip(np.rint(stored / steps.reshape(-1, *[1] * (stored.ndim - 1))), -127, 127).astype(np.int8)
        bias_steps = np.float32(scale) * steps
        kernel = writer.tensor(f"weights{place}", schema.TensorType.INT8, stored.shape, steps, 0, whole.tobytes())
        offset = np.clip(np.rint(bias / bias_steps), -(2**31), 2**31 - 1).astype(np.int32)
        added = writer.tensor(f"bias{place}", schema.TensorType.INT32, bias.shape, bias_steps, 0, offset.tobytes())
        scale, zero = ranges[place]
        out = writer.tensor(f"layer{place}", schema.TensorType.INT8, _shape(network, place), scale, zero)
        _layer(writer, network, place, [flowing, kernel, added], out, version=3 if len(steps) == 1 else 4)
        flowing = out
    return writer.finish([first], [_ending(writer, network, flowing, schema.TensorType.INT8, 1 / 256, -128)])


def floating(network: Network) -> bytes:
    """float32 [1, *shape], as the network takes pictures, to float32 [1, outputs]."""
    writer = Writer()
    kind = schema.TensorType.FLOAT32
    first = flowing = writer.tensor("image", kind, (1, *network.architecture.shape))
    for place, (_, bias) in enumerate(network.layers):
        stored = _stored(network, place)
        kernel = writer.tensor(f"weights{place}", kind, stored.shape, data=stored.astype(np.float32).tobytes())
        added = writer.tensor(f"bias{place}", kind, bias.shape, data=bias.astype(np.float32).tobytes())
        out = writer.tensor(f"layer{place}", kind, _shape(network, place))
        _layer(writer, network, place, [flowing, kernel, added], out, version=1)
        flowing = out
    return writer.finish([first], [_ending(writer, network, flowing, kind)])


def _layer(writer: Writer, network: Network, place: int, inputs: list[int], out: int, version: int) -> None:
    convolutions = network.architecture.convolutions
    rectified = schema.ActivationFunctionType.RELU if place < len(network.layers) - 1 else 0
    if place < len(convolutions):
        options = schema.Conv2DOptionsT()
        options.padding, options.fusedActivationFunction = schema.Padding.SAME, rectified
        options.strideH = options.strideW = convolutions[place].stride
        kind = schema.BuiltinOptions.Conv2DOptions
        writer.operator(schema.BuiltinOperator.CONV_2D, inputs, [out], options, kind, min(version, 3))
    else:
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = rectified
        kind = schema.BuiltinOptions.FullyConnectedOptions
        writer.operator(schema.BuiltinOperator.FULLY_CONNECTED, inputs, [out], options, kind, version)


def _ending(writer: Writer, network: Network, logits: int, kind: int, scale: float | None = None, zero: int = 0) -> int:
    """The tensor of answers."""
    flat = _shape(network, -1)
    answers = writer.tensor("answers", kind, flat, scale, zero)
    if network.architecture.ending == "softmax":
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        writer.operator(
            schema.BuiltinOperator.SOFTMAX, [logits], [answers], options, schema.BuiltinOptions.SoftmaxOptions, 2
        )
        return answers
    writer.operator(schema.BuiltinOperator.LOGISTIC, [logits], [answers], version=2)
    reshaped = schema.ReshapeOptionsT()
    reshaped.newShape = [*flat, 1]
    table = writer.tensor("table", kind, (*flat, 1), scale, zero)
    writer.operator(schema.BuiltinOperator.RESHAPE, [answers], [table], reshaped, schema.BuiltinOptions.ReshapeOptions)
    return table


def _stored(network: Network, place: int) -> Floats:
    """A layer's weights as the file has them: output channels first."""
    weights = network.layers[place][0]
    return np.ascontiguousarray(weights.transpose(3, 0, 1, 2) if weights.ndim == 4 else weights.T)


def _shape(network: Network, place: int) -> tuple[int, ...]:
    height, width, _ = network.architecture.shape
    convolutions = network.architecture.convolutions
    outputs = len(network.layers[place][1])
    if not 0 <= place < len(convolutions):
        return (1, outputs)
    for layer in convolutions[: place + 1]:
        height, width = -(-height // layer.stride), -(-width // layer.stride)
    return (1, height, width, outputs)


def _steps(stored: Floats, *, per_channel: bool) -> Floats:
    largest = np.maximum(np.abs(stored.reshape(len(stored), -1)).max(axis=1), 1e-6) / 127
    return np.asarray(largest if per_channel else largest.max(keepdims=True), np.float32)


def _range(values: Floats) -> tuple[float, int]:
    """Scale and zero point for what a layer gives."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 1e-3)
    scale = (high - low) / 255
    return scale, round(-128 - low / scale)
