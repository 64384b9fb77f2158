"""LiteRT by its C API: no numpy, a quarter of the memory and a tenth of the loading time of its `Interpreter` class.

What the C API refuses and the class takes (variable tensors) is loaded by the class, and so is everything where the
self-test says that the library is not what this binding was made for.
"""

from collections.abc import Mapping
from contextlib import suppress
from ctypes import byref, c_uint32, c_void_p
from dataclasses import dataclass, replace

from agent.runtime.engine import Delegate, Engine, Interpreter, Model
from agent.runtime.engines import modelfile, selftest
from agent.runtime.engines.capi import MAX_RANK, TO_STDERR, UNSUPPORTED, VERSIONS, Library, Ranked, StatusError
from agent.runtime.engines.compiled import Compiled, LitertInterpreter, Opened, Side, Signature
from agent.runtime.engines.installed import folder_of, version_of
from agent.runtime.engines.interpreter import InterpreterEngine
from agent.runtime.engines.messages import engine_messages, refusal
from agent.runtime.engines.modelfile import ModelFile
from littoral.errors import ModelLoadError
from littoral.tensors import Interface

MIB = 1024 * 1024
PACKAGE, MODULE, LIBRARY = "ai_edge_litert", "ai_edge_litert.interpreter", "libLiteRt.so"
ADDRESS_SPACE_BYTES = 150 * MIB  # that a load by the class takes; by the C API it is a tenth


@dataclass(frozen=True, slots=True)
class LitertEngine:
    """`by_class` loads what this cannot: unsupported models, and all that run on a delegate."""

    library: Library
    by_class: InterpreterEngine
    fallback: str = ""

    @property
    def name(self) -> str:
        return self.by_class.name

    @property
    def version(self) -> str:
        return self.by_class.version

    def address_space_bytes(self, threads: int) -> int:
        return self.by_class.address_space_bytes(threads)

    def load(self, model: bytes, labels: tuple[str, ...], threads: int = 1, delegate: Delegate | None = None) -> Model:
        def on_cpu(note: str) -> Model:
            try:
                return LitertModel(self, model, labels, threads, note)
            except UnsupportedModelError:
                return self.by_class.load(model, labels, threads)

        return on_cpu("") if delegate is None else self.by_class.load_on(delegate, model, labels, threads, on_cpu)


def open_litert() -> Engine:
    """By the C API where it proves to be the one this is made for, else by the class. Raises ImportError."""
    folder, version = folder_of(PACKAGE), version_of(PACKAGE)
    by_class = InterpreterEngine("litert", version, ADDRESS_SPACE_BYTES, MODULE, note="Interpreter")
    if version in VERSIONS:
        try:
            engine = LitertEngine(Library(folder / LIBRARY), by_class)
            problem = selftest.problem(engine)
        except ImportError as error:
            problem = str(error)
        if not problem:
            return engine
    else:
        problem = f"its C API is known of {', '.join(VERSIONS)}"
    by_class.preload()
    return replace(by_class, fallback=problem)


class UnsupportedModelError(Exception):
    """A good model that the C API does not run."""


class LitertModel:
    """A model that the C API runs. Each interpreter compiles it anew; the file's bytes are shared."""

    def __init__(self, engine: LitertEngine, content: bytes, labels: tuple[str, ...], threads: int, note: str) -> None:
        """Raises ModelLoadError, UnsupportedModelError, MemoryError."""
        self.engine = f"{engine.name} {engine.version}" + (f" ({note})" if note else "")
        self._threads = threads
        file = modelfile.read(content)
        self.stateful = file.stateful
        try:
            self._opened = Opened(engine.library, content)
            with engine_messages():
                compiled = Compiled(self._opened, threads)
                self._signatures = _Reading(self._opened, compiled, file).signatures()
            self._first: Interpreter | None = LitertInterpreter(compiled, self._signatures)
        except StatusError as error:
            if error.status == UNSUPPORTED:
                raise UnsupportedModelError(str(error)) from error
            why = _explanation(engine.library, content, threads)
            raise ModelLoadError(refusal(engine.name, str(error), why)) from error
        self.signatures: Mapping[str, Interface] = {
            key: Interface(found.inputs.tensors, found.outputs.tensors, labels)
            for key, found in self._signatures.items()
        }

    def interpreter(self) -> Interpreter:
        first, self._first = self._first, None
        if first is not None:
            return first
        try:
            compiled, usual = Compiled(self._opened, self._threads), self._signatures[""]
            compiled.output_layouts(usual.number, len(usual.outputs.types))
            return LitertInterpreter(compiled, self._signatures)
        except StatusError as error:
            raise ModelLoadError(refusal(self.engine, str(error), "")) from error


def _explanation(library: Library, content: bytes, threads: int) -> str:
    """What the library writes while it fails once more: what has failed to compile keeps no text."""
    with engine_messages() as messages:
        with suppress(StatusError):
            Compiled(Opened(library, content), threads, TO_STDERR).output_layouts(0, 1)
        return messages()


class _Reading:
    """Puts together what the file and the library know of a model's signatures."""

    def __init__(self, opened: Opened, compiled: Compiled, file: ModelFile) -> None:
        self._library = opened.library
        self._model = opened.handle
        self._compiled = compiled
        self._file = file

    def signatures(self) -> dict[str, Signature]:
        """By key, those of the first graph first; "" is another name of the first."""
        declared = self._file.signatures or (("", 0),)
        if self._library.count("LiteRtGetNumModelSignatures", self._model) != len(declared):
            raise UnsupportedModelError("the library sees other signatures than the file has")
        found = [(graph, key, self._signature(number, graph)) for number, (key, graph) in enumerate(declared)]
        found.sort(key=lambda entry: entry[0])
        if found[0][0] != 0:
            raise UnsupportedModelError("no signature runs the first graph")
        return {**{key: signature for _, key, signature in found}, "": found[0][2]}

    def _signature(self, number: int, graph: int) -> Signature:
        handle = self._library.made("LiteRtGetModelSignature", self._model, number)
        wanted = self._file.graphs[graph]
        inputs = self._types(handle, "Input", wanted.inputs)
        for index, ranked in zip(wanted.inputs, inputs, strict=True):
            # where the converter left a size open, the file says 1 and the library -1
            shape = self._file.shape(graph, index)
            if len(shape) > MAX_RANK:
                raise UnsupportedModelError(f"a tensor of {len(shape)} dimensions")
            ranked.layout.shape = shape
        outputs = self._types(handle, "Output", wanted.outputs)
        for ranked, layout in zip(outputs, self._compiled.output_layouts(number, len(outputs)), strict=True):
            ranked.layout = layout
        return Signature(number, self._side(graph, wanted.inputs, inputs), self._side(graph, wanted.outputs, outputs))

    def _types(self, handle: c_void_p, side: str, wanted: tuple[int, ...]) -> list[Ranked]:
        """The library has the tensors in the order of the graph. Where it does not, nothing else of it is certain."""
        types, indices = [], []
        for number in range(self._library.count(f"LiteRtGetNumSignature{side}s", handle)):
            tensor = self._library.made(f"LiteRtGetSignature{side}TensorByIndex", handle, number)
            index, ranked = c_uint32(), Ranked()
            self._library.call("LiteRtGetTensorIndex", tensor, byref(index))
            self._library.call("LiteRtGetRankedTensorType", tensor, byref(ranked))
            types.append(ranked)
            indices.append(index.value)
        if tuple(indices) != wanted:
            raise UnsupportedModelError("a signature has other tensors than its graph")
        return types

    def _side(self, graph: int, indices: tuple[int, ...], types: list[Ranked]) -> Side:
        tensors = (self._file.tensor(graph, i, ranked.layout.shape) for i, ranked in zip(indices, types, strict=True))
        return Side(tuple(tensors), tuple(types))
