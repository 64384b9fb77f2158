"""A worker's loop: one model, and the client connections bound to it.

Each round first receives what came, then gives every connection that has a request its turn. A slow sender only ever
fills its own buffer; a client that does not take its answers is not read from. Told to drain, it finishes what runs and
hands every connection back, the longest waiting first.
"""

import os
import select
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from agent import lean
from agent.runtime.engine import Interpreter, Model
from agent.runtime.handover import Channel, Message, State
from agent.runtime.worker.answers import Answers
from agent.runtime.worker.connection import Allowance, Connection
from agent.runtime.worker.counters import Tally
from agent.runtime.worker.inbox import Backlog
from agent.runtime.worker.pace import READ_AHEAD, Pace
from agent.runtime.worker.quick import Quick
from agent.runtime.worker.runs import Inference
from agent.runtime.worker.sampler import Sampler
from agent.runtime.worker.signature import Signature
from agent.runtime.worker.ticker import Ticker
from littoral import errors
from littoral.wire import query

if TYPE_CHECKING:
    from agent.runtime.worker.running import Running

TICK_S = 1  # between looks at what the host is to be told, and at buffers that can shrink
SLICE_NS = 200_000  # of serving, before new bytes are looked for again: keeps slow and fast clients even
EVENTS_AT_ONCE = 64
FORGET_S = 10.0  # after what ran was forgotten; a canary asks once a minute, and what it woke is not kept that long


class ModelServer:
    """Serves until told to drain, or until the host is gone.

    side_by_side: a single interpreter is run by the loop itself, and by a thread while there is an understudy, if it
    may; several are run by a thread each. signatures: by name. hung_s: a run that takes longer in a thread hangs.
    """

    def __init__(
        self,
        channel: Channel,
        model: Model,
        interpreter: Interpreter,
        signatures: Mapping[str, Signature],
        allowance: Allowance,
        backlog: Backlog,
        tally: Tally,
        sampler: Sampler | None,
        *,
        side_by_side: int,
        hung_s: float,
        may_thread: bool,
    ) -> None:
        self._channel = channel
        self._model = model
        self._interpreter = None if model.stateful else interpreter
        self._spare = [interpreter] if model.stateful else []
        self._signatures = signatures
        self._allowance = allowance
        self._backlog = backlog
        self._tally = tally
        self._sampler = sampler
        self._answers = Answers(tally, self._waiting, sampler)
        self._alone = side_by_side == 1 and not model.stateful
        # while nothing else is running, and nobody is to rest
        self._quick = self._unpaced_quick = Quick(interpreter, self._answers, tally, sampler) if self._alone else None
        self._pace: Pace | None = None  # of runs in this loop; None: none, as mostly
        self._rest_percent = 0
        self._read_ahead = allowance.read_ahead
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}  # by descriptor
        self._turns: deque[Connection] = deque()
        self._drains = False
        self._told_counts: dict[str, int | list[int]] = {}
        self._rested = False  # nothing was asked since what ran was forgotten
        self._forget_at_s = 0.0
        self._ticker = Ticker(TICK_S)
        self._ticker.wind()
        self._hung_s = hung_s
        self._may_thread = may_thread
        self._running: Running | None = None
        if side_by_side > 1:
            self._run_beside().open(interpreter, side_by_side - 1, model.interpreter)

    def serve(self) -> None:
        self._epoll.register(self._channel, select.EPOLLIN)
        self._epoll.register(self._ticker.descriptor, select.EPOLLIN)
        try:
            while not self._drains:
                self._receive()
                if not self._turns or self._drains:
                    continue
                if self._pace is None or self._threaded:
                    self._serve_slice()
                else:
                    self._serve_paced(self._pace)
            self._hand_back()
        except EOFError:
            return  # the host is gone; clients find the next one by themselves

    # --- receiving --------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        running = self._running
        wait_s = -1.0 if running is None else running.hand_over(self._drains)
        able = self._turns and not self._drains and not (running and running.full)
        if able:
            rest_s = 0.0 if self._pace is None or self._threaded else self._pace.left_s(time.monotonic_ns())
            wait_s = rest_s if wait_s < 0 else min(rest_s, wait_s)
        ready = self._epoll.poll(wait_s, EVENTS_AT_ONCE)
        quick = None if able or running else self._quick
        until_ns = time.monotonic_ns() + SLICE_NS if len(ready) > 1 else 0
        others = []
        for descriptor, events in ready:
            connection = self._connections.get(descriptor)
            if connection is None:
                others.append((descriptor, events))
                continue
            if not self._ticker.wound:
                self._ticker.wind()
            if events == select.EPOLLIN:
                connection.receive()
                if quick is None or not quick.answered(connection):
                    connection.scan()
                elif until_ns and time.monotonic_ns() >= until_ns:
                    quick = None  # the others are received first, and then take turns
            else:
                connection.obey(events)
            if connection.unsettled or connection.inbox.requests:
                self._settle(connection)
        for descriptor, events in others:  # last: a new connection may get the descriptor of one that ended just now
            if descriptor == self._channel.fileno():
                self._obey()
            elif descriptor == self._ticker.descriptor:
                self._tick()
            elif self._running is not None:
                self._running.obey(descriptor, events)
        if self._running is not None and self._running.over:
            self._running = None

    def _obey(self) -> None:
        # all of them: between two rounds a request runs, for which a connection given with others would wait
        while not self._drains and (message := self._channel.receive()) is not None:
            if message.op == "give":
                self._accept(message)
            elif message.op == "stage":
                self._restage(query.Stage[message.body["stage"].upper()])
            elif message.op == "pace":
                self._keep_pace(message.body["rest_percent"])
            elif message.op == "understudy":
                self._stand_by(message)
            elif message.op == "ping":
                self._channel.send_patiently("pong")
            elif message.op == "drain":
                self._drains = True

    def _restage(self, stage: query.Stage) -> None:
        """The same release at another stage. With the end of a trial those go who asked for it by that name."""
        for signature in self._signatures.values():
            signature.restage(stage)
        if stage is not query.Stage.TRIAL:
            if self._running is not None:
                self._running.dismiss()
            for connection in [each for each in self._connections.values() if each.alias == "trial"]:
                connection.end(errors.NoReleaseError("the trial has ended"))
                self._settle(connection)

    def _keep_pace(self, rest_percent: int) -> None:
        """Clients wait with what they would ask meanwhile: of each that is not `latest` one request is read ahead."""
        self._rest_percent = rest_percent
        self._pace = Pace(rest_percent) if rest_percent else None
        if self._running is not None:
            self._running.rest(rest_percent)
        self._quick = None if rest_percent else self._unpaced_quick
        self._read_ahead = READ_AHEAD if rest_percent else self._allowance.read_ahead
        for connection in list(self._connections.values()):
            connection.inbox.limit(self._read_ahead)
            connection.scan()
            connection.unsettled = True
            self._settle(connection)

    def _accept(self, message: Message) -> None:
        id = int(message.body["id"])
        try:
            if message.lost:
                raise OSError("a descriptor did not arrive")
            state, connection = self._connect(id, message.descriptors)
        except OSError:  # this process has no room; the host has kept the connection
            for descriptor in message.descriptors:
                os.close(descriptor)
            self._channel.send_patiently("lost", {"id": id})
            return
        connection.inbox.limit(self._read_ahead)
        self._channel.send_patiently("ack", {"id": id})
        self._connections[connection.descriptor] = connection
        self._epoll.register(connection.descriptor, 0)
        if state.subscribes:
            connection.signature.subscribers.append(connection)
        self._greet(connection, state)
        self._settle(connection)

    def _connect(self, id: int, descriptors: tuple[int, ...]) -> tuple[State, Connection]:
        """(the state it came with, the connection). Raises OSError; the descriptors are then the caller's."""
        passed, memfd, *shared = descriptors
        state = State.from_memfd(memfd)
        signature = self._signatures.get(state.signature, self._signatures[""])
        # The limit a client was told once holds as long as its connection: a switch must not lower it.
        limit_bytes = state.limit_bytes if state.capped else max(state.limit_bytes, signature.welcome.max_frame_bytes)
        kept = replace(state, limit_bytes=limit_bytes, told=signature.welcome.release)
        connection = Connection(id, kept, (passed, *shared), signature, self._allowance, self._backlog)
        os.close(memfd)
        return state, connection

    def _greet(self, connection: Connection, state: State) -> None:
        """Tells the client what it is bound to, where it was not told before."""
        signature = connection.signature
        if state.signature not in self._signatures:
            named = ", ".join(signature.welcome.signatures) or "none"
            connection.end(errors.UnsupportedError(f"no signature {state.signature!r}: the model has {named}"))
        elif state.greet:
            body = signature.welcome_json(connection.inbox.limit_bytes)
            connection.send(query.json_frame(query.Kind.WELCOME, body))
        elif state.told != signature.welcome.release:
            body = signature.welcome_json(connection.inbox.limit_bytes)
            connection.send(query.json_frame(query.Kind.EVENT, {"event": "changed", "welcome": body}))

    def _settle(self, connection: Connection) -> None:
        """Brings epoll and the queue of turns up to date with the connection."""
        if connection.unsettled:
            connection.settle()
            if connection.closed:
                self._forget(connection)
                return
            if (events := connection.events) != connection.watched:
                self._epoll.modify(connection.descriptor, events)
                connection.watched = events
        if not connection.queued and connection.has_turn:
            connection.queued = True
            self._turns.append(connection)

    def _forget(self, connection: Connection) -> None:
        # its descriptor is closed, and with it its place in epoll
        if self._connections.pop(connection.descriptor, None) is not None:
            if connection.subscribes:
                connection.signature.subscribers.remove(connection)
            self._channel.send_patiently("closed", {"id": connection.id})

    # --- answering --------------------------------------------------------------------------------------------

    def _serve_slice(self) -> None:
        turns, running = self._turns, self._running
        until_ns = time.monotonic_ns() + SLICE_NS
        while turns and not (running and running.full):
            connection = turns.popleft()
            connection.queued = False
            if connection.has_turn:
                self._take_turn(connection)
            if turns and time.monotonic_ns() >= until_ns:
                return

    @property
    def _threaded(self) -> bool:
        """Whether runs are in threads, which rest by themselves."""
        return self._running is not None and self._running.threaded

    def _serve_paced(self, pace: Pace) -> None:
        """One request, once the rest after the one before is over."""
        began_ns = time.monotonic_ns()
        if pace.left_s(began_ns):
            return
        connection = self._turns.popleft()
        connection.queued = False
        if connection.has_turn:
            self._take_turn(connection)
            pace.ran(began_ns, time.monotonic_ns())

    def _take_turn(self, connection: Connection) -> None:
        run = self._answers.begin(connection, connection.next_request())
        if run is None:
            self._settle(connection)
        elif self._running is not None and self._running.threaded:
            self._running.post(run)
        else:
            try:
                run.run(self._interpreter or self._own_interpreter(connection))
            except (errors.ModelLoadError, MemoryError) as error:
                run.error = errors.InferenceError(f"there is no room for another state of this model: {error}")
            if self._running is None or not self._running.relieved(run):
                self._answers.finish(run)
            self._settled(run)

    def _own_interpreter(self, connection: Connection) -> Interpreter:
        """A model that keeps a state keeps one for each connection."""
        if connection.interpreter is None:
            connection.interpreter = self._spare.pop() if self._spare else self._model.interpreter()
        return connection.interpreter

    def _settled(self, run: Inference) -> None:
        self._settle(run.connection)
        for subscriber in tuple(run.signature.subscribers):
            self._settle(subscriber)

    def _run_beside(self) -> "Running":
        """What runs without the loop's waiting for it, from now on."""
        if self._running is None:
            from agent.runtime.worker.running import Running  # threads and all cost memory in every worker without

            hung = partial(self._channel.send_patiently, "hung")
            self._running = Running(self._epoll, self._answers, self._settled, hung, self._hung_s)
            self._running.rest(self._rest_percent)
        return self._running

    def _stand_by(self, message: Message) -> None:
        """The baseline is loaded beside this trial. A model that keeps a state is not asked in another one's place."""
        if message.lost or not message.descriptors:
            return
        from agent.runtime.worker.understudy import Understudy  # only a trial has one

        stateful = self._model.stateful or message.body["stateful"]
        understudy = Understudy(message.descriptors[0], b"" if stateful else self._signatures[""].digest)
        lone = self._interpreter if self._alone and self._may_thread else None
        self._run_beside().stand_by(understudy, lone)

    # --- telling the host -------------------------------------------------------------------------------------

    def _waiting(self) -> int:
        return sum(len(connection.inbox.requests) for connection in self._connections.values())

    def _counts(self) -> dict[str, int | list[int]]:
        subscribers = sum(connection.subscribes for connection in self._connections.values())
        return {
            **self._tally.counts(),
            "received": self._tally.received + self._backlog.received,
            "waiting": self._waiting(),
            "subscribers": subscribers,
        }

    def _count_votes(self) -> None:
        if notes := self._answers.count_votes():
            self._channel.send_patiently("notes", {"notes": notes})

    def _tick(self) -> None:
        self._ticker.ticked()
        if self._sampler is not None:
            self._sampler.tick()
        self._count_votes()
        counts = self._counts()
        told = counts != self._told_counts
        if told:
            self._channel.send_patiently("counters", counts)
            self._told_counts = counts
        resting = [connection.inbox.rest() for connection in self._connections.values()]
        if self._running is not None:
            self._running.look_for_hang()
        if told or not all(resting) or (self._running is not None and self._running.busy):
            self._rested = False
            self._ticker.wind()
        elif not self._rested:
            self._rest()

    def _rest(self) -> None:
        """Nobody asks: what ran is forgotten, which takes some milliseconds, and so only now and then."""
        now_s = time.monotonic()
        self._rested = now_s >= self._forget_at_s
        if self._rested:
            self._forget_at_s = now_s + FORGET_S
            lean.forget_code()
        else:
            self._ticker.wind()

    def _hand_back(self) -> None:
        self._epoll.unregister(self._channel)
        if self._running is not None:
            self._running.hurry()
        while self._running is not None and self._running.busy:
            self._receive()
        waiting = dict.fromkeys((*self._turns, *self._connections.values()))
        for connection in waiting:
            while connection.inbox.requests and connection.inbox.requests[0].refusal is not None:
                self._answers.begin(connection, connection.next_request())  # its bytes may be gone
            if connection.closed:
                continue
            self._epoll.unregister(connection.descriptor)
            state, shared = connection.state()
            memfd = state.to_memfd()
            self._channel.send_patiently("back", {"id": connection.id}, (connection.descriptor, memfd, *shared))
            connection.close()
            os.close(memfd)
        self._count_votes()
        self._channel.send_patiently("drained", self._counts())
