"""How a live client connection travels between host and workers: the descriptor, and beside it all that was read and
not yet answered, and all that was answered and not yet sent.

The channel is a SOCK_SEQPACKET pair; each message is one JSON object and its descriptors. The connection's state
travels in a memfd, because one message holds at most about 212,000 bytes. `fds` are a connection's: its socket, its
state, and what its client shared.

    host to worker: give {id} +fds, stage {stage}, pace {rest_percent}, understudy {stateful} +fd, ping,
                    drain
    worker to host: welcome {part}, ready {load_us, stateful}, failed {code, reason}, ack {id}, lost {id},
                    closed {id}, back {id} +fds, counters {...}, notes {notes}, pong, hung,
                    drained {counters}

A WELCOME is as long as the model's labels make it, and travels in parts before `ready`.
"""

import array
import errno
import json
import os
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MESSAGE_BYTES = 200_000
PART_BYTES = MESSAGE_BYTES // 3  # of a text in a message, where quotes and backslashes take two bytes
MESSAGE_DESCRIPTORS = 253  # the kernel's SCM_MAX_FD
RETRY_S = 0.002  # after ETOOMANYREFS: too many descriptors on their way
_IN_BYTES = ("unread", "unsent", "window", "farewell")  # fields of State that JSON cannot hold


@dataclass(frozen=True, slots=True)
class State:
    """What belongs to a connection beside its descriptor.

    unread: bytes received and not answered, whole frames first. received_ns: when each of the first whole frames was
    received (monotonic clock, which all processes share). unsent: answers the client has not taken yet. farewell: to be
    sent last, after which the connection is closed; None while it is to go on. greet: WELCOME was not sent yet.

    From the door, for the connection's whole life: uid of the caller; requests_per_s it may ask on all its connections
    to this model, 0: as many as it likes; limit_bytes, the longest body it may send (the door's 0 is the worker's to
    raise to what the model takes; capped: it may not); signature, latest, subscribes and alias as HELLO said.

    told: the release last told in WELCOME or EVENT. window: the samples of a card of kind window. shares: number and
    size in bytes of each shared memory, in the order of their descriptors; next_share: the number of the next. beside:
    where in `unread` lie the last bytes received together with each further descriptor, which no SHARE has claimed yet.
    answered: the id of the newest answer.
    """

    unread: bytes = b""
    unsent: bytes = b""
    received_ns: tuple[int, ...] = ()
    limit_bytes: int = 0
    farewell: bytes | None = None
    greet: bool = False
    uid: int = 0
    requests_per_s: float = 0.0
    capped: bool = False
    signature: str = ""
    latest: bool = False
    subscribes: bool = False
    alias: str = ""
    told: int = 0
    window: bytes = b""
    shares: tuple[tuple[int, int], ...] = ()
    next_share: int = 0
    beside: tuple[int, ...] = ()
    answered: int = 0

    def to_memfd(self) -> int:
        """A new memfd that holds it."""
        head = {name: getattr(self, name) for name in State.__slots__}
        parts: list[bytes | None] = [head.pop(name) for name in _IN_BYTES]
        head["sizes"] = [None if part is None else len(part) for part in parts]
        memfd = os.memfd_create("connection", os.MFD_CLOEXEC)
        view = memoryview(b"".join([json.dumps(head).encode(), b"\n", *(part or b"" for part in parts)]))
        while view:
            view = view[os.write(memfd, view) :]
        return memfd

    @classmethod
    def from_memfd(cls, memfd: int) -> "State":
        size = os.fstat(memfd).st_size
        data = bytearray()
        while len(data) < size:
            data += os.pread(memfd, size - len(data), len(data))
        at = data.index(b"\n") + 1
        head = json.loads(data[:at])
        for name, length in zip(_IN_BYTES, head.pop("sizes"), strict=True):
            head[name] = None if length is None else bytes(data[at : at + length])
            at += length or 0
        head["received_ns"], head["beside"] = tuple(head["received_ns"]), tuple(head["beside"])
        head["shares"] = tuple((number, size_bytes) for number, size_bytes in head["shares"])
        return cls(**head)


@dataclass(frozen=True, slots=True)
class Carried:
    """A connection between two owners. Whoever has it must pass it on or close it."""

    id: int
    connection: int  # the client's socket
    state: int  # memfd of a State
    shares: tuple[int, ...] = ()  # the client's own descriptors
    alias: str = ""  # baseline, trial, or empty

    def close(self) -> None:
        for descriptor in (self.connection, self.state, *self.shares):
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a channel. `lost`: it came with descriptors and the process had no room for them."""

    op: str
    body: dict[str, Any] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    lost: bool = False


class Channel:
    """One end of the pair. The host's end never blocks: what does not fit waits in `unsent`."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._queue: deque[tuple[bytes, tuple[int, ...]]] = deque()

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()
        self._queue.clear()

    @property
    def unsent(self) -> int:
        return len(self._queue)

    def send(self, op: str, body: dict[str, Any] | None = None, descriptors: Sequence[int] = ()) -> bool:
        """Queues, and sends what can be sent now. The descriptors stay the caller's. Returns as flush does."""
        data = json.dumps({"op": op, **(body or {})}, separators=(",", ":")).encode()
        self._queue.append((data, tuple(descriptors)))
        return self.flush()

    def flush(self) -> bool:
        """Whether a later attempt is needed without EPOLLOUT saying so. Raises nothing: a dead peer shows by itself."""
        while self._queue:
            data, descriptors = self._queue[0]
            try:
                socket.send_fds(self._end, [data], descriptors, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno == errno.ETOOMANYREFS:
                    return True
                self._queue.clear()
                return False
            self._queue.popleft()
        return False

    def send_patiently(self, op: str, body: dict[str, Any] | None = None, descriptors: Sequence[int] = ()) -> None:
        """For the blocking end of a worker: returns when everything was sent."""
        self.send(op, body, descriptors)
        while self._queue:
            time.sleep(RETRY_S)
            self.flush()

    def receive(self) -> Message | None:
        """The next message; None where there is none now. Raises EOFError when the other end is gone."""
        # socket.recv_fds drops the flag that says a descriptor was lost.
        room, flags_wanted = socket.CMSG_SPACE(MESSAGE_DESCRIPTORS * 4), socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
        try:
            try:
                data, ancillary, flags, _ = self._end.recvmsg(MESSAGE_BYTES, room, flags_wanted)
            except ConnectionError:
                # Told once, before what the peer had sent when it ended: that is still to be read.
                data, ancillary, flags, _ = self._end.recvmsg(MESSAGE_BYTES, room, flags_wanted)
        except BlockingIOError:
            return None
        except ConnectionError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        descriptors = array.array("i")
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(value[: len(value) - len(value) % descriptors.itemsize])
        body = json.loads(data)
        lost = bool(flags & socket.MSG_CTRUNC)
        return Message(body.pop("op"), body, tuple(descriptors), lost)


def channel_pair() -> tuple[Channel, Channel]:
    """(the host's end, which never blocks; the worker's end, which may while it sends)."""
    host, worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    host.setblocking(False)
    return Channel(host), Channel(worker)
