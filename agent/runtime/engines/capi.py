"""The C API of LiteRT's library, as ctypes has to be told: structures, argument types, and what a status means.

It holds for the versions in VERSIONS. The API is not promised to stay: another version can abort the process.
"""

import ctypes
from ctypes import POINTER, Structure, byref, c_bool, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32
from ctypes import c_void_p as handle
from pathlib import Path

VERSIONS = ("2.3.0",)
SYMBOL = "LiteRtCreateModelFromFd"  # every version without it has another binary interface
MAX_RANK = 8
TO_STDERR, TO_ERRORS = 0, 2
CPU = 1  # of the accelerators
NO_MEMORY, UNSUPPORTED = 2, 5
STATUS = {
    1: "invalid argument",
    NO_MEMORY: "out of memory",
    3: "runtime failure",
    UNSUPPORTED: "unsupported",
    6: "not found",
    500: "file operation failed",
    501: "not a valid flatbuffer",
    502: "dynamic loading failed",
    504: "compilation failed",
    1000: "index out of range",
}
_OPTION_ACCELERATORS, _OPTION_LOG_SEVERITY = 24, 25
_INT = 2  # type tag of an option's value
_SILENT = 4


class Layout(Structure):
    """A shape. `head` holds the rank in its lower seven bits."""

    _fields_ = (("head", c_uint32), ("dims", c_int32 * MAX_RANK), ("strides", c_uint32 * MAX_RANK))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.dims[: min(self.head & 0x7F, MAX_RANK)])

    @shape.setter
    def shape(self, sizes: tuple[int, ...]) -> None:
        self.head = len(sizes)
        self.dims = (c_int32 * MAX_RANK)(*sizes)


class Ranked(Structure):
    """A dtype and a shape."""

    _fields_ = (("element_type", c_int), ("layout", Layout))


class _Option(Structure):
    _fields_ = (("tag", c_int), ("pad", c_int), ("type", c_int), ("pad2", c_int), ("value", c_int64))


_FUNCTIONS = {
    "LiteRtCreateEnvironment": (c_int, POINTER(_Option), POINTER(handle)),
    "LiteRtCreateModelFromBuffer": (handle, handle, c_size_t, POINTER(handle)),
    "LiteRtGetNumModelSignatures": (handle, POINTER(c_size_t)),
    "LiteRtGetModelSignature": (handle, c_size_t, POINTER(handle)),
    "LiteRtGetNumSignatureInputs": (handle, POINTER(c_size_t)),
    "LiteRtGetNumSignatureOutputs": (handle, POINTER(c_size_t)),
    "LiteRtGetSignatureInputTensorByIndex": (handle, c_size_t, POINTER(handle)),
    "LiteRtGetSignatureOutputTensorByIndex": (handle, c_size_t, POINTER(handle)),
    "LiteRtGetTensorIndex": (handle, POINTER(c_uint32)),
    "LiteRtGetRankedTensorType": (handle, POINTER(Ranked)),
    "LiteRtCreateOptions": (POINTER(handle),),
    "LiteRtSetOptionsHardwareAccelerators": (handle, c_int),
    "LiteRtCreateOpaqueOptions": (c_char_p, handle, handle, POINTER(handle)),
    "LiteRtAddOpaqueOptions": (handle, handle),
    "LiteRtCreateCompiledModel": (handle, handle, handle, POINTER(handle)),
    "LiteRtGetCompiledModelOutputTensorLayouts": (handle, c_size_t, c_size_t, POINTER(Layout), c_bool),
    "LiteRtGetCompiledModelInputBufferRequirements": (handle, c_size_t, c_size_t, POINTER(handle)),
    "LiteRtGetCompiledModelOutputBufferRequirements": (handle, c_size_t, c_size_t, POINTER(handle)),
    "LiteRtGetTensorBufferRequirementsBufferSize": (handle, POINTER(c_size_t)),
    "LiteRtCreateTensorBufferFromHostMemory": (POINTER(Ranked), handle, c_size_t, handle, POINTER(handle)),
    "LiteRtRunCompiledModel": (handle, c_size_t, c_size_t, POINTER(handle), c_size_t, POINTER(handle)),
    "LiteRtCompiledModelGetErrorMessages": (handle, POINTER(handle)),
    "LiteRtCompiledModelClearErrors": (handle,),
}
_DESTROYERS = (
    "LiteRtDestroyTensorBuffer",
    "LiteRtDestroyCompiledModel",
    "LiteRtDestroyOptions",
    "LiteRtDestroyModel",
    "LiteRtDestroyEnvironment",
)


class StatusError(Exception):
    """A call that did not succeed."""

    def __init__(self, function: str, status: int) -> None:
        super().__init__(f"{function.removeprefix('LiteRt')}: {STATUS.get(status, 'failed')} (status {status})")
        self.status = status


class Library:
    """The library, opened. It creates nothing, so that the process which opens it stays fit to fork."""

    def __init__(self, path: Path) -> None:
        """Raises ImportError where this is not a library that the declarations above hold for."""
        try:
            self._library = ctypes.CDLL(str(path))
            getattr(self._library, SYMBOL)
            for name, arguments in _FUNCTIONS.items():
                getattr(self._library, name).argtypes = arguments
            for name in _DESTROYERS:
                function = getattr(self._library, name)
                function.argtypes, function.restype = (handle,), None
        except (OSError, AttributeError) as error:
            raise ImportError(str(error)) from error
        self.run_compiled_model = self._library.LiteRtRunCompiledModel
        self._c = ctypes.CDLL(None)
        self._c.strdup.argtypes, self._c.strdup.restype = (c_char_p,), handle
        self._c.free.argtypes, self._c.free.restype = (handle,), None

    def call(self, function: str, *arguments: object) -> None:
        """Raises StatusError, or MemoryError."""
        status = getattr(self._library, function)(*arguments)
        if status == NO_MEMORY:
            raise MemoryError(f"{function}: {STATUS[status]}")
        if status:
            raise StatusError(function, status)

    def made(self, function: str, *arguments: object) -> handle:
        """The handle that the function gives by its last argument."""
        found = handle()
        self.call(function, *arguments, byref(found))
        return found

    def count(self, function: str, *arguments: object) -> int:
        found = c_size_t()
        self.call(function, *arguments, byref(found))
        return found.value

    def destroy(self, what: str, made: handle) -> None:
        if made.value:
            getattr(self._library, f"LiteRtDestroy{what}")(made)

    def environment(self) -> handle:
        """One that looks for no accelerator and writes nothing."""
        options = (_Option * 2)(
            _Option(tag=_OPTION_ACCELERATORS, type=_INT, value=CPU),
            _Option(tag=_OPTION_LOG_SEVERITY, type=_INT, value=_SILENT),
        )
        return self.made("LiteRtCreateEnvironment", len(options), options)

    def options(self, threads: int, reporter: int) -> handle:
        """For compiling on the CPU. reporter: where it says what failed, TO_STDERR or TO_ERRORS."""
        options = self.made("LiteRtCreateOptions")
        self.call("LiteRtSetOptionsHardwareAccelerators", options, CPU)
        for identifier, payload in (
            (b"xnnpack", f"num_threads = {threads}\n"),
            (b"runtime_options_string", f"error_reporter_mode = {reporter}\n"),
        ):
            text = self._c.strdup(payload.encode())
            opaque = self.made("LiteRtCreateOpaqueOptions", identifier, text, ctypes.cast(self._c.free, handle))
            self.call("LiteRtAddOpaqueOptions", options, opaque)
        return options

    def errors(self, compiled: handle) -> str:
        """What a compiled model that reports TO_ERRORS said since the last time."""
        text = handle()
        if self._library.LiteRtCompiledModelGetErrorMessages(compiled, byref(text)) or not text.value:
            return ""
        said = ctypes.string_at(text.value).decode(errors="replace")
        self._c.free(text)
        self._library.LiteRtCompiledModelClearErrors(compiled)
        return said.strip()
