"""Inference engines behind one small interface: LiteRT and tflite-runtime, by their `Interpreter` class.

A model is always loaded from bytes: a file that changes under a mapped model kills the process. Tensors that no raw
bytes can stand for (strings, per-channel quantized inputs) are refused by name.
"""

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from littoral.errors import EngineError, InferenceError, ModelLoadError
from littoral.tensors import DTYPES, Interface, Tensor

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Result:
    """One run: all outputs as raw bytes, one after the other, and whether every float in them is a finite number."""

    data: bytes
    finite: bool


class Loaded(Protocol):
    """A model ready to run, in this process."""

    @property
    def interface(self) -> Interface: ...

    def run(self, data: bytes | memoryview) -> Result:
        """Runs once on all inputs as raw bytes. Raises InferenceError. `data` has `interface.input_bytes` bytes."""
        ...


class Engine(Protocol):
    """What can load models. It is opened by the host, which never loads one, and used in its children."""

    @property
    def name(self) -> str:
        """As a bundle's `needs.engines` names it."""
        ...

    @property
    def version(self) -> str: ...

    @property
    def address_space_bytes(self) -> int:
        """What a load takes of address space beside the model's own memory (measured, with one thread)."""
        ...

    def load(self, model: bytes, labels: tuple[str, ...]) -> Loaded:
        """Raises ModelLoadError. A model made to do so can kill the process instead."""
        ...


@dataclass(frozen=True, slots=True)
class InterpreterEngine:
    """An engine that has the `Interpreter` class of TFLite. `make` is that class."""

    name: str
    version: str
    address_space_bytes: int
    make: Callable[..., Any]

    def load(self, model: bytes, labels: tuple[str, ...]) -> Loaded:
        with engine_messages() as messages:
            try:
                interpreter = self.make(model_content=model, num_threads=1)
                interpreter.allocate_tensors()
            except MemoryError:
                raise
            except Exception as error:
                raise ModelLoadError(_reason(self.name, error, messages())) from error
        return _InterpreterModel(interpreter, labels, model)


class _InterpreterModel:
    def __init__(self, interpreter: Any, labels: tuple[str, ...], model: bytes) -> None:
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self.interface = Interface(
            tuple(_tensor(details, "input") for details in inputs),
            tuple(_tensor(details, "output") for details in outputs),
            labels,
        )
        self._interpreter = interpreter
        self._model = model  # the interpreter reads its weights from these bytes
        self._numpy = importlib.import_module("numpy")
        self._inputs = [(d["index"], d["dtype"], d["shape"]) for d in inputs]
        self._outputs = [(d["index"], d["dtype"]) for d in outputs]

    def run(self, data: bytes | memoryview) -> Result:
        numpy = self._numpy
        try:
            at = 0
            for (index, dtype, shape), tensor in zip(self._inputs, self.interface.inputs, strict=True):
                part = data[at : at + tensor.size_bytes]
                self._interpreter.set_tensor(index, numpy.frombuffer(part, dtype).reshape(shape))
                at += tensor.size_bytes
            self._interpreter.invoke()
            arrays = [self._interpreter.get_tensor(index) for index, _ in self._outputs]
        except MemoryError:
            raise
        except Exception as error:
            raise InferenceError(f"the engine could not run the model: {error}") from error
        finite = all(bool(numpy.isfinite(array).all()) for array in arrays if array.dtype.kind == "f")
        raw = b"".join(array.tobytes() for array in arrays)
        if len(raw) != self.interface.output_bytes:
            raise InferenceError(f"outputs of {len(raw)} bytes, the model declares {self.interface.output_bytes}")
        return Result(raw, finite)


def open_engine(name: str) -> Engine:
    """The engine called `name`: litert, tflite, or auto (litert where it is installed). Raises EngineError.

    It imports the engine's library and loads no model, so the process stays fit to fork.
    """
    if name not in ("auto", *_ENGINES):
        raise EngineError(f"no engine has the name {name!r}", remedy="Set runtime.engine to auto, litert or tflite.")
    wanted = tuple(_ENGINES) if name == "auto" else (name,)
    problems = []
    for candidate in wanted:
        try:
            return _open(candidate)
        except ImportError as error:
            problems.append(f"{candidate}: {error}")
    raise EngineError(
        f"no engine can be used ({'; '.join(problems)})",
        remedy="Install ai-edge-litert, or tflite-runtime with a Python up to 3.11.",
    )


# name: (module, distribution, address space of a load)
_ENGINES = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert", 150 * MIB),
    "tflite": ("tflite_runtime.interpreter", "tflite-runtime", 400 * MIB),
}


def _open(name: str) -> InterpreterEngine:
    module, distribution, address_space_bytes = _ENGINES[name]
    # numpy's linear algebra would start a thread per core, and a process with threads must not fork.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    make = importlib.import_module(module).Interpreter
    if name == "tflite" and int(importlib.metadata.version("numpy").split(".")[0]) >= 2:
        raise ImportError("tflite-runtime needs numpy below 2")
    return InterpreterEngine(name, importlib.metadata.version(distribution), address_space_bytes, make)


def degraded() -> str:
    """Why engines are slower here than they should be; empty where they are not.

    Without these two, XNNPACK switches itself off: 10 times slower float, 50 times slower int8, other outputs.
    """
    hidden = [path for path in ("/proc/cpuinfo", "/sys/devices/system/cpu") if not os.access(path, os.R_OK)]
    return f"{' and '.join(hidden)} cannot be read, so XNNPACK is off" if hidden else ""


@contextmanager
def engine_messages() -> Iterator[Callable[[], str]]:
    """Catches what the engine's library writes to stderr; what it gives reads that so far."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with os.fdopen(os.memfd_create("engine-messages"), "w+b") as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield lambda: os.pread(caught.fileno(), 4_096, 0).decode(errors="replace")
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _reason(engine: str, error: Exception, messages: str) -> str:
    lines = [line for line in messages.splitlines() if not line.startswith(("INFO:", "VERBOSE:"))]
    text = " ".join(dict.fromkeys([*str(error).split("\n"), *lines])).strip()
    return f"{engine} refuses the model: {text[:400] or type(error).__name__}"


def _tensor(details: dict[str, Any], side: str) -> Tensor:
    """Raises ModelLoadError for what raw bytes cannot carry."""
    name = str(details["name"])
    dtype = importlib.import_module("numpy").dtype(details["dtype"]).name
    if dtype not in DTYPES:
        kind = "strings" if dtype.startswith(("str", "bytes", "object")) else dtype
        raise ModelLoadError(f"{side} {name!r} holds {kind}, which is not served")
    if len(details["quantization_parameters"]["scales"]) > 1:
        raise ModelLoadError(f"{side} {name!r} is quantized per channel, which is not served")
    scale, zero_point = details["quantization"]
    return Tensor(name, dtype, tuple(int(n) for n in details["shape"]), float(scale), int(zero_point))


def engine_text(engine: Engine) -> str:
    return f"{engine.name} {engine.version}"
