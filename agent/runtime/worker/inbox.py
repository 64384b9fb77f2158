"""What came of one client and was not answered yet: one buffer, and the whole requests in it, oldest first.

A request is looked at where it was received; nothing of it is copied. The buffer grows with what the client really
sends, and shrinks back when the client rests. Bytes of a request that is being run stay untouched until it is done.
"""

import array
import os
import socket
import time
from collections import deque

from littoral import errors
from littoral.wire import query

READ_AHEAD_BYTES = 1024 * 1024  # of whole requests that wait; beyond it the client has to wait too
REST_BYTES = 4_096  # of buffer for a client that sends nothing
ANCILLARY_BYTES = socket.CMSG_SPACE(4)  # one descriptor; the kernel closes what does not fit
_CLOSE_ON_EXEC = int(socket.MSG_CMSG_CLOEXEC)
MOST_DESCRIPTORS = 8  # of one client, that wait for their SHARE to be answered
OF_CLIENTS = frozenset(
    (query.Kind.INFER, query.Kind.LIST, query.Kind.STATS, query.Kind.REPORT, query.Kind.SHARE, query.Kind.DETECT)
)
_TO_RUN = (query.Kind.INFER, query.Kind.DETECT)
_HEADER = query.HEADER.size


class Request:
    """One whole frame: its body is bytes `at` to `end` of the buffer. `refusal`: it waits only for its turn to be
    answered so, and its bytes may be gone. `descriptor`: came beside a SHARE.
    """

    __slots__ = ("at", "descriptor", "end", "id", "kind", "received_ns", "refusal")

    def __init__(self, kind: int, id: int, at: int, end: int, received_ns: int) -> None:
        self.kind = kind
        self.id = id
        self.at = at
        self.end = end
        self.received_ns = received_ns
        self.refusal: type[errors.QueryError] | None = None
        self.descriptor: int | None = None


class Backlog:
    """How many bytes of whole requests wait in this worker, of all connections, and how many may. received: requests
    to be run that came so far.
    """

    __slots__ = ("most_bytes", "received", "waiting_bytes")

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.waiting_bytes = 0
        self.received = 0


class Inbox:
    """`broken`: why what came after the requests cannot be read. `held`: a request of it is being run.

    `buffer`, and the same as `view`: bytes up to `end` were received; those up to `scanned` are in `requests`, or done.
    `descriptors`: of those that no SHARE has claimed yet (end of the bytes it came with, descriptor).

    usual_bytes: of a frame, as the model takes it. latest: of requests to run that wait only the newest is kept.
    """

    def __init__(self, limit_bytes: int, usual_bytes: int, read_ahead: int, latest: bool, backlog: Backlog) -> None:
        self.limit_bytes = limit_bytes
        self.requests: deque[Request] = deque()
        self.broken: errors.QueryError | None = None
        self.held = False
        self._usual_bytes = usual_bytes
        self._read_ahead = read_ahead
        self._latest = latest
        self._backlog = backlog
        self.descriptors: deque[tuple[int, int]] = deque()
        self.end = 0
        self.scanned = 0
        self._rested = True
        self.buffer = bytearray(REST_BYTES)
        self.view = memoryview(self.buffer)

    def adopt(self, unread: bytes, received_ns: tuple[int, ...], beside: tuple[tuple[int, int], ...]) -> None:
        """Takes over what another process has read; the first frames were received then, and are not refused now."""
        self.descriptors.extend(beside)
        if len(unread) > len(self.buffer):
            self.buffer = bytearray(len(unread) + self._usual_bytes)
            self.view = memoryview(self.buffer)
        self.view[: len(unread)] = unread
        self.end = len(unread)
        for then_ns in received_ns:
            self._scan(then_ns, len(self.requests) + 1, adopted=True)

    @property
    def crowded(self) -> bool:
        """Whether so much waits that the client has to wait too."""
        return len(self.requests) >= self._read_ahead or (
            self.scanned >= READ_AHEAD_BYTES and self.scanned - self._start >= READ_AHEAD_BYTES
        )

    def limit(self, read_ahead: int) -> None:
        """From now on reads so many requests ahead, unless only the newest is kept anyway."""
        if not self._latest:
            self._read_ahead = read_ahead

    def receive(self, sock: socket.socket) -> bool:
        """Takes what came, once, to be scanned; False at the end of the stream. Raises BlockingIOError, OSError."""
        if not self.requests and self.scanned == self.end and not self.held:
            self.scanned = self.end = 0
        elif self.end == len(self.buffer):
            self._make_room()
        room = self.view[self.end :] if self.end else self.view
        # A plain recv would close a descriptor that came along, in silence. This costs 0.4 us more.
        count, ancillary, _, _ = sock.recvmsg_into((room,), ANCILLARY_BYTES, _CLOSE_ON_EXEC)
        self.end += count
        if ancillary:
            self._keep_descriptors(ancillary)
        self._rested = False
        return count > 0

    def scan(self) -> None:
        """Finds the whole requests in what was received."""
        self._scan(time.monotonic_ns(), self._read_ahead)

    def take(self) -> Request:
        """The oldest request, now the caller's to answer."""
        request = self.requests.popleft()
        if request.refusal is None:
            self._backlog.waiting_bytes -= request.end - request.at
        return request

    def body(self, request: Request) -> memoryview:
        """Where it was received: it is overwritten after the next take, unless `held`."""
        return self.view[request.at : request.end]

    def forsake(self) -> None:
        """Who still runs on a request of it may do so for as long as he likes: the buffer is his."""
        self._replace_buffer(len(self.buffer), self._start)

    def rest(self) -> bool:
        """Whether it takes little memory, or does so from now on because nothing came since it was asked last."""
        if self._rested and self.end == self.scanned and not self.requests and not self.held:
            if len(self.buffer) > REST_BYTES:
                self.end = self.scanned = 0
                self._replace_buffer(REST_BYTES, 0)
            return True
        self._rested = True
        return len(self.buffer) == REST_BYTES

    def unread(self) -> bytes:
        """All that was read and not answered, whole requests first."""
        return bytes(self.view[self._start : self.end])

    def received_ns(self) -> tuple[int, ...]:
        """When each whole request in `unread` was received."""
        return tuple(request.received_ns for request in self.requests if request.at > self._start)

    def beside(self) -> tuple[tuple[int, int], ...]:
        """Descriptors that travel with `unread`: (end of the bytes in it that it came with, descriptor)."""
        start = self._start
        claimed = [(r.end - start, r.descriptor) for r in self.requests if r.descriptor is not None]
        return (*claimed, *((at - start, descriptor) for at, descriptor in self.descriptors))

    @property
    def pending(self) -> bool:
        """Whether a part of a frame is there."""
        return self.scanned < self.end

    def close(self) -> None:
        for request in self.requests:
            if request.refusal is None:
                self._backlog.waiting_bytes -= request.end - request.at
        for _, descriptor in self.beside():
            os.close(descriptor)
        self.requests.clear()
        self.descriptors.clear()

    # --- frames -----------------------------------------------------------------------------------------------

    def _scan(self, now_ns: int, most: int, adopted: bool = False) -> None:
        at, end = self.scanned, self.end
        while len(self.requests) < most and self.broken is None:
            if end - at < _HEADER:
                if at < end and not query.MAGIC.startswith(self.buffer[at : at + 2][: end - at]):
                    self.broken = self._why(at)
                break
            magic, version, kind, length, id = query.HEADER.unpack_from(self.buffer, at)
            if magic != query.MAGIC or version != query.VERSION or kind not in OF_CLIENTS or length > self.limit_bytes:
                self.broken = self._why(at)
                break
            stop = at + _HEADER + length
            if stop > end:
                break
            self._add(Request(kind, id, at + _HEADER, stop, now_ns), adopted)
            self.scanned = at = stop

    def _why(self, at: int) -> errors.QueryError:
        reader = query.Reader(self.limit_bytes, bytes(self.view[at : min(self.end, at + _HEADER)]))
        try:
            frame = reader.next()
        except errors.QueryError as error:
            return error
        kind = query.Kind(self.buffer[at + 3]) if frame is None else frame.kind
        return errors.ProtocolError(f"{kind.name} is not for a client to send here")

    def _add(self, request: Request, adopted: bool) -> None:
        size_bytes = request.end - request.at
        backlog = self._backlog
        to_run = request.kind in _TO_RUN
        backlog.received += to_run
        if self._latest and to_run:
            self._displace()
        elif self.requests and not adopted and backlog.waiting_bytes + size_bytes > backlog.most_bytes:
            # A client with nothing else waiting is never refused, so that a greedy one does not cost it its turn.
            request.refusal = errors.BusyError
        if request.refusal is None:
            backlog.waiting_bytes += size_bytes
        if self.descriptors:
            self._claim(request)
        self.requests.append(request)

    def _displace(self) -> None:
        """The one that waits to be run, if any, is answered in its turn without having been run."""
        for request in reversed(self.requests):
            if request.refusal is None and request.kind in _TO_RUN:
                request.refusal = errors.ReplacedError
                self._backlog.waiting_bytes -= request.end - request.at
                return

    def _claim(self, request: Request) -> None:
        """Gives a SHARE the descriptor that came with its bytes; closes what came with anything else."""
        while self.descriptors and self.descriptors[0][0] <= request.end:
            _, descriptor = self.descriptors.popleft()
            if request.kind == query.Kind.SHARE and request.descriptor is None and request.refusal is None:
                request.descriptor = descriptor
            else:
                os.close(descriptor)

    def _keep_descriptors(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        """The kernel ends a read with the bytes that descriptors came with, so they belong to the frame of the last."""
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                for descriptor in array.array("i", data[: len(data) - len(data) % 4]):
                    if len(self.beside()) < MOST_DESCRIPTORS:
                        self.descriptors.append((self.end, descriptor))
                    else:
                        os.close(descriptor)

    # --- the buffer -------------------------------------------------------------------------------------------

    @property
    def _start(self) -> int:
        """Where the bytes begin that are still needed."""
        for request in self.requests:
            if request.refusal is None:
                return request.at - _HEADER
        return self.scanned

    def _make_room(self) -> None:
        start = self._start
        used = self.end - start
        size = len(self.buffer)
        if used > size // 2:
            size = max(2 * size, self._usual_bytes)
        if size > len(self.buffer) or self.held:
            self._replace_buffer(size, start)
        else:
            self.view[:used] = self.view[start : self.end]
            self._shift(start)

    def _replace_buffer(self, size: int, start: int) -> None:
        """The bytes from `start` on move into a new buffer. Who runs on the old one keeps it alive."""
        buffer = bytearray(size)
        if start < self.end:
            buffer[: self.end - start] = self.view[start : self.end]
        self.buffer, self.view = buffer, memoryview(buffer)
        self._shift(start)

    def _shift(self, start: int) -> None:
        self.end -= start
        self.scanned -= start
        for request in self.requests:
            request.at -= start
            request.end -= start
        if self.descriptors:
            self.descriptors = deque((at - start, descriptor) for at, descriptor in self.descriptors)
