"""A worker as the host sees it: a child, a channel, and the connections it holds.

The host keeps a copy of every connection it gave until the worker says it has it, so that none is lost with a worker
that dies in between.
"""

import json
import os
import socket
import time
from dataclasses import dataclass
from typing import Any, Protocol

from agent import control
from agent.runtime.engine import Delegate, Engine, Tuning
from agent.runtime.handover import RETRY_S, Carried, Message, channel_pair
from agent.runtime.host import memory
from agent.runtime.host.children import Ended, fork
from agent.runtime.host.choice import Target
from agent.runtime.host.loop import READ, WRITE, Loop, Timer
from agent.runtime.host.notes import Notes
from agent.runtime.release import Release
from agent.runtime.worker.worker import Settings, run
from littoral.errors import NoRoomError

HUNG_S = 10  # above the longest single inference; a worker that is silent for longer has hung
QUIET_S = 5  # a worker says something each second while it is asked; one that has not for so long is asked if it lives
TRIAL_OOM_SCORE = 500  # the newcomer is the kernel's first choice when memory ends
GENTLE_NICE = 10  # of a worker that loads while another one serves: a tenth of the CPU where both want it


@dataclass(frozen=True, slots=True)
class Limits:
    """Of every worker: requests of one connection that wait, bytes of all that do, what one connection may share;
    ring_bytes: of inputs that are kept.
    """

    read_ahead: int
    queue_bytes: int
    max_shares: int
    max_share_bytes: int
    ring_bytes: int


class Owner(Protocol):
    """Who a worker tells what happens to it."""

    def worker_ready(self, worker: "Worker") -> None: ...

    def worker_gave_back(self, carried: Carried) -> None:
        """The connection is the owner's now."""
        ...

    def worker_lost(self, carried: Carried) -> None:
        """The worker had no room for the connection, which is the owner's again."""
        ...

    def worker_closed(self, connection: int) -> None: ...

    def worker_drained(self, worker: "Worker") -> None: ...

    def worker_hung(self, worker: "Worker") -> None:
        """Its model does not come back from a run. The worker itself lives, unless it is killed."""
        ...

    def worker_ended(self, worker: "Worker", ended: Ended) -> None: ...


class Worker:
    """One worker process. `welcome` is what its clients are told, empty until it is ready.

    used_at: when it was last asked or given a client (monotonic clock). notes: why apps found its answers bad.
    stateful: its model keeps a state. hung: it was ended because it did not answer.
    """

    def __init__(
        self,
        loop: Loop,
        owner: Owner,
        engine: Engine,
        target: Target,
        settings: Settings,
        expected_bytes: int,
        gentle: bool,
    ) -> None:
        """Forks it. gentle: it leaves the CPU to others until it is ready. Raises OSError."""
        self.owner = owner
        self.target = target
        self.delegate = settings.delegate
        self.welcome: dict[str, Any] = {}
        self.counts: dict[str, Any] = {}
        self.notes = Notes()
        self.stateful = self.hung = False
        self._welcome_parts: list[str] = []
        self.used_at = time.monotonic()
        self._loop = loop
        self._lent: list[socket.socket] = []  # until they were sent
        self._silent_s = 0
        self._given: dict[int, Carried] = {}  # not acknowledged yet
        self._holds: dict[int, str] = {}  # its connections, and the alias each one asked for
        self._deadline: Timer | None = None
        self._measured_bytes = 0
        self._expected_bytes = expected_bytes
        self._refusal: tuple[str, str] | None = None  # (code, reason) where it could not load
        self._timed_out = False
        self._rest_percent = 0
        self._channel, end = channel_pair()
        keep = {end.fileno()} if settings.ring is None else {end.fileno(), settings.ring}
        try:
            self._child = fork(lambda: run(end, engine, settings), keep, _oom_score(target.stage))
        except OSError:
            self._channel.close()
            raise
        finally:
            end.close()
        self._gentle = gentle
        if gentle:
            self._child.set_nice(GENTLE_NICE)
        loop.watch(self._channel.fileno(), READ, self._on_channel)
        loop.watch(self._child.pidfd, READ, self._on_end)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def bundle(self) -> str:
        return self.target.slot.bundle

    @property
    def untaken(self) -> int:
        """Connections that it was given and has not taken: a worker that hangs takes none."""
        return len(self._given)

    @property
    def has_clients(self) -> bool:
        return bool(self._holds or self._given)

    def give(self, carried: Carried) -> None:
        """Passes a connection on; from now on it is the worker's, or comes back by the owner."""
        self.used_at = time.monotonic()
        self._given[carried.id] = carried
        self._send("give", {"id": carried.id}, (carried.connection, carried.state, *carried.shares))

    def restage(self, target: Target) -> None:
        """The same release under another stage, without loading it anew."""
        if target.stage != self.target.stage:
            self._child.set_oom_score(_oom_score(target.stage))
            self._send("stage", {"stage": target.stage})
        self.target = target

    def rest(self, percent: int) -> None:
        """After each run for so much of its time."""
        if percent != self._rest_percent:
            self._rest_percent = percent
            self._send("pace", {"rest_percent": percent})

    def stand_by(self, understudy: socket.socket, *, stateful: bool) -> None:
        """The other end of this leads to the baseline, which a trial may ask in its place. Takes the socket over."""
        self._lent.append(understudy)
        self._send("understudy", {"stateful": stateful}, (understudy.fileno(),))

    def check(self) -> None:
        """To be called each second: ends a worker that has hung. A second that takes longer, as much else does then,
        counts as one. A local file may take as long as whoever tries it out likes.
        """
        if not self.welcome or not self.has_clients or self._deadline is not None or self.target.stage == "local":
            self._silent_s = 0
            return
        self._silent_s += 1
        if self._silent_s == QUIET_S:
            self._send("ping")
        elif self._silent_s > QUIET_S + HUNG_S and not self.hung:
            self.hung = True
            self.kill()

    def drain(self, within_s: float) -> None:
        """Finish the answer at hand, give every connection back, end. Killed if that takes too long."""
        self._send("drain")
        self.expect(within_s)

    def expect(self, within_s: float) -> None:
        """Kills the worker unless it says something, or ends, in time."""
        self.expected()
        self._deadline = self._loop.call_in(within_s, self._too_late)

    def expected(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def kill(self) -> None:
        self._child.kill()

    @property
    def memory_bytes(self) -> int:
        """As last measured; while it loads, as expected. Where it may run several interpreters at least that: the trial
        saw them all, and the worker makes the others when it is asked more."""
        if not self.welcome:
            return self._expected_bytes
        measured_bytes = self._measured_bytes or self.measure()
        return max(measured_bytes, self._expected_bytes) if self.target.slot.interpreters > 1 else measured_bytes

    def measure(self) -> int:
        """Bytes of memory it takes now. It walks the worker's page tables, which takes a millisecond or more."""
        self._measured_bytes = memory.pss(self.pid) or self._measured_bytes
        return self._measured_bytes

    def why(self, ended: Ended) -> tuple[str, str]:
        """(code, reason), where it ended before it was ready."""
        if self._refusal is not None:
            return self._refusal
        if self._timed_out:
            return "hung", "the model did not finish loading in time"
        if ended.memory:
            return NoRoomError.code, "killed for want of memory while it loaded"
        if ended.signal:
            return "crashed", f"killed by signal {ended.signal} while it loaded"
        return "crashed", f"ended with status {ended.status} while it loaded"

    def died(self, model: str, ended: Ended) -> control.Died:
        """What is told of its end, where nobody asked for that."""
        slot, how = self.target.slot, (ended.signal, ended.status, ended.memory)
        return control.Died(model, slot.release, slot.bundle, self.target.stage, *how, self.hung)

    def suits(self, alias: str) -> bool:
        """Whether it answers those who asked for `alias`."""
        return not alias or (alias == "trial") == (self.target.stage == "trial")

    # --- what comes from it -----------------------------------------------------------------------------------

    def _on_channel(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        self._receive_all()

    def _receive_all(self) -> None:
        """Takes all messages that are there; the end of the channel is told by the pidfd."""
        try:
            while (message := self._channel.receive()) is not None:
                self._silent_s = 0
                self._take(message)
        except EOFError:
            self._loop.unwatch(self._channel.fileno())

    def _take(self, message: Message) -> None:
        body = message.body
        match message.op:
            case "welcome":
                self._welcome_parts.append(body["part"])
            case "ready":
                self.expected()
                self.stateful = body["stateful"]
                if self._gentle:
                    self._child.set_nice(0)
                self.welcome = json.loads("".join(self._welcome_parts))
                self._welcome_parts.clear()
                self.owner.worker_ready(self)
            case "failed":
                self._refusal = (body["code"], body["reason"])
            case "ack":
                carried = self._given.pop(body["id"])
                carried.close()
                self._holds[carried.id] = carried.alias
            case "lost":
                self.owner.worker_lost(self._given.pop(body["id"]))
            case "closed":
                self._holds.pop(body["id"], None)
                self.owner.worker_closed(body["id"])
            case "back":
                self._take_back(message)
            case "counters":
                self.counts = body
                self.used_at = time.monotonic()  # it tells only what has changed
            case "notes":
                self.notes.take(body["notes"])
            case "hung":
                self.owner.worker_hung(self)
            case "drained":
                self.counts = body
                self.owner.worker_drained(self)

    def _take_back(self, message: Message) -> None:
        id = int(message.body["id"])
        alias = self._holds.pop(id, "")
        if len(message.descriptors) >= 2 and not message.lost:
            connection, state, *shares = message.descriptors
            self.owner.worker_gave_back(Carried(id, connection, state, tuple(shares), alias))
            return
        for descriptor in message.descriptors:  # this process has no room for more: the client connects anew
            os.close(descriptor)
        self.owner.worker_closed(id)

    def _on_end(self, _events: int) -> None:
        self._receive_all()  # what it sent before it ended is still there
        pidfd = self._child.pidfd
        self._loop.unwatch(pidfd)
        ended = self._child.reap()
        if ended is None:
            self._loop.watch(pidfd, READ, self._on_end)
            return
        self.expected()
        self._loop.unwatch(self._channel.fileno())
        self._channel.close()
        self._close_lent()
        for id in self._holds:
            self.owner.worker_closed(id)
        self._holds.clear()
        given, self._given = self._given, {}
        self.owner.worker_ended(self, ended)
        for carried in given.values():  # only now, or they would be given to this worker again
            self.owner.worker_gave_back(carried)

    # --- what goes to it --------------------------------------------------------------------------------------

    def _send(self, op: str, body: dict[str, Any] | None = None, descriptors: tuple[int, ...] = ()) -> None:
        self._after(self._channel.send(op, body, descriptors))

    def _flush(self) -> None:
        self._after(self._channel.flush())

    def _after(self, again: bool) -> None:
        if not self._channel.unsent:
            self._close_lent()
        try:
            self._loop.change(self._channel.fileno(), READ | (WRITE if self._channel.unsent and not again else 0))
        except (OSError, ValueError):
            return  # the worker is gone; its pidfd says so
        if again:
            self._loop.call_in(RETRY_S, self._flush)

    def _close_lent(self) -> None:
        for each in self._lent:
            each.close()
        self._lent.clear()

    def _too_late(self) -> None:
        self._timed_out = True
        self.kill()


class Workshop:
    """Makes the workers of all models of a host. rest_percent: of those made from now on."""

    def __init__(self, loop: Loop, engine: Engine, limits: Limits, load_timeout_s: float) -> None:
        self._loop = loop
        self._engine = engine
        self._limits = limits
        self._load_timeout_s = load_timeout_s
        self.rest_percent = 0

    def make(
        self,
        owner: Owner,
        target: Target,
        release: Release,
        delegate: Delegate | None,
        ring: int | None,
        *,
        gentle: bool,
    ) -> Worker:
        """A worker that loads now, and is killed if that takes too long. ring: where it keeps inputs.

        Raises NoRoomError where none can be made.
        """
        slot, limits = target.slot, self._limits
        settings = Settings(
            release=release,
            stage=target.stage,
            tuning=Tuning(slot.threads, slot.interpreters, slot.cpus),
            delegate=delegate,
            read_ahead=limits.read_ahead,
            queue_bytes=limits.queue_bytes,
            max_shares=limits.max_shares,
            max_share_bytes=limits.max_share_bytes,
            ring=ring,
            ring_bytes=limits.ring_bytes,
            hung_s=HUNG_S,
        )
        try:
            worker = Worker(self._loop, owner, self._engine, target, settings, need_bytes(target, release), gentle)
        except OSError as error:
            raise NoRoomError(f"no worker can be made: {error}") from error
        worker.expect(self._load_timeout_s)
        worker.rest(self.rest_percent)
        return worker


def need_bytes(target: Target, release: Release) -> int:
    """Memory it will take: as its trial measured, else as it promises, else at least the model's own."""
    manifest = release.manifest
    return target.slot.memory_bytes or manifest.limits.memory_bytes or manifest.blobs["model"].length


def _oom_score(stage: str) -> int:
    return TRIAL_OOM_SCORE if stage == "trial" else 0
