"""A trial's understudy, as its worker has it: one connection to the worker of the baseline, which is asked once more
what the release failed on, or is too slow with. docs/health.md, "The understudy", says when and what a client sees.

It sends and receives, and knows when it should be asked; whose request that is, and what becomes of an answer, is the
loop's business (server.py). Nothing here waits. All times are of the monotonic clock.
"""

import select
import socket
import time
from collections import deque
from dataclasses import dataclass

from agent.runtime.worker.runs import Inference
from littoral import errors
from littoral.wire import query

RECENT = 15  # answers that say how long it usually takes
WARM_UPS = 3  # requests of zeros, which make it ready and say how long it takes before anybody waits for it
MARGIN_NS = 2_000_000  # of every reckoning: the way there and back, on a device that does other things too
FAIR = 1.25  # times what the understudy takes: a release that has had so long is slower than it
NEEDED = 2.0  # times what it takes: on one core, beside a model that never ends, it has half of it
STALLED = 4.0  # times what is fair: no one who waits for this interpreter should wait on
PATIENCE_NS = 2_000_000_000  # least time that it is waited for in place of an error; then it hangs itself
PATIENT = 8.0  # times what it needs, where that is longer
NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an understudy is: usual_ns for a request (0: not known yet), `asked` that it has already.

    A release that was not slower than the understudy would have been is not to blame: a request that waited for its
    turn until its deadline was near waited for other clients.
    """

    usual_ns: int
    asked: int

    @property
    def fair_ns(self) -> int:
        """How long a release may take at least."""
        return int(FAIR * self.usual_ns) + MARGIN_NS

    @property
    def needed_ns(self) -> int:
        """How long before a deadline the understudy is to be asked."""
        return int(NEEDED * self.usual_ns) * (1 + self.asked) + MARGIN_NS

    def stalls_ns(self, begun_ns: int, stalled: bool) -> int:
        """When one should not wait any longer for a run, begun then; begun_ns 0: for one that waits for its turn."""
        if begun_ns:
            return begun_ns + int(STALLED * self.fair_ns)
        return 0 if stalled else NEVER

    def due_ns(self, received_ns: int, deadline_us: int, begun_ns: int, stalled: bool) -> int:
        """When to ask the understudy, so that a request is answered before its deadline. deadline_us 0: it has none."""
        if not deadline_us or not (begun_ns or stalled):
            return NEVER
        earliest_ns = begun_ns + self.fair_ns if begun_ns else 0
        return max(earliest_ns, received_ns + deadline_us * 1_000 - self.needed_ns)


@dataclass(slots=True)
class _Asked:
    """What it has to answer. run: None where nobody waits for that any more. alone: it had nothing else to do."""

    run: Inference | None
    since_ns: int
    alone: bool


class Understudy:
    """`ready` once it has said that it can be asked, `ended` once it cannot any more."""

    def __init__(self, descriptor: int, digest: bytes) -> None:
        """Takes over the descriptor. digest: of the interface that the release takes; an understudy of another one
        stands by and is not asked. Empty: it is never asked.
        """
        self.descriptor = descriptor
        self.ready = self.ended = False
        self.watched = select.EPOLLIN
        self._digest = digest
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, descriptor)
        self._socket.setblocking(False)
        self._reader = query.Reader(query.MAX_FRAME_BYTES)
        self._unsent: deque[memoryview] = deque()
        self._asked: dict[int, _Asked] = {}
        self._last = 0
        self._warm_ups = WARM_UPS
        self._took_ns: deque[int] = deque(maxlen=RECENT)
        self._usual_ns = 0
        self._most_bytes = 0
        self._input_bytes = 0

    # --- what the loop asks -----------------------------------------------------------------------------------

    def ask(self, run: Inference) -> bool:
        """Asks it what the run asks; whether it can. It is bound to the first signature, as who names none is."""
        if self.ended or not self.ready or run.signature.key or not run.repeatable:
            return False
        frame = run.again(self._last + 1)
        if len(frame) > self._most_bytes:
            return False
        run.asked = True
        self._send(frame, run)
        return True

    def forget(self, run: Inference) -> None:
        """Nobody waits for its answer to this one any more."""
        run.asked = False
        for asked in self._asked.values():
            if asked.run is run:
                asked.run = None

    @property
    def runs(self) -> list[Inference]:
        """Those it was asked and has not answered."""
        return [asked.run for asked in self._asked.values() if asked.run is not None]

    def obey(self, events: int) -> list[tuple[Inference, query.Frame]]:
        """Does what epoll says can be done; gives what it answered."""
        found: list[tuple[Inference, query.Frame]] = []
        try:
            if events & select.EPOLLOUT:
                self._flush()
            if events & ~select.EPOLLOUT:
                self._receive()
            while (frame := self._reader.next()) is not None:
                if (run := self._heard(frame)) is not None:
                    found.append((run, frame))
        except BlockingIOError:
            pass
        except (OSError, errors.QueryError):
            self.ended = True
        return found

    def close(self) -> None:
        self.ended = True
        self._socket.close()

    # --- when it should be asked ------------------------------------------------------------------------------

    def due_ns(self, run: Inference, stalled: bool, drains: bool) -> int:
        """When to ask it, as the release will not answer in time. stalled: no interpreter will come free soon."""
        if drains:
            return self._pace.stalls_ns(run.begun_ns, stalled)
        return self._pace.due_ns(run.received_ns, run.deadline_us, run.begun_ns, stalled)

    def stalls_ns(self, run: Inference) -> int:
        """When an interpreter that runs this counts as stalled."""
        return run.begun_ns if run.asked and run.begun_ns else self._pace.stalls_ns(run.begun_ns, False)

    def patience_ns(self) -> int:
        """Until when its answers are waited for."""
        since_ns = [asked.since_ns for asked in self._asked.values() if asked.run is not None]
        if not since_ns:
            return NEVER
        return min(since_ns) + max(PATIENCE_NS, int(PATIENT * self._pace.needed_ns))

    @property
    def _pace(self) -> Pace:
        return Pace(self._usual_ns, len(self._asked))

    # --- the connection ---------------------------------------------------------------------------------------

    @property
    def events(self) -> int:
        return select.EPOLLIN | (select.EPOLLOUT if self._unsent else 0)

    def _send(self, frame: bytes, run: Inference | None) -> None:
        self._last += 1
        self._asked[self._last] = _Asked(run, time.monotonic_ns(), alone=not self._asked)
        self._unsent.append(memoryview(frame))
        try:
            self._flush()
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True

    def _flush(self) -> None:
        """Raises BlockingIOError, OSError."""
        while self._unsent:
            part = self._unsent.popleft()
            try:
                sent = self._socket.send(part, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self._unsent.appendleft(part)
                raise
            if sent < len(part):
                self._unsent.appendleft(part[sent:])

    def _receive(self) -> None:
        """Raises BlockingIOError, OSError."""
        data = self._socket.recv(1 << 18)
        if not data:
            self.ended = True
        self._reader.feed(data)

    def _heard(self, frame: query.Frame) -> Inference | None:
        """Whose answer it is, if somebody waits for it. Raises QueryError."""
        if frame.kind is query.Kind.WELCOME:
            self._greeted(query.parse_welcome(frame.json()))
        elif frame.kind is query.Kind.EVENT and (welcome := frame.json().get("welcome")):
            self._greeted(query.parse_welcome(welcome))
        asked = self._asked.pop(frame.id, None)
        if asked is None:
            return None  # about the connection: where that is an error, its end comes next
        if frame.kind is not query.Kind.ERROR and asked.alone:
            self._took_ns.append(time.monotonic_ns() - asked.since_ns)
            self._usual_ns = sorted(self._took_ns)[len(self._took_ns) // 2]
        self._warm_up()
        if asked.run is not None:
            asked.run.asked = False
            if frame.kind is query.Kind.ERROR:
                asked.run.refusal = str(frame.json().get("code"))
        return asked.run

    def _greeted(self, welcome: query.Welcome) -> None:
        self.ready = bytes.fromhex(welcome.interface.digest) == self._digest
        self._most_bytes = query.HEADER.size + welcome.max_frame_bytes
        self._input_bytes = welcome.interface.input_bytes
        self._warm_up()

    def _warm_up(self) -> None:
        if self.ready and self._warm_ups and not self._asked:
            self._warm_ups -= 1
            nothing = query.Infer(self._digest.hex(), bytes(self._input_bytes))
            self._send(b"".join(query.infer(nothing, self._last + 1)), None)
