"""The host's end of the query socket: accepts, reads HELLO, and passes the connection on to its model.

Connections of mode info stay here: LIST and STATS are answered by the host itself.
"""

import itertools
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from agent.runtime.handover import Carried, State
from agent.runtime.loop import READ, WRITE, Loop, Timer
from littoral import errors
from littoral.wire import query

RETRY_AFTER_MS = 1_000
PAUSE_S = 0.1  # in accepting, when there is no descriptor left


@dataclass(frozen=True, slots=True)
class Settings:
    max_connections: int
    hello_timeout_s: float


class Inside(Protocol):
    """What the door leads to."""

    def take(self, model: str, carried: Carried) -> None:
        """Raises UnknownModelError; the connection is then still the caller's."""
        ...

    def list_json(self) -> dict[str, Any]: ...

    def stats_json(self) -> dict[str, Any]: ...

    def greeting_json(self) -> dict[str, Any]: ...


class _Caller:
    """A connection that the host still reads itself: before HELLO, or of mode info."""

    def __init__(self, id: int, sock: socket.socket) -> None:
        self.id = id
        self.socket = sock
        self.reader = query.Reader(query.MAX_HELLO_BYTES)
        self.unsent = b""  # of the answer to the last frame
        self.informed = False  # said HELLO with mode info
        self.timer: Timer | None = None


class Door:
    """Everything between accept and the model. `ids` of open connections are counted until `forget`."""

    def __init__(self, loop: Loop, listener: socket.socket, settings: Settings, inside: Inside) -> None:
        self._loop = loop
        self._listener = listener
        self._settings = settings
        self._inside = inside
        self._ids = itertools.count(1)
        self._open: set[int] = set()
        loop.watch(listener.fileno(), READ, self._accept)

    @property
    def open_connections(self) -> int:
        return len(self._open)

    def forget(self, connection: int) -> None:
        self._open.discard(connection)

    def refuse(self, carried: Carried, error: errors.QueryError, **facts: Any) -> None:
        """Sends what was unsent and the error, as far as the client takes it, and closes."""
        state = State.from_memfd(carried.state)
        os.close(carried.state)
        with socket.socket(fileno=carried.connection) as sock:
            _send_at_once(sock, state.unsent + query.error(error, **facts))
        self.forget(carried.id)

    def close(self) -> None:
        self._listener.close()

    # --- before HELLO -----------------------------------------------------------------------------------------

    def _accept(self, _events: int) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:
                self._pause()
                return
            sock.setblocking(False)
            if len(self._open) >= self._settings.max_connections:
                busy = errors.BusyError(f"{len(self._open)} connections are open, the most there may be")
                _send_at_once(sock, query.error(busy, retry_after_ms=RETRY_AFTER_MS))
                sock.close()
                continue
            caller = _Caller(next(self._ids), sock)
            self._open.add(caller.id)
            caller.timer = self._loop.call_in(self._settings.hello_timeout_s, partial(self._silent, caller))
            self._loop.watch(sock.fileno(), READ, partial(self._on_caller, caller))

    def _pause(self) -> None:
        self._loop.unwatch(self._listener.fileno())
        self._loop.call_in(PAUSE_S, lambda: self._loop.watch(self._listener.fileno(), READ, self._accept))

    def _silent(self, caller: _Caller) -> None:
        error = errors.HandshakeTimeoutError(f"no HELLO within {self._settings.hello_timeout_s:g} s")
        self._end(caller, error)

    def _on_caller(self, caller: _Caller, _events: int) -> None:
        """Takes one frame a turn, and none while an answer is unsent: no caller holds up the others."""
        if caller.unsent:
            self._flush(caller)
            return
        try:
            frame = caller.reader.next()
            if frame is None and self._receive(caller):
                frame = caller.reader.next()
            if frame is None:
                return
            if caller.informed:
                self._inform(caller, frame)
            else:
                self._enter(caller, query.parse_hello(frame))
        except errors.QueryError as error:
            self._end(caller, error)

    def _receive(self, caller: _Caller) -> bool:
        """Whether more bytes came. Nothing whole is left of those before, so that more are waited for."""
        self._loop.change(caller.socket.fileno(), READ)
        try:
            data = caller.socket.recv(query.MAX_HELLO_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._close(caller)
            return False
        caller.reader.feed(data)
        return True

    def _enter(self, caller: _Caller, hello: query.Hello) -> None:
        """Passes the connection on, or keeps it for mode info. Raises QueryError where it can do neither."""
        if hello.mode is query.Mode.INFO:
            self._cancel(caller)
            caller.informed = True
            self._send(caller, query.json_frame(query.Kind.INFO, self._inside.greeting_json()))
            return
        if "@" in hello.model:
            raise errors.UnsupportedError(f"aliases are not served yet: ask for {hello.model.split('@')[0]} itself")
        try:
            state = State(unread=caller.reader.pending(), greet=True).to_memfd()
        except OSError as error:
            raise errors.BusyError(f"the runtime has no descriptor left: {error}") from error
        self._leave(caller)
        carried = Carried(caller.id, caller.socket.detach(), state)
        try:
            self._inside.take(hello.model, carried)
        except errors.UnknownModelError as error:
            self.refuse(carried, error)

    # --- mode info --------------------------------------------------------------------------------------------

    def _inform(self, caller: _Caller, frame: query.Frame) -> None:
        if frame.kind is query.Kind.LIST:
            answer = query.json_frame(query.Kind.INFO, self._inside.list_json(), frame.id)
        elif frame.kind is query.Kind.STATS:
            answer = query.json_frame(query.Kind.INFO, self._inside.stats_json(), frame.id)
        elif frame.kind in (query.Kind.INFER, query.Kind.REPORT, query.Kind.SHARE, query.Kind.DETECT):
            refused = errors.UnsupportedError(f"{frame.kind.name} is not served on an info connection")
            answer = query.error(refused, frame.id)
        else:
            raise errors.ProtocolError(f"{frame.kind.name} is not for a client to send here")
        self._send(caller, answer)

    def _send(self, caller: _Caller, data: bytes) -> None:
        caller.unsent = data
        self._flush(caller)

    def _flush(self, caller: _Caller) -> None:
        """Sends what is unsent, as far as the client takes it. The next turn comes when it takes more."""
        try:
            caller.unsent = caller.unsent[caller.socket.send(caller.unsent, socket.MSG_NOSIGNAL) :]
        except BlockingIOError:
            pass
        except OSError:
            self._close(caller)
            return
        self._loop.change(caller.socket.fileno(), WRITE)

    # --- ends -------------------------------------------------------------------------------------------------

    def _end(self, caller: _Caller, error: errors.QueryError) -> None:
        _send_at_once(caller.socket, query.error(error))
        self._close(caller)

    def _close(self, caller: _Caller) -> None:
        if caller.socket.fileno() >= 0:
            self._leave(caller)
            caller.socket.close()
            self.forget(caller.id)

    def _leave(self, caller: _Caller) -> None:
        self._cancel(caller)
        self._loop.unwatch(caller.socket.fileno())

    @staticmethod
    def _cancel(caller: _Caller) -> None:
        if caller.timer is not None:
            caller.timer.cancel()


def _send_at_once(sock: socket.socket, data: bytes) -> None:
    """As far as it is taken without waiting."""
    with suppress(OSError):
        sock.send(data, socket.MSG_NOSIGNAL)
