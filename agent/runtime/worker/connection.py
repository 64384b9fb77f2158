"""A client connection as its worker holds it: what came (its inbox), what it shares, and what it did not take yet.

Answers keep the order of the requests. It decides nothing about models; the worker asks it for requests and gives it
answers.
"""

import select
import socket
from collections import deque
from dataclasses import dataclass, replace

from agent.runtime.engine import Interpreter
from agent.runtime.handover import State
from agent.runtime.worker.inbox import Backlog, Inbox, Request
from agent.runtime.worker.shares import Shares
from agent.runtime.worker.signature import Signature
from littoral import errors
from littoral.wire import query

UNSENT_BYTES = 1024 * 1024  # a client that leaves more of its answers lying is not read from
_NO_SIGNAL = int(socket.MSG_NOSIGNAL)
JOINED_BYTES = 16_384  # a head and this much are copied together: one buffer costs 0.5 us less to send than two


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one connection may take. read_ahead: requests that wait."""

    read_ahead: int
    max_shares: int
    max_share_bytes: int


class Connection:
    """One client. `closed` once the socket is gone.

    descriptor: of the socket, known after its end too. queued: it waits for its turn. running: a request of it is being
    run by a thread. failing: whether its last request failed in the engine, None before its first. watched: the events
    that are waited for; unsettled: they may have changed. interpreter: its own, of a model that keeps a state.
    answered: the id of the newest answer.
    """

    def __init__(
        self,
        id: int,
        state: State,
        descriptors: tuple[int, ...],
        signature: Signature,
        allowance: Allowance,
        backlog: Backlog,
    ) -> None:
        """Takes over the descriptors: of the socket, and of what its client shared. Raises OSError where this process
        has no room for that; they are then still the caller's.
        """
        self.id = id
        self.descriptor, *passed = descriptors
        self.signature = signature
        self.window = state.window
        self.shares = Shares(allowance.max_shares, allowance.max_share_bytes)
        shared, beside = passed[: len(state.shares)], passed[len(state.shares) :]
        self.shares.adopt(shared, state.shares, state.next_share)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, self.descriptor)
        self.socket.setblocking(False)
        self.inbox = Inbox(state.limit_bytes, signature.frame_bytes, allowance.read_ahead, state.latest, backlog)
        self.interpreter: Interpreter | None = None
        self.closed = self.queued = self.running = False
        self.failing: bool | None = None
        self.unsettled = True
        self.watched = 0
        self.uid = state.uid
        self.alias = state.alias
        self.requests_per_s = state.requests_per_s
        self.subscribes = state.subscribes
        self.answered = state.answered
        within_limit = signature.frame_bytes <= state.limit_bytes
        self.plain = within_limit and not state.subscribes and not state.requests_per_s
        self._carried = state
        self._unsent: deque[memoryview] = deque([memoryview(state.unsent)] if state.unsent else ())
        self._unsent_bytes = len(state.unsent)
        self._dropped = 0  # results that this subscriber did not take
        self._farewell = state.farewell
        self._said_farewell = False
        self._ended = False  # the client sends no more
        self.inbox.adopt(state.unread, state.received_ns, tuple(zip(state.beside, beside, strict=True)))
        self.scan()

    @property
    def events(self) -> int:
        """What to wait for: room for unsent answers; bytes, unless enough of them wait already."""
        crowded = self._unsent_bytes >= UNSENT_BYTES or self._farewell is not None or self.inbox.crowded
        return (0 if crowded else select.EPOLLIN) | (select.EPOLLOUT if self._unsent_bytes else 0)

    @property
    def has_turn(self) -> bool:
        """Whether it has a request to be run now, and its client takes its answers."""
        return bool(self.inbox.requests) and self._unsent_bytes < UNSENT_BYTES and not self.running

    def obey(self, events: int) -> None:
        """Does what epoll says can be done."""
        if events & (select.EPOLLHUP | select.EPOLLERR):
            self.close()
        if events & select.EPOLLOUT and not self.closed:
            self.flush()
        if events & select.EPOLLIN and not self.closed:
            self.receive()
            self.scan()

    def receive(self) -> None:
        """Takes what came, once; `scan` then finds the requests in it."""
        try:
            going_on = self.inbox.receive(self.socket)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not going_on:
            self._ended = self.unsettled = True

    def scan(self) -> None:
        """Finds the whole requests in what came, and sees how it goes on."""
        inbox = self.inbox
        inbox.scan()
        if inbox.broken is not None:
            self._bid_farewell(query.error(inbox.broken))
        elif self._ended:
            truncated = errors.ProtocolError("the connection ended in the middle of a frame")
            self._bid_farewell(query.error(truncated) if inbox.pending else b"")
        elif inbox.requests and inbox.crowded:
            self.unsettled = True

    def next_request(self) -> Request:
        """The oldest request, now the caller's to answer."""
        request = self.inbox.take()
        if self.watched != select.EPOLLIN:  # what was not looked at yet, and it may be time to read again
            self.scan()
            self.unsettled = True
        return request

    def send(self, head: bytes, data: bytes | memoryview = b"") -> None:
        """Sends an answer, or keeps of it what the client does not take now. `data` must not change afterwards."""
        if not self._unsent:
            if len(data) <= JOINED_BYTES:
                head, data = head + data, b""
            try:
                if data:
                    sent = self.socket.sendmsg((head, data), (), _NO_SIGNAL)
                else:
                    sent = self.socket.send(head, _NO_SIGNAL)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close()
                return
            if sent == len(head) + len(data):
                return
            data = memoryview(data)[max(0, sent - len(head)) :]
            head = head[sent:]
        for part in (head, data):
            if len(part):
                self._unsent.append(memoryview(part))
                self._unsent_bytes += len(part)
        self.unsettled = True

    def offer(self, head: bytes, data: bytes | memoryview) -> None:
        """Sends a copy of another client's result, or drops it where this one has not taken enough of those before."""
        if self._unsent_bytes > UNSENT_BYTES:
            self._dropped += 1
            return
        self._tell_dropped()
        if not self.closed:
            self.send(head, data)

    def flush(self) -> None:
        """Sends what is unsent as far as the client takes it."""
        self.unsettled = True
        while self._unsent:
            part = self._unsent[0]
            try:
                sent = self.socket.send(part, _NO_SIGNAL)
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
        self.unsettled = False
        if self._farewell is None or self.inbox.requests or self.running or self.closed:
            return
        if not self._said_farewell:
            self._said_farewell = True
            if self._farewell:
                self.send(self._farewell)
        if not self._unsent:
            self.close()

    def end(self, error: errors.QueryError) -> None:
        """Whatever else the client sent is not looked at: the error is the last it is told."""
        self.inbox.close()
        self._bid_farewell(query.error(error))

    def state(self) -> tuple[State, tuple[int, ...]]:
        """All that must travel with the socket, and the descriptors that do. They stay this connection's."""
        self._tell_dropped()
        beside = self.inbox.beside()
        state = replace(
            self._carried,
            unread=self.inbox.unread(),
            received_ns=self.inbox.received_ns(),
            unsent=b"".join(self._unsent),
            farewell=b"" if self._said_farewell else self._farewell,
            greet=False,
            window=self.window,
            shares=self.shares.named(),
            next_share=self.shares.next,
            beside=tuple(at for at, _ in beside),
            answered=self.answered,
        )
        return state, (*self.shares.descriptors(), *(descriptor for _, descriptor in beside))

    def close(self) -> None:
        if not self.closed:
            self.closed = self.unsettled = True
            self._unsent.clear()
            self.inbox.close()
            self.shares.close()
            self.socket.close()

    def _bid_farewell(self, farewell: bytes) -> None:
        self.unsettled = True
        if self._farewell is None:
            self._farewell = farewell

    def _tell_dropped(self) -> None:
        if self._dropped:
            event = query.json_frame(query.Kind.EVENT, {"event": "dropped", "count": self._dropped})
            self._dropped = 0
            self.send(event)
