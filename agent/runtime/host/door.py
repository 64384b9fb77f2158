"""The host's end of the query socket: accepts, reads HELLO, and passes the connection on to its model.

The kernel says who calls; what that user may do is access.py's to know. Connections of mode info stay here: LIST and
STATS are answered by the host itself. So do leases, about which the client says nothing more: their being open is all
there is to them.
"""

import array
import itertools
import socket
import struct
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from agent.runtime.handover import Carried, State
from agent.runtime.host.access import Allowance, Caller
from agent.runtime.host.loop import READ, WRITE, Loop, Timer
from littoral import errors
from littoral.wire import query

RETRY_AFTER_MS = 1_000
SO_PEERGROUPS = 59
MOST_GROUPS = 256  # of a caller, beside its own: what Python lets an option of a socket hold
PAUSE_S = 0.1  # in accepting, when there is no descriptor left


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits of the query socket."""

    max_connections: int
    max_connections_per_user: int
    hello_timeout_s: float
    lease_hold_s: float  # 0: no leases are given


class Inside(Protocol):
    """What the door leads to."""

    def admit(self, caller: Caller, model: str) -> Allowance:
        """What the caller may ask of the model. Raises UnknownModelError, NoReleaseError, AccessDeniedError."""
        ...

    def take(self, model: str, carried: Carried) -> None: ...

    def leased(self, model: str, change: int) -> None:
        """A client holds one lease more on the model (1), or one less (-1)."""
        ...

    def list_json(self) -> dict[str, Any]: ...

    def stats_json(self, caller: Caller) -> dict[str, Any]: ...

    def greeting_json(self) -> dict[str, Any]: ...


class _Entrant:
    """A connection that the host still reads itself: before HELLO, or of mode info or lease."""

    def __init__(self, id: int, sock: socket.socket, caller: Caller) -> None:
        self.id = id
        self.socket = sock
        self.caller = caller
        self.reader = query.Reader(query.MAX_HELLO_BYTES)
        self.unsent = b""  # of the answer to the last frame
        self.informed = False  # said HELLO with mode info
        self.leased = ""  # the model that it holds a lease on
        self.timer: Timer | None = None


class Door:
    """Everything between accept and the model. `ids` of open connections are counted until `forget`."""

    def __init__(self, loop: Loop, listener: socket.socket, settings: Settings, inside: Inside) -> None:
        self._loop = loop
        self._listener = listener
        self._settings = settings
        self._inside = inside
        self._ids = itertools.count(1)
        self._open: dict[int, int] = {}  # the user of each
        self._of_user: Counter[int] = Counter()
        loop.watch(listener.fileno(), READ, self._accept)

    @property
    def open_connections(self) -> int:
        return len(self._open)

    def forget(self, connection: int) -> None:
        uid = self._open.pop(connection, None)
        if uid is not None:
            self._of_user[uid] -= 1
            if not self._of_user[uid]:
                del self._of_user[uid]

    def refuse(self, carried: Carried, error: errors.QueryError) -> None:
        """Sends what was unsent and the error, as far as the client takes it, and closes."""
        state = State.from_memfd(carried.state)
        sock = socket.socket(fileno=carried.connection)
        _send_at_once(sock, state.unsent + _frame(error))
        sock.detach()
        carried.close()
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
            try:
                self._let_in(sock)
            except errors.BusyError as error:
                _send_at_once(sock, _frame(error))
                sock.close()

    def _let_in(self, sock: socket.socket) -> None:
        """Raises BusyError."""
        caller, settings = _caller(sock), self._settings
        if len(self._open) >= settings.max_connections:
            raise errors.BusyError(f"{len(self._open)} connections are open, the most there may be")
        if self._of_user[caller.uid] >= settings.max_connections_per_user:
            most = settings.max_connections_per_user
            raise errors.BusyError(f"user {caller.uid} has {most} connections open, the most one user may have")
        entrant = _Entrant(next(self._ids), sock, caller)
        self._open[entrant.id] = caller.uid
        self._of_user[caller.uid] += 1
        entrant.timer = self._loop.call_in(settings.hello_timeout_s, partial(self._silent, entrant))
        self._loop.watch(sock.fileno(), READ, partial(self._on_entrant, entrant))

    def _pause(self) -> None:
        self._loop.unwatch(self._listener.fileno())
        self._loop.call_in(PAUSE_S, lambda: self._loop.watch(self._listener.fileno(), READ, self._accept))

    def _silent(self, entrant: _Entrant) -> None:
        error = errors.HandshakeTimeoutError(f"no HELLO within {self._settings.hello_timeout_s:g} s")
        self._end(entrant, error)

    def _on_entrant(self, entrant: _Entrant, _events: int) -> None:
        """Takes one frame a turn, and none while an answer is unsent: no entrant holds up the others."""
        if entrant.unsent:
            self._flush(entrant)
            return
        try:
            if entrant.leased:
                self._hear_lease(entrant)
                return
            frame = entrant.reader.next()
            if frame is None and self._receive(entrant):
                frame = entrant.reader.next()
            if frame is None:
                return
            if entrant.informed:
                self._inform(entrant, frame)
            else:
                self._enter(entrant, query.parse_hello(frame))
        except errors.QueryError as error:
            self._end(entrant, error)

    def _receive(self, entrant: _Entrant) -> bool:
        """Whether more bytes came. Nothing whole is left of those before, so that more are waited for."""
        self._loop.change(entrant.socket.fileno(), READ)
        try:
            data = entrant.socket.recv(query.MAX_HELLO_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._close(entrant)
            return False
        entrant.reader.feed(data)
        return True

    def _enter(self, entrant: _Entrant, hello: query.Hello) -> None:
        """Passes the connection on, or keeps it: of mode info or lease. Raises QueryError where it can do neither."""
        if hello.mode is query.Mode.INFO:
            self._cancel(entrant)
            entrant.informed = True
            self._send(entrant, query.json_frame(query.Kind.INFO, self._inside.greeting_json()))
            return
        allowance = self._inside.admit(entrant.caller, hello.name)
        if hello.mode is query.Mode.LEASE:
            self._lease(entrant, hello.name)
            return
        state = State(
            unread=entrant.reader.pending(),
            greet=True,
            uid=entrant.caller.uid,
            requests_per_s=allowance.requests_per_s,
            capped=allowance.max_frame_bytes > 0,
            limit_bytes=min(allowance.max_frame_bytes, query.MAX_FRAME_BYTES),
            signature=hello.signature,
            latest=hello.queue is query.Queue.LATEST,
            subscribes=hello.mode is query.Mode.SUBSCRIBE,
            alias=hello.alias,
        )
        try:
            memfd = state.to_memfd()
        except OSError as error:
            raise errors.BusyError(f"the runtime has no descriptor left: {error}") from error
        self._leave(entrant)
        self._inside.take(hello.name, Carried(entrant.id, entrant.socket.detach(), memfd, alias=hello.alias))

    # --- mode info --------------------------------------------------------------------------------------------

    def _inform(self, entrant: _Entrant, frame: query.Frame) -> None:
        if frame.kind is query.Kind.LIST:
            answer = query.json_frame(query.Kind.INFO, self._inside.list_json(), frame.id)
        elif frame.kind is query.Kind.STATS:
            answer = query.json_frame(query.Kind.INFO, self._inside.stats_json(entrant.caller), frame.id)
        elif frame.kind in (query.Kind.INFER, query.Kind.REPORT, query.Kind.SHARE, query.Kind.DETECT):
            refused = errors.UnsupportedError(f"{frame.kind.name} is not served on an info connection")
            answer = query.error(refused, frame.id)
        else:
            raise errors.ProtocolError(f"{frame.kind.name} is not for a client to send here")
        self._send(entrant, answer)

    def _send(self, entrant: _Entrant, data: bytes) -> None:
        entrant.unsent = data
        self._flush(entrant)

    def _flush(self, entrant: _Entrant) -> None:
        """Sends what is unsent, as far as the client takes it. The next turn comes when it takes more."""
        try:
            entrant.unsent = entrant.unsent[entrant.socket.send(entrant.unsent, socket.MSG_NOSIGNAL) :]
        except BlockingIOError:
            pass
        except OSError:
            self._close(entrant)
            return
        self._loop.change(entrant.socket.fileno(), WRITE)

    # --- mode lease -------------------------------------------------------------------------------------------

    def _lease(self, entrant: _Entrant, model: str) -> None:
        """Raises UnsupportedError where none are given."""
        hold_s = self._settings.lease_hold_s
        if not hold_s:
            raise errors.UnsupportedError("no leases are given on this device: lease_hold_s is 0 in agent.toml")
        self._cancel(entrant)
        expired = errors.LeaseExpiredError(f"the lease on {model} was held for {hold_s:g} s, the longest there is")
        entrant.timer = self._loop.call_in(hold_s, partial(self._end, entrant, expired))
        entrant.leased = model
        self._inside.leased(model, 1)  # the agent knows before the client relies on it
        self._send(entrant, query.json_frame(query.Kind.INFO, {"model": model, "hold_s": hold_s}))

    def _hear_lease(self, entrant: _Entrant) -> None:
        """Sees its client end it. Raises ProtocolError for anything that is said."""
        self._receive(entrant)
        if entrant.reader.pending():
            raise errors.ProtocolError("a client says nothing on a connection of mode lease")

    # --- ends -------------------------------------------------------------------------------------------------

    def _end(self, entrant: _Entrant, error: errors.QueryError) -> None:
        _send_at_once(entrant.socket, _frame(error))
        self._close(entrant)

    def _close(self, entrant: _Entrant) -> None:
        if entrant.socket.fileno() >= 0:
            self._leave(entrant)
            entrant.socket.close()
            self.forget(entrant.id)
            if entrant.leased:
                self._inside.leased(entrant.leased, -1)

    def _leave(self, entrant: _Entrant) -> None:
        self._cancel(entrant)
        self._loop.unwatch(entrant.socket.fileno())

    @staticmethod
    def _cancel(entrant: _Entrant) -> None:
        if entrant.timer is not None:
            entrant.timer.cancel()


def _send_at_once(sock: socket.socket, data: bytes) -> None:
    """As far as it is taken without waiting."""
    with suppress(OSError):
        sock.send(data, socket.MSG_NOSIGNAL)


def _frame(error: errors.QueryError) -> bytes:
    facts = {"retry_after_ms": RETRY_AFTER_MS} if isinstance(error, errors.BusyError) else {}
    return query.error(error, **facts)


def _caller(sock: socket.socket) -> Caller:
    """The user at the other end, and all groups of that user, as they were when it connected."""
    credentials = struct.Struct("3i")
    _, uid, gid = credentials.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    groups = array.array("I")
    with suppress(OSError):  # a kernel before 4.13, or more groups than fit: the first one counts
        groups.frombytes(sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, MOST_GROUPS * groups.itemsize))
    return Caller(uid, frozenset((gid, *groups)))
