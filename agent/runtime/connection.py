"""A client connection as its worker holds it: bounded read-ahead, answers in order, unsent output.

It decides nothing about models; the worker asks it for requests and gives it answers.
"""

import select
import socket
import time
from collections import deque
from dataclasses import dataclass

from agent.runtime.handover import State
from littoral import errors
from littoral.wire import query

RECEIVE_BYTES = 256 * 1024  # taken of one connection at a time, so that none holds up the others
READ_AHEAD_BYTES = 1024 * 1024  # of whole requests that wait; beyond it the client has to wait too
UNSENT_BYTES = 1024 * 1024  # a client that leaves more of its answers lying is not read from
OF_CLIENTS = frozenset(
    (query.Kind.INFER, query.Kind.LIST, query.Kind.STATS, query.Kind.REPORT, query.Kind.SHARE, query.Kind.DETECT)
)


@dataclass(frozen=True, slots=True)
class Request:
    frame: query.Frame
    received_ns: int


class Connection:
    """One client. `closed` once the socket is gone."""

    def __init__(self, id: int, sock: socket.socket, state: State, read_ahead: int) -> None:
        self.id = id
        self.socket = sock
        self.closed = False
        self.waits = False  # in the worker's queue of connections that have a request
        self._reader = query.Reader(state.limit_bytes, state.unread)
        self._requests: deque[Request] = deque()
        self._requests_bytes = 0
        self._read_ahead = read_ahead
        self._unsent: deque[memoryview] = deque([memoryview(state.unsent)] if state.unsent else ())
        self._unsent_bytes = len(state.unsent)
        self._farewell = state.farewell
        self._said_farewell = False
        for received_ns in state.received_ns:
            self._take_frame(received_ns)
        self._take_frames()

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def events(self) -> int:
        """What to wait for: room for unsent answers; bytes, unless enough of them wait already."""
        crowded = (
            len(self._requests) >= self._read_ahead
            or self._requests_bytes >= READ_AHEAD_BYTES
            or self._unsent_bytes >= UNSENT_BYTES
        )
        reads = 0 if crowded or self._farewell is not None else select.EPOLLIN
        return reads | (select.EPOLLOUT if self._unsent_bytes else 0)

    @property
    def has_turn(self) -> bool:
        """Whether it has a request, and its client takes its answers."""
        return bool(self._requests) and self._unsent_bytes < UNSENT_BYTES

    def receive(self) -> None:
        """Takes what came, once."""
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if data:
            self._reader.feed(data)
            self._take_frames()
        else:
            self._end_of_stream()

    def next_request(self) -> Request:
        """The oldest request, now the caller's to answer."""
        request = self._requests.popleft()
        self._requests_bytes -= len(request.frame.body)
        self._take_frames()
        return request

    def send(self, parts: list[bytes | memoryview]) -> None:
        """Sends an answer, or keeps of it what the client does not take now."""
        sent = 0
        if not self._unsent:
            try:
                sent = self.socket.sendmsg(parts, (), socket.MSG_NOSIGNAL)
            except BlockingIOError:
                pass
            except OSError:
                self.close()
                return
        for part in parts:
            view = memoryview(part).cast("B")
            if sent < len(view):
                self._unsent.append(view[sent:])
                self._unsent_bytes += len(view) - sent
            sent = max(0, sent - len(view))

    def flush(self) -> None:
        """Sends what is unsent as far as the client takes it."""
        while self._unsent:
            part = self._unsent[0]
            try:
                sent = self.socket.send(part, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            self._unsent_bytes -= sent
            if sent == len(part):
                self._unsent.popleft()
            else:
                self._unsent[0] = part[sent:]

    def settle(self) -> None:
        """After each turn: says farewell when all is answered, and closes when all is sent."""
        if self._farewell is None or self._requests or self.closed:
            return
        if not self._said_farewell:
            self._said_farewell = True
            if self._farewell:
                self.send([self._farewell])
        if not self._unsent:
            self.close()

    def state(self) -> State:
        """All that must travel with the descriptor. Whole frames that wait come first in `unread`."""
        waiting = [query.frame(r.frame.kind, r.frame.body, r.frame.id) for r in self._requests]
        return State(
            unread=b"".join([*waiting, self._reader.pending()]),
            unsent=b"".join(self._unsent),
            received_ns=tuple(r.received_ns for r in self._requests),
            limit_bytes=self._reader.max_body_bytes,
            farewell=b"" if self._said_farewell else self._farewell,
        )

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._requests.clear()
            self._unsent.clear()
            self.socket.close()

    def _take_frames(self) -> None:
        while len(self._requests) < self._read_ahead and self._farewell is None:
            if not self._take_frame(time.monotonic_ns()):
                return

    def _take_frame(self, received_ns: int) -> bool:
        try:
            frame = self._reader.next()
            if frame is None:
                return False
            if frame.kind not in OF_CLIENTS:
                raise errors.ProtocolError(f"{frame.kind.name} is not for a client to send here")
        except (errors.ProtocolError, errors.FrameTooLargeError) as error:
            self._farewell = query.error(error)
            return False
        self._requests.append(Request(frame, received_ns))
        self._requests_bytes += len(frame.body)
        return True

    def _end_of_stream(self) -> None:
        """The client sends no more; it may still take answers."""
        truncated = errors.ProtocolError("the connection ended in the middle of a frame")
        self._farewell = query.error(truncated) if self._reader.pending() else b""
