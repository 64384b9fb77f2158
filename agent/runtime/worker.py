"""The worker: one release's model, and the client connections bound to it, in one process with one loop.

Each round first receives what came, then gives every connection that has a request its turn. A slow sender only ever
fills its own buffer; a client that does not take its answers is not read from. Told to drain, the worker finishes the
answer it is at and hands every connection back, the longest waiting first.
"""

import os
import select
import socket
import time
from collections import deque
from dataclasses import dataclass, replace

from agent.runtime.connection import Connection
from agent.runtime.counters import Tally
from agent.runtime.engines import Engine, Loaded, engine_text
from agent.runtime.handover import Carried, Channel, Message, State
from agent.runtime.release import Release
from littoral import errors
from littoral.tensors import Interface
from littoral.wire import query

COUNTERS_S = 1.0
SLICE_NS = 200_000  # of serving, before new bytes are looked for again: keeps slow and fast clients even
LEAST_FRAME_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker is told at birth. stage is committed or trial."""

    release: Release
    stage: str
    read_ahead: int


def run(channel: Channel, engine: Engine, settings: Settings) -> None:
    """The life of a worker process. Returns once it has handed back every connection."""
    try:
        started_ns = time.monotonic_ns()
        release = settings.release
        loaded = engine.load(release.blob("model"), release.labels())
        welcome = query.Welcome(
            model=release.manifest.model,
            release=release.manifest.release,
            version=release.manifest.version,
            stage=query.Stage[settings.stage.upper()],
            engine=engine_text(engine),
            interface=loaded.interface,
            max_frame_bytes=frame_limit(loaded.interface),
            card=release.card().to_json(),
        )
    except (errors.LittoralError, MemoryError) as error:
        code = error.code if isinstance(error, errors.LittoralError) else errors.NoRoomError.code
        channel.send_patiently("failed", {"code": code, "reason": str(error)})
        return
    load_us = (time.monotonic_ns() - started_ns) // 1_000
    channel.send_patiently("ready", {"load_us": load_us, "welcome": query.welcome_json(welcome)})
    tally = Tally(release.manifest.limits.p95_us)
    ModelServer(channel, loaded, welcome, tally, settings.read_ahead).serve()


def frame_limit(interface: Interface) -> int:
    """The largest INFER taken: with room for a mistaken dtype, which then gets the better error."""
    wanted = max(LEAST_FRAME_BYTES, query.INFER_HEAD.size + 8 * interface.input_bytes)
    return min(wanted, query.MAX_FRAME_BYTES)


class ModelServer:
    """Serves until told to drain, or until the host is gone."""

    def __init__(self, channel: Channel, loaded: Loaded, welcome: query.Welcome, tally: Tally, read_ahead: int) -> None:
        self._channel = channel
        self._loaded = loaded
        self._tally = tally
        self._read_ahead = read_ahead
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}  # by descriptor
        self._events: dict[int, int] = {}
        self._turns: deque[Connection] = deque()
        self._drains = False
        self._told_answers = -1
        self._told_ns = 0
        self._welcome_as(welcome)

    def serve(self) -> None:
        self._epoll.register(self._channel, select.EPOLLIN)
        try:
            while not self._drains:
                self._receive()
                self._serve_slice()
                self._tell_counters()
            self._hand_back()
        except EOFError:
            return  # the host is gone; clients find the next one by themselves

    # --- receiving --------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        for descriptor, events in self._epoll.poll(self._wait_s()):
            if descriptor == self._channel.fileno():
                self._obey()
                continue
            connection = self._connections.get(descriptor)
            if connection is None:
                continue
            if events & (select.EPOLLHUP | select.EPOLLERR):
                connection.close()
            if events & select.EPOLLOUT and not connection.closed:
                connection.flush()
            if events & select.EPOLLIN and not connection.closed:
                connection.receive()
            self._settle(connection, descriptor)

    def _wait_s(self) -> float:
        if self._turns:
            return 0
        untold = self._tally.answers + self._tally.errors != self._told_answers
        return max(0.0, COUNTERS_S - (time.monotonic_ns() - self._told_ns) / 1e9) if untold else -1

    def _obey(self) -> None:
        message = self._channel.receive()
        if message is None:
            return
        if message.op == "give":
            self._accept(message)
        elif message.op == "stage":
            self._welcome_as(replace(self._welcome, stage=query.Stage[message.body["stage"].upper()]))
        elif message.op == "drain":
            self._drains = True

    def _accept(self, message: Message) -> None:
        id = int(message.body["id"])
        if message.lost or len(message.descriptors) != 2:
            self._channel.send_patiently("lost", {"id": id})
            return
        carried = Carried(id, *message.descriptors)
        state = State.from_memfd(carried.state)
        sock = socket.socket(fileno=carried.connection)
        sock.setblocking(False)
        # The limit a client was told once holds as long as its connection: a switch must not lower it.
        limited = replace(state, limit_bytes=max(state.limit_bytes, self._welcome.max_frame_bytes))
        connection = Connection(id, sock, limited, self._read_ahead)
        self._channel.send_patiently("ack", {"id": id})
        os.close(carried.state)
        descriptor = connection.fileno()
        self._connections[descriptor] = connection
        self._events[descriptor] = 0
        self._epoll.register(descriptor, 0)
        if state.greet:
            connection.send([query.welcome(self._welcome)])
        self._settle(connection, descriptor)

    def _settle(self, connection: Connection, descriptor: int) -> None:
        """Brings epoll and the queue of turns up to date with the connection."""
        connection.settle()
        if connection.closed:
            # the socket's descriptor is closed, and with it its place in epoll
            if self._connections.pop(descriptor, None) is not None:
                del self._events[descriptor]
                self._channel.send_patiently("closed", {"id": connection.id})
            return
        if connection.events != self._events[descriptor]:
            self._events[descriptor] = connection.events
            self._epoll.modify(descriptor, connection.events)
        if connection.has_turn and not connection.waits:
            connection.waits = True
            self._turns.append(connection)

    # --- answering --------------------------------------------------------------------------------------------

    def _serve_slice(self) -> None:
        until_ns = time.monotonic_ns() + SLICE_NS
        while self._turns:
            connection = self._turns.popleft()
            connection.waits = False
            if connection.closed or not connection.has_turn:
                continue
            descriptor = connection.fileno()
            request = connection.next_request()
            connection.send(self._answer(request.frame, request.received_ns))
            self._settle(connection, descriptor)
            if time.monotonic_ns() >= until_ns:
                return

    def _answer(self, frame: query.Frame, received_ns: int) -> list[bytes | memoryview]:
        """The parts of the answer: ANSWER, or ERROR with the same id."""
        try:
            if frame.kind is not query.Kind.INFER:
                raise errors.UnsupportedError(f"{frame.kind.name} is not served on this connection")
            return query.answer(self._infer(query.parse_infer(frame), received_ns), frame.id)
        except errors.StaleInterfaceError as error:
            return [query.error(error, frame.id, welcome=query.welcome_json(self._welcome))]
        except errors.InferenceError as error:
            self._tally.failed()
            return [query.error(error, frame.id)]
        except errors.QueryError as error:
            return [query.error(error, frame.id)]

    def _infer(self, request: query.Infer, received_ns: int) -> query.Answer:
        interface = self._welcome.interface
        if request.flags:
            raise errors.UnsupportedError(f"INFER with flags {request.flags:#x}")
        if request.interface != self._digest:
            raise errors.StaleInterfaceError("the request was made for another interface than the one now served")
        if len(request.data) != interface.input_bytes:
            raise errors.WrongSizeError(
                f"INFER carries {len(request.data)} bytes; the inputs of {self._welcome.model} "
                f"take {interface.input_bytes}"
            )
        started_ns = time.monotonic_ns()
        queued_us = (started_ns - received_ns) // 1_000
        if 0 < request.deadline_us < queued_us:
            raise errors.DeadlineError(f"after {queued_us} us in the queue, with {request.deadline_us} us allowed")
        result = self._loaded.run(request.data)
        invoked_us = (time.monotonic_ns() - started_ns) // 1_000
        self._tally.answered(request.data, result.data, invoked_us, result.finite)
        return query.Answer(self._welcome.release, self._welcome.stage, queued_us, invoked_us, result.data)

    # --- telling the host -------------------------------------------------------------------------------------

    def _welcome_as(self, welcome: query.Welcome) -> None:
        self._welcome = welcome
        self._digest = welcome.interface.digest

    def _tell_counters(self) -> None:
        now_ns = time.monotonic_ns()
        if now_ns - self._told_ns < COUNTERS_S * 1e9:
            return
        answers = self._tally.answers + self._tally.errors
        if answers != self._told_answers:
            self._channel.send_patiently("counters", self._tally.counts())
            self._told_answers = answers
        self._told_ns = now_ns

    def _hand_back(self) -> None:
        waiting = dict.fromkeys((*self._turns, *self._connections.values()))
        for connection in waiting:
            if connection.closed:
                continue
            descriptor = connection.fileno()
            self._epoll.unregister(descriptor)
            state = connection.state().to_memfd()
            self._channel.send_patiently("back", {"id": connection.id}, (descriptor, state))
            connection.close()
            os.close(state)
        self._channel.send_patiently("drained", self._tally.counts())
