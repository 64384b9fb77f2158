"""One interpreter of a LiteRT model by the C API: its compiled model, the memory of its tensors, and running it."""

from ctypes import addressof, byref, c_size_t, c_void_p, create_string_buffer
from dataclasses import dataclass

from agent.runtime.engine import Result
from agent.runtime.engines.capi import TO_ERRORS, Layout, Library, Ranked
from agent.runtime.engines.finite import Finite
from littoral.errors import InferenceError
from littoral.tensors import Tensor

ALIGNMENT = 64  # of tensors, as the library demands
MOST_BYTES = 2**30  # of a tensor: what has more was not made for such devices
BEHIND = 64  # readable bytes behind a tensor: the kernels read 16 past the end of an input


@dataclass(frozen=True, slots=True)
class Side:
    """The inputs or the outputs of a signature, and what the library calls their types."""

    tensors: tuple[Tensor, ...]
    types: tuple[Ranked, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """number: its place in the library."""

    number: int
    inputs: Side
    outputs: Side


class Opened:
    """A model as the library sees it: its bytes, from which the weights are read, in an environment of its own."""

    def __init__(self, library: Library, content: bytes) -> None:
        """Raises StatusError, MemoryError."""
        self.library = library
        self.environment = self.handle = c_void_p()
        self._content = content
        self.environment = library.environment()
        self.handle = library.made("LiteRtCreateModelFromBuffer", self.environment, content, len(content))

    def __del__(self) -> None:
        self.library.destroy("Model", self.handle)
        self.library.destroy("Environment", self.environment)


class Compiled:
    """A compiled model: all that one interpreter has of its own."""

    def __init__(self, opened: Opened, threads: int, reporter: int = TO_ERRORS) -> None:
        """Raises StatusError, MemoryError."""
        self.library = library = opened.library
        self.handle = self._options = c_void_p()
        self._opened = opened  # which must outlive it
        self._options = library.options(threads, reporter)
        self.handle = library.made("LiteRtCreateCompiledModel", opened.environment, opened.handle, self._options)

    def output_layouts(self, signature: int, count: int) -> list[Layout]:
        """Allocates the tensors, which is when an operator that does not exist is missed. Raises StatusError."""
        layouts = (Layout * count)()
        self.library.call("LiteRtGetCompiledModelOutputTensorLayouts", self.handle, signature, count, layouts, True)
        return list(layouts)

    def buffer_bytes(self, side: str, signature: int, number: int) -> int:
        needs = self.library.made(f"LiteRtGetCompiledModel{side}BufferRequirements", self.handle, signature, number)
        return self.library.count("LiteRtGetTensorBufferRequirementsBufferSize", needs)

    def __del__(self) -> None:
        self.library.destroy("CompiledModel", self.handle)
        self.library.destroy("Options", self._options)


class LitertInterpreter:
    """Runs a compiled model. Memory for a signature's tensors is made when it is first run; the first's at once."""

    def __init__(self, compiled: Compiled, signatures: dict[str, Signature]) -> None:
        """Raises StatusError, MemoryError."""
        self._compiled = compiled
        self._signatures = signatures
        self._calls = {"": _Call(compiled, signatures[""])}

    def run(self, data: bytes | bytearray | memoryview, signature: str = "") -> Result:
        call = self._calls.get(signature)
        if call is None:
            call = self._calls[signature] = _Call(self._compiled, self._signatures[signature])
        return call.run(data)


class _Call:
    """One signature, ready to run: every argument made beforehand, because a tiny model runs for a microsecond."""

    def __init__(self, compiled: Compiled, signature: Signature) -> None:
        self._compiled = compiled
        self._run = compiled.library.run_compiled_model
        inputs = _Tensors(compiled, "Input", signature.number, signature.inputs)
        outputs = _Tensors(compiled, "Output", signature.number, signature.outputs)
        self._arguments = (
            compiled.handle,
            c_size_t(signature.number),
            c_size_t(len(inputs.handles)),
            inputs.handles,
            c_size_t(len(outputs.handles)),
            outputs.handles,
        )
        self._tensors = (inputs, outputs)  # which own the handles
        self._input_bytes = sum(len(view) for view in inputs.views)
        self._inputs = inputs.views
        self._outputs = outputs.views
        self._finite = Finite(signature.outputs.tensors)

    def run(self, data: bytes | bytearray | memoryview) -> Result:
        if len(data) != self._input_bytes:
            raise InferenceError(f"inputs of {len(data)} bytes; the model takes {self._input_bytes}")
        if len(self._inputs) == 1:
            self._inputs[0][:] = data
        else:
            self._fill(memoryview(data))
        if status := self._run(*self._arguments):
            said = self._compiled.library.errors(self._compiled.handle)
            raise InferenceError(f"the engine could not run the model: {said or f'status {status}'}")
        raw = b"".join(self._outputs)
        return Result(raw, self._finite(raw))

    def _fill(self, data: memoryview) -> None:
        at = 0
        for view in self._inputs:
            view[:] = data[at : at + len(view)]
            at += len(view)


class _Tensors:
    """Memory for one side of a signature. handles: the library's array of them; views: their bytes."""

    def __init__(self, compiled: Compiled, side: str, signature: int, what: Side) -> None:
        self._compiled = compiled  # which must outlive them
        self.handles = (c_void_p * len(what.types))()
        views = []
        for number, (tensor, ranked) in enumerate(zip(what.tensors, what.types, strict=True)):
            size = max(tensor.size_bytes, compiled.buffer_bytes(side, signature, number))
            if size > MOST_BYTES:
                raise MemoryError(f"the tensor {tensor.name!r} has {size} bytes")
            buffer = create_string_buffer(ALIGNMENT + size + BEHIND)
            address = -(-addressof(buffer) // ALIGNMENT) * ALIGNMENT
            self.handles[number] = compiled.library.made(
                "LiteRtCreateTensorBufferFromHostMemory", byref(ranked), address, size, None
            ).value
            start = address - addressof(buffer)
            views.append(memoryview(buffer).cast("B")[start : start + tensor.size_bytes])
        self.views = tuple(views)

    def __del__(self) -> None:
        for handle in self.handles:
            self._compiled.library.destroy("TensorBuffer", c_void_p(handle))
