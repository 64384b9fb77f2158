"""Models by the `Interpreter` class that LiteRT and tflite-runtime have in common. It needs numpy.

It is what tflite-runtime has; in LiteRT it loads what the C API does not take, and whatever runs on a delegate.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.runtime.engine import Delegate, Interpreter, Model, Result
from agent.runtime.engines import modelfile
from agent.runtime.engines.delegates import check_library, load_with
from agent.runtime.engines.finite import Finite
from agent.runtime.engines.installed import version_of
from agent.runtime.engines.messages import engine_messages, refusal
from agent.runtime.engines.modelfile import ModelFile
from littoral.errors import InferenceError, ModelLoadError
from littoral.tensors import Interface

MIB = 1024 * 1024
THREAD_BYTES = 8 * MIB  # of address space: a thread's stack

Run = Callable[[list[Any]], list[Any]]  # arrays in, arrays out, both in the order of the file's graph


@dataclass(frozen=True, slots=True)
class InterpreterEngine:
    """An engine that has the `Interpreter` class; `module` holds it. base_bytes: address space that a load takes.

    note: what is told beside the engine's version of each model that it loads.
    """

    name: str
    version: str
    base_bytes: int
    module: str
    note: str = ""
    fallback: str = ""

    def preload(self) -> None:
        """Imports what every load needs, numpy too, so that forked children share it. Raises ImportError."""
        self._imported()

    def _imported(self) -> Any:
        # numpy's linear algebra would start a thread per core, and a process with threads must not fork.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        return importlib.import_module(self.module)

    def address_space_bytes(self, threads: int) -> int:
        return self.base_bytes + THREAD_BYTES * threads

    def load(self, model: bytes, labels: tuple[str, ...], threads: int = 1, delegate: Delegate | None = None) -> Model:
        def on_cpu(note: str) -> Model:
            return self._load(model, labels, threads, note or self.note, [])

        return on_cpu("") if delegate is None else self.load_on(delegate, model, labels, threads, on_cpu)

    def load_on(
        self,
        delegate: Delegate,
        model: bytes,
        labels: tuple[str, ...],
        threads: int,
        on_cpu: Callable[[str], Model],
    ) -> Model:
        """On the delegate, or where that cannot be by `on_cpu`, which is given what to tell. Raises as Engine.load."""

        def on_delegate() -> Model:
            check_library(delegate)
            opened = self._imported().load_delegate(delegate.path, dict(delegate.options))
            return self._load(model, labels, threads, delegate.kind, [opened])

        return load_with(delegate, on_delegate, on_cpu)

    def _load(self, model: bytes, labels: tuple[str, ...], threads: int, note: str, delegates: list[Any]) -> Model:
        def make() -> Any:
            with engine_messages() as messages:
                try:
                    made = self._imported().Interpreter(
                        model_content=model, num_threads=threads, experimental_delegates=delegates or None
                    )
                    made.allocate_tensors()
                except MemoryError:
                    raise
                except Exception as error:
                    raise ModelLoadError(refusal(self.name, str(error), messages())) from error
            return made

        text = f"{self.name} {self.version}"
        return InterpreterModel(f"{text} ({note})" if note else text, make, modelfile.read(model), labels)


def open_tflite() -> InterpreterEngine:
    """tflite-runtime. Raises ImportError."""
    engine = InterpreterEngine("tflite", version_of("tflite_runtime"), 400 * MIB, "tflite_runtime.interpreter")
    engine.preload()
    if int(importlib.import_module("numpy").__version__.split(".")[0]) >= 2:
        raise ImportError("tflite-runtime needs numpy below 2")
    return engine


class InterpreterModel:
    """`make` gives a new object of the class, with its tensors allocated."""

    def __init__(self, engine: str, make: Callable[[], Any], file: ModelFile, labels: tuple[str, ...]) -> None:
        """Raises ModelLoadError, MemoryError."""
        self.engine = engine
        self.stateful = file.stateful
        self._make = make
        self._file = file
        first = make()
        # those of the first graph come first; with "" it is run whether it has a signature or not
        keys = dict(sorted(file.signatures, key=lambda entry: entry[1]))
        self._graphs = {**keys, "": 0}
        self.signatures: Mapping[str, Interface] = {
            key: _interface(first, file, key, graph, labels) for key, graph in self._graphs.items()
        }
        self._first: Interpreter | None = self._ready(first)

    def interpreter(self) -> Interpreter:
        first, self._first = self._first, None
        return first or self._ready(self._make())

    def _ready(self, made: Any) -> "_Interpreter":
        return _Interpreter(made, self._file, self._graphs, self.signatures)


class _Interpreter:
    def __init__(
        self, made: Any, file: ModelFile, graphs: Mapping[str, int], signatures: Mapping[str, Interface]
    ) -> None:
        self._made = made
        self._file = file
        self._graphs = graphs
        self._signatures = signatures
        self._numpy = importlib.import_module("numpy")
        self._runs: dict[str, tuple[Run, Finite]] = {}

    def run(self, data: bytes | bytearray | memoryview, signature: str = "") -> Result:
        interface = self._signatures[signature]
        if len(data) != interface.input_bytes:
            raise InferenceError(f"inputs of {len(data)} bytes; the model takes {interface.input_bytes}")
        try:
            if signature not in self._runs:
                self._runs[signature] = self._bind(signature), Finite(interface.outputs)
            run, finite = self._runs[signature]
            raw = b"".join(array.tobytes() for array in run(self._arrays(interface, memoryview(data))))
        except MemoryError:
            raise
        except Exception as error:
            raise InferenceError(f"the engine could not run the model: {error}") from error
        if len(raw) != interface.output_bytes:
            raise InferenceError(f"outputs of {len(raw)} bytes, the model declares {interface.output_bytes}")
        return Result(raw, finite(raw))

    def _arrays(self, interface: Interface, data: memoryview) -> list[Any]:
        arrays, at = [], 0
        for tensor in interface.inputs:
            part = data[at : at + tensor.size_bytes]
            arrays.append(self._numpy.frombuffer(part, tensor.dtype).reshape(tensor.shape))
            at += tensor.size_bytes
        return arrays

    def _bind(self, signature: str) -> Run:
        made, number = self._made, self._graphs[signature]
        graph = self._file.graphs[number]
        if number:
            runner = made.get_signature_runner(signature)
            inputs = [name for name, _ in _in_order(runner.get_input_details(), graph.inputs)]
            outputs = [name for name, _ in _in_order(runner.get_output_details(), graph.outputs)]

            def run_signature(arrays: list[Any]) -> list[Any]:
                # while there is a runner the class runs nothing else
                found = made.get_signature_runner(signature)(**dict(zip(inputs, arrays, strict=True)))
                return [found[name] for name in outputs]

            return run_signature

        def run_first(arrays: list[Any]) -> list[Any]:
            for index, array in zip(graph.inputs, arrays, strict=True):
                made.set_tensor(index, array)
            made.invoke()
            return [made.get_tensor(index) for index in graph.outputs]

        return run_first


def _interface(made: Any, file: ModelFile, key: str, number: int, labels: tuple[str, ...]) -> Interface:
    graph = file.graphs[number]
    if number:
        runner = made.get_signature_runner(key)
        sides = list(runner.get_input_details().values()), list(runner.get_output_details().values())
    else:
        sides = made.get_input_details(), made.get_output_details()
    shapes = {details["index"]: tuple(map(int, details["shape"])) for side in sides for details in side}
    if not {*graph.inputs, *graph.outputs} <= set(shapes):
        raise ModelLoadError("a signature has other tensors than its graph")
    inputs, outputs = (
        tuple(file.tensor(number, index, shapes[index]) for index in indices)
        for indices in (graph.inputs, graph.outputs)
    )
    return Interface(inputs, outputs, labels)


def _in_order(details: dict[str, Any], indices: tuple[int, ...]) -> list[tuple[str, Any]]:
    return sorted(details.items(), key=lambda item: indices.index(item[1]["index"]))
