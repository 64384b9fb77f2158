"""One connected socket: frames out and frames in, each with a time to end by. It knows no model and asks nothing anew.

The socket never blocks; what waits is poll(), for both directions at once, so that a client that sends much and a
runtime that answers much cannot wait for each other.
"""

import math
import os
import select
import socket
import time
from array import array
from collections import deque
from collections.abc import Sequence

from littoral import errors
from littoral.wire import query

DEFAULT_SOCKET = "/run/littoral/query.sock"
RECEIVE_BYTES = 64 * 1024
LAST_WORDS_S = 0.01  # for what the other end said before it stopped to listen
RETRY_FIRST_S = 0.01  # after a connection that could not be made; doubles
RETRY_LAST_S = 0.5


class GoneError(Exception):
    """The other end closed the connection. The client's own affair: it connects anew."""


def default_socket() -> str:
    """LITTORAL_SOCKET, else /run/littoral/query.sock."""
    return os.environ.get("LITTORAL_SOCKET") or DEFAULT_SOCKET


def socket_path(path: str | os.PathLike[str] | None) -> str:
    """The path to connect to. Raises SocketPathError."""
    return query.check_socket_path(os.fspath(path) if path is not None else default_socket())


class Link:
    """Times are of time.monotonic(); infinity waits for ever. Raises UnreachableError where nothing listens."""

    def __init__(self, path: str, deadline: float) -> None:
        self._path = path
        self._reader = query.Reader(query.MAX_FRAME_BYTES)
        self._arrived: deque[query.Frame] = deque()
        self._broken = False  # the other end takes nothing any more
        self._buffer = bytearray(RECEIVE_BYTES)
        self._view = memoryview(self._buffer)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            group = "Join the socket's group (where installed: `sudo usermod -a -G littoral USER`), and log in again."
            remedy = group if isinstance(error, PermissionError) else None
            raise errors.UnreachableError(f"{path}: {error.strerror or error}", remedy=remedy) from error
        self._socket.setblocking(False)
        self._readable, self._both = select.poll(), select.poll()
        self._readable.register(self._socket, select.POLLIN)
        self._both.register(self._socket, select.POLLIN | select.POLLOUT)

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, parts: Sequence[bytes | memoryview], deadline: float, descriptor: int | None = None) -> None:
        """Sends one frame; what arrives meanwhile is kept. Where the other end takes no more, `receive` says so.

        Raises DeadlineError, GoneError, ProtocolError; half a frame may have been sent then: the link is of no use.
        """
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))] if descriptor is not None else []
        todo = list(parts)
        while todo and not self._broken:
            try:
                sent = self._socket.sendmsg(todo, beside, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                if not self._wait(self._both, deadline):
                    raise errors.DeadlineError(f"{self._path}: the request was not taken in time") from None
                self._take()
                continue
            except OSError:
                self._broken = True  # it may have said why before it closed
                return
            beside = []
            todo = _rest(todo, sent)

    def receive(self, deadline: float) -> query.Frame | None:
        """The next frame; None where none came in time. Raises GoneError, ProtocolError."""
        while True:
            if self._arrived:
                return self._arrived.popleft()
            if (frame := self._reader.next()) is not None:
                return frame
            until = min(deadline, time.monotonic() + LAST_WORDS_S) if self._broken else deadline
            if not self._wait(self._readable, until):
                if self._broken:
                    raise GoneError
                return None
            self._take()

    def expect(self, id: int, deadline: float) -> query.Frame:
        """The frame with this id, where nothing else is open. Raises what an ERROR says, DeadlineError, GoneError."""
        while True:
            frame = self.receive(deadline)
            if frame is None:
                raise errors.DeadlineError(f"{self._path}: no answer in time")
            if frame.kind is query.Kind.ERROR:
                raise refusal(frame)
            if frame.id == id and frame.kind is not query.Kind.EVENT:
                return frame

    def _take(self) -> None:
        """Takes what came, once. Raises GoneError."""
        try:
            size = self._socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)
            return
        if not size:
            self._end(None)
            return
        self._reader.feed(self._view[:size])

    def _end(self, error: OSError | None) -> None:
        """Frames that came before the end are still given."""
        while (frame := self._reader.next()) is not None:
            self._arrived.append(frame)
        self._broken = True
        if not self._arrived:
            raise GoneError from error

    @staticmethod
    def _wait(poll: select.poll, until: float) -> bool:
        return bool(poll.poll(None if until == math.inf else max(0.0, until - time.monotonic()) * 1000))


def refusal(frame: query.Frame) -> errors.LittoralError:
    """What an ERROR says; of BUSY also when to come again."""
    error = query.parse_error(frame)
    if isinstance(error, errors.BusyError):
        again_ms = frame.json().get("retry_after_ms")
        error.retry_after_s = again_ms / 1000 if isinstance(again_ms, int) and again_ms > 0 else None
    return error


def _rest(parts: list[bytes | memoryview], sent: int) -> list[bytes | memoryview]:
    """What of the parts is still to be sent."""
    for number, part in enumerate(parts):
        view = memoryview(part).cast("B")
        if sent < len(view):
            return [view[sent:], *parts[number + 1 :]]
        sent -= len(view)
    return []
