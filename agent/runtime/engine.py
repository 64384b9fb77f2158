"""What an inference engine is to the runtime. The engines themselves are in agent/runtime/engines/.

A model is always loaded from bytes: a file that changes under a mapped model kills the process. What is loaded once can
have several interpreters, each with memory and state of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from littoral.tensors import Interface


@dataclass(frozen=True, slots=True)
class Result:
    """One run: all outputs as raw bytes, one after the other, and whether every float in them is a finite number."""

    data: bytes
    finite: bool


@dataclass(frozen=True, slots=True)
class Delegate:
    """An accelerator's library, as this device's configuration names it. Never a path from the network.

    kind: what a card may ask for. models: that run on it unasked. exclusive: only one process may have it open at a
    time. required: where it cannot be opened, the model is not to run on the CPU instead.
    """

    kind: str
    path: str
    options: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    exclusive: bool = True
    required: bool = False


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a release runs best on this device, as its trial measured. 0: not measured, one thread, anywhere.

    threads: of one interpreter. interpreters: that run side by side; with one, the worker's own loop runs it.
    cpus: bit i stands for CPU i; 0: all.
    """

    threads: int = 0
    interpreters: int = 0
    cpus: int = 0


class Interpreter(Protocol):
    """One interpreter of a loaded model. Only one thread may run it at a time."""

    def run(self, data: bytes | bytearray | memoryview, signature: str = "") -> Result:
        """Runs once on all inputs of the signature as raw bytes; `data` has its `interface.input_bytes` bytes and is
        copied before the model runs. Other Python threads run meanwhile. Raises InferenceError.
        """
        ...


class Model(Protocol):
    """A model loaded into this process.

    engine: name and version, and how it runs where that is not the usual way: "litert 2.3.0",
    "litert 2.3.0 (Interpreter)", "litert 2.3.0 (edgetpu)". stateful: it keeps a state between runs, so that each
    connection needs an interpreter of its own. signatures: by key, the first first; "", which stands last, is the first
    one's other name.
    """

    @property
    def engine(self) -> str: ...

    @property
    def stateful(self) -> bool: ...

    @property
    def signatures(self) -> Mapping[str, Interface]: ...

    def interpreter(self) -> Interpreter:
        """A new one, in its first state. Raises ModelLoadError, MemoryError."""
        ...


class Engine(Protocol):
    """What can load models. It is opened by the host, which never loads one, and used in its children.

    name: as a bundle's `needs.engines` names it. fallback: why it is not the engine it should be; empty where it is.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def fallback(self) -> str: ...

    def address_space_bytes(self, threads: int) -> int:
        """What a load takes of address space beside the model's own memory (measured)."""
        ...

    def load(self, model: bytes, labels: tuple[str, ...], threads: int = 1, delegate: Delegate | None = None) -> Model:
        """Raises ModelLoadError, and IncompatibleError where the delegate is required and cannot be opened. A model
        made to do so can kill the process instead.
        """
        ...
