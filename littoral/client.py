"""Ask the models on this device. It needs nothing but Python, and takes numpy arrays where the caller has numpy.

    with Client("person-detect") as client:
        answer = client.infer({"image": pixels})
        print(answer.release, answer.outputs)

A client is one connection, and for one thread. It reconnects by itself when the runtime went away, and asks again
what was not answered. A switch to another release is only seen in `Answer.release`, unless the interface changed.
"""

import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from littoral import errors
from littoral.tensors import Interface, Tensor
from littoral.wire import query

__all__ = ["Answer", "Array", "Client", "default_socket", "dequantize", "models", "quantize", "stats"]

DEFAULT_SOCKET = "/run/littoral/query.sock"
RETRY_FIRST_S = 0.01  # after a connection that could not be made; doubles
RETRY_LAST_S = 0.5
RECEIVE_BYTES = 256 * 1024


@runtime_checkable
class Array(Protocol):
    """What is used of a numpy array."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def tobytes(self) -> bytes: ...


Inputs = bytes | bytearray | memoryview | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    outputs: by tensor name, as bytes, or as numpy arrays where arrays were given; with quantize=True those of quantized
    outputs hold real values. data: all outputs as raw bytes. interface: the one they are to be read with. queued_us and
    invoked_us: microseconds in the runtime's queue and in the engine.
    """

    release: int
    stage: query.Stage
    queued_us: int
    invoked_us: int
    interface: Interface
    data: bytes
    outputs: dict[str, Any]


def default_socket() -> str:
    """LITTORAL_SOCKET, else /run/littoral/query.sock."""
    return os.environ.get("LITTORAL_SOCKET") or DEFAULT_SOCKET


class Client:
    """One connection to one model.

    timeout_s bounds every call, reconnecting included. `name` is told to the runtime, for its operator. The constructor
    connects: UnreachableError, UnknownModelError, NoReleaseError, BusyError.
    """

    def __init__(
        self, model: str, socket: str | os.PathLike[str] | None = None, *, timeout_s: float = 10.0, name: str = ""
    ) -> None:
        self.model = model
        self.timeout_s = timeout_s
        self._path = query.check_socket_path(os.fspath(socket) if socket is not None else default_socket())
        self._hello = query.hello(query.Hello(model, name))
        self._link: _Link | None = None
        self._ids = 0
        self.connections = 0  # made so far: above 1, the runtime or the worker that answered went away
        self.welcome = self._connect(time.monotonic() + timeout_s)

    @property
    def interface(self) -> Interface:
        """What the model takes and gives, as last told."""
        return self.welcome.interface

    @property
    def labels(self) -> tuple[str, ...]:
        return self.welcome.interface.labels

    @property
    def release(self) -> int:
        """The release that said WELCOME, or STALE_INTERFACE. Every Answer names its own."""
        return self.welcome.release

    @property
    def stage(self) -> query.Stage:
        return self.welcome.stage

    def infer(self, inputs: Inputs, *, quantize: bool = False, timeout_s: float | None = None) -> Answer:
        """Asks the model.

        inputs: all inputs as raw bytes, one after the other in the interface's order; or by tensor name bytes or numpy
        arrays, each of exactly the tensor's dtype and shape. With quantize=True arrays hold real values: they are
        quantized for the input, and quantized outputs come back as real float32 values.

        Raises WrongInputsError, WrongSizeError, WrongShapeError or WrongDtypeError before anything is sent;
        StaleInterfaceError where another interface is served now and the inputs cannot be made anew for it (shapes or
        labels changed, or they are not given as real values); DeadlineError, InferenceError, NoReleaseError,
        UnreachableError.
        """
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        made_for = self.interface
        data = encode(inputs, made_for, quantize=quantize)
        backoff_s = RETRY_FIRST_S
        while True:
            try:
                if self._link is None:
                    self.welcome = self._connect(deadline)
                if self.interface.digest != made_for.digest:
                    data = self._made_anew(inputs, made_for, quantize)
                    made_for = self.interface
                frame = self._ask(query.Infer(made_for.digest, data), deadline)
            except (errors.UnreachableError, _GoneError) as error:
                self.close()
                backoff_s = _wait(backoff_s, deadline, error)
                continue
            if frame.kind is query.Kind.ANSWER:
                return self._answer(frame, made_for, wants_arrays(inputs), quantize)
            self._take_error(frame)

    def close(self) -> None:
        """Ends the connection. A later `infer` connects anew."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- one connection ---------------------------------------------------------------------------------------

    def _connect(self, deadline: float) -> query.Welcome:
        link = _Link(self._path, deadline)
        try:
            frame = link.ask([self._hello], 0, deadline)
            if frame.kind is query.Kind.ERROR:
                raise query.parse_error(frame)
            if frame.kind is not query.Kind.WELCOME:
                raise errors.ProtocolError(f"{frame.kind.name} in place of WELCOME")
            welcome = query.parse_welcome(frame.json())
        except _GoneError as error:
            link.close()
            raise errors.UnreachableError(f"{self._path}: the runtime closed the connection") from error
        except BaseException:
            link.close()
            raise
        self._link = link
        return welcome

    def _ask(self, request: query.Infer, deadline: float) -> query.Frame:
        """The ANSWER or ERROR to one INFER. Raises _GoneError, or DeadlineError when the time is over."""
        assert self._link is not None
        self._ids += 1
        left_us = max(1, int((deadline - time.monotonic()) * 1e6))
        parts = query.infer(query.Infer(request.interface, request.data, left_us), self._ids)
        try:
            return self._link.ask(parts, self._ids, deadline)
        except BaseException as error:
            if not isinstance(error, _GoneError):
                self.close()  # half of a frame may have been sent, or the answer may still come
            raise

    def _take_error(self, frame: query.Frame) -> None:
        """Learns the new interface from STALE_INTERFACE; raises what any other ERROR says."""
        if frame.kind is not query.Kind.ERROR:
            self.close()
            raise errors.ProtocolError(f"{frame.kind.name} in place of ANSWER")
        error = query.parse_error(frame)
        if frame.id == 0:
            self.close()  # it is about the connection
        if not isinstance(error, errors.StaleInterfaceError):
            raise error
        self.welcome = query.parse_welcome(dict(frame.json().get("welcome") or {}))

    def _made_anew(self, inputs: Inputs, before: Interface, quantize: bool) -> bytes | memoryview:
        """The same inputs for the interface now served. Raises StaleInterfaceError where they may not be."""
        now = self.interface
        same_to_apps = now.shapes() == before.shapes() and now.labels == before.labels
        if same_to_apps and quantize and wants_arrays(inputs):
            return encode(inputs, now, quantize=True)
        what = "its quantization" if same_to_apps else "shapes or labels"
        error = errors.StaleInterfaceError(f"release {self.welcome.release} of {self.model} changed {what}")
        error.interface = now
        raise error

    def _answer(self, frame: query.Frame, interface: Interface, arrays: bool, quantize: bool) -> Answer:
        answer = query.parse_answer(frame)
        if len(answer.data) != interface.output_bytes:
            self.close()
            raise errors.ProtocolError(f"{len(answer.data)} bytes of outputs, not {interface.output_bytes}")
        data = bytes(answer.data)
        outputs = decode(data, interface, arrays=arrays, real=arrays and quantize)
        return Answer(answer.release, answer.stage, answer.queued_us, answer.invoked_us, interface, data, outputs)


class _GoneError(Exception):
    """The other end closed the connection before it answered."""


class _Link:
    """A connected socket with a deadline for every wait."""

    def __init__(self, path: str, deadline: float) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._reader = query.Reader(query.MAX_FRAME_BYTES)
        try:
            self._socket.settimeout(_left(deadline))
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise errors.UnreachableError(f"{path}: {error.strerror or error}") from error

    def close(self) -> None:
        self._socket.close()

    def ask(self, parts: list[bytes | memoryview] | list[bytes], id: int, deadline: float) -> query.Frame:
        """Sends a frame and waits for the one with its id, or an ERROR about the connection."""
        broken = False
        try:
            for part in parts:
                self._socket.settimeout(_left(deadline))
                self._socket.sendall(part)
        except TimeoutError as error:
            raise errors.DeadlineError(f"{self._path}: the request was not taken in time") from error
        except OSError:
            broken = True  # it may have said why before it closed
        while True:
            frame = self._next(deadline, broken)
            if frame.kind is query.Kind.EVENT:
                continue
            if frame.id == id or (frame.kind is query.Kind.ERROR and frame.id == 0):
                return frame

    def _next(self, deadline: float, broken: bool) -> query.Frame:
        while (frame := self._reader.next()) is None:
            try:
                self._socket.settimeout(0.01 if broken else _left(deadline))
                data = self._socket.recv(RECEIVE_BYTES)
            except TimeoutError as error:
                if broken:
                    raise _GoneError from error
                raise errors.DeadlineError(f"{self._path}: no answer in time") from error
            except OSError as error:
                raise _GoneError from error
            if not data:
                raise _GoneError
            self._reader.feed(data)
        return frame


def _left(deadline: float) -> float:
    """Seconds to the deadline, never 0: that would mean not to wait at all."""
    return max(0.001, deadline - time.monotonic())


def _wait(backoff_s: float, deadline: float, error: Exception) -> float:
    """Waits before the next attempt. Raises UnreachableError where there is no time for one."""
    if time.monotonic() + backoff_s >= deadline:
        if isinstance(error, errors.UnreachableError):
            raise error
        raise errors.UnreachableError("the runtime went away and did not come back in time") from error
    time.sleep(backoff_s)
    return min(RETRY_LAST_S, backoff_s * 2)


# --- tensors ----------------------------------------------------------------------------------------------------


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


# --- info connections -------------------------------------------------------------------------------------------


def models(socket: str | os.PathLike[str] | None = None, *, timeout_s: float = 10.0) -> list[dict[str, Any]]:
    """What this device serves, by name: docs/protocol.md lists the fields of LIST. Raises UnreachableError."""
    found = _info(query.Kind.LIST, socket, timeout_s)["models"]
    return list(found)


def stats(socket: str | os.PathLike[str] | None = None, *, timeout_s: float = 10.0) -> dict[str, dict[str, Any]]:
    """Counters of every model that is served, up to a second old. Raises UnreachableError."""
    return dict(_info(query.Kind.STATS, socket, timeout_s)["models"])


def _info(kind: query.Kind, socket: str | os.PathLike[str] | None, timeout_s: float) -> dict[str, Any]:
    path = query.check_socket_path(os.fspath(socket) if socket is not None else default_socket())
    deadline = time.monotonic() + timeout_s
    link = _Link(path, deadline)
    try:
        hello = query.hello(query.Hello("", mode=query.Mode.INFO))
        for id, sent in ((0, hello), (1, query.json_frame(kind, {}, 1))):
            frame = link.ask([sent], id, deadline)
            if frame.kind is query.Kind.ERROR:
                raise query.parse_error(frame)
        return frame.json()
    except _GoneError as error:
        raise errors.UnreachableError(f"{path}: the runtime closed the connection") from error
    finally:
        link.close()
