"""The runtime host: one thread that joins door, models, trials and control. It loads no model itself.

At start it serves what is committed; everything else happens at the agent's word.
"""

import os
import resource
import signal
import socket
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent import control, fsio, lean, slots
from agent.config import Config
from agent.runtime import engine, ring
from agent.runtime.engines import degraded, delegates, engine_text
from agent.runtime.handover import Carried
from agent.runtime.host import access, door, journal, listing, memory, surroundings
from agent.runtime.host.control_door import ControlDoor
from agent.runtime.host.listener import handed_over, listen
from agent.runtime.host.loop import READ, Loop
from agent.runtime.host.pressure import Pressure
from agent.runtime.host.room import Room
from agent.runtime.host.serving import Model
from agent.runtime.host.shelf import Shelf
from agent.runtime.host.workers import Limits, Worker, Workshop
from agent.runtime.rehearsal import rehearsals
from agent.runtime.rehearsal.rehearsals import Rehearsals
from agent.runtime.release import Release
from agent.runtime.trial import trials
from littoral import errors
from littoral.notify import Notifier

COUNTERS_S = 1.0
SETTLED_S = 1.0  # from the start: what ran until then is mostly not needed again
MEASURE_S = 10.0  # between two looks at the workers' memory: each walks their page tables
DESCRIPTORS_PER_CONNECTION = 4  # its own and its state's, twice during a switch; those it shares come on top
OTHER_DESCRIPTORS = 256


class Host:
    """All of the runtime. `run` serves until SIGTERM or SIGINT."""

    def __init__(self, config: Config, opened: engine.Engine, shelf: Shelf, pressure: Pressure) -> None:
        self._config = config
        self._engine = opened
        self._shelf = shelf
        self._pressure = pressure
        self._loop = Loop()
        self._models: dict[str, Model] = {}
        self._leases: Counter[str] = Counter()
        self._notifier = Notifier()
        self._well = True  # as far as the agent knows
        self._room = Room(self._models)
        runtime = config.runtime
        self._budget_bytes = memory.budget(runtime.memory_budget_bytes)
        self._rings: dict[str, int] = {}
        limits = Limits(
            read_ahead=runtime.queue_per_connection,
            queue_bytes=runtime.queue_bytes,
            max_shares=runtime.max_shares,
            max_share_bytes=runtime.max_share_bytes,
            ring_bytes=config.rehearsal.ring_bytes,
        )
        workshop = Workshop(self._loop, opened, limits, runtime.trial_timeout_s)
        self._workshop = workshop
        self._pace = control.Pace(0, shadows=True)
        self._serving = surroundings.Settings(
            shelf, workshop, runtime.vouch_grace_s, self._budget_bytes, config.probation.understudy
        )
        self._access = access.of_device(config.access, config.state)
        _raise_descriptor_limit(
            runtime.max_connections * (DESCRIPTORS_PER_CONNECTION + runtime.max_shares) + OTHER_DESCRIPTORS
        )
        self._own_sockets: list[Path] = []
        given = handed_over(os.environ)
        listener = self._listen(given.get("query"), config.query_socket, int(runtime.socket_mode, 8))
        limits_of_door = door.Settings(
            runtime.max_connections,
            runtime.max_connections_per_user,
            runtime.hello_timeout_s,
            config.updates.lease_hold_s,
        )
        self._door = door.Door(self._loop, listener, limits_of_door, self)
        self._trials = trials.Trials(
            trials.Settings(config.state, opened, runtime.trial_timeout_s, self.delegate),
            self._loop,
            self._free_bytes,
            self.tell,
        )
        self._rehearsals = Rehearsals(
            rehearsals.Settings(shelf.release, opened, config.rehearsal.budget_s, self.delegate),
            self._loop,
            self.ring,
            lambda: self._free_bytes(""),
            self.tell,
        )
        control_listener = self._listen(given.get("control"), config.control_socket, 0o600)
        self._control = ControlDoor(self._loop, control_listener, self._agent_came, self._agent_left, self._agent_said)

    def run(self) -> None:
        """Serves until asked to end by a signal."""
        waker = self._catch_signals()
        for name in self._shelf.models():
            self._add(name).start()
        self._loop.every(COUNTERS_S, self._each_second)
        self._loop.every(MEASURE_S, self._measure)
        self._pressure.watch(self._loop, self._room.relieve)
        self._loop.call_in(SETTLED_S, lean.forget_code)
        self._loop.every(lean.FORGET_S, lean.forget_code)
        serves = f"{engine_text(self._engine)} serves {self._config.query_socket}"
        journal.say(serves)
        self._notifier.ready(serves)
        if self._notifier.every_s:
            self._loop.every(self._notifier.every_s, self._feed)
        try:
            self._loop.run()
        finally:
            self._notifier.stopping()
            self._end()
            waker.close()

    # --- what the door leads to -------------------------------------------------------------------------------

    def admit(self, caller: access.Caller, model: str) -> access.Allowance:
        found = self._models.get(model)
        if found is None or (not found.workers and found.record is None and model not in self._shelf.models()):
            if fsio.exists(slots.path_of(self._config.state, model)):  # the agent knows it, and nothing of it was good
                raise errors.NoReleaseError(f"no release of {model} was ever served here")
            raise errors.UnknownModelError(f"no model here has the name {model!r}")
        return self._access.check(caller, model)

    def take(self, model: str, carried: Carried) -> None:
        self._models[model].take(carried)

    def leased(self, model: str, change: int) -> None:
        self._leases[model] += change
        self.tell(control.Leases(model, self._leases[model]))

    def greeting_json(self) -> dict[str, Any]:
        return {"engine": engine_text(self._engine), "degraded": degraded()}

    def list_json(self) -> dict[str, Any]:
        models = sorted(self._models.items())
        return {"models": [listing.entry(model, self._rings.get(name)) for name, model in models]}

    def stats_json(self, caller: access.Caller) -> dict[str, Any]:
        """What apps wrote is for those who may use the model, the counts are for everybody."""
        told = {counters.model: _counters_json(counters) for counters in self._counters()}
        for name in told:
            worker = self._models[name].current
            with suppress(errors.AccessDeniedError):
                self._access.check(caller, name)
                told[name]["notes"] = list(worker.notes.newest) if worker else []
        return {"models": told}

    # --- what models need -------------------------------------------------------------------------------------

    def tell(self, message: control.Message) -> None:
        journal.tell(message)
        self._control.tell(message)

    def tell_counters(self, model: str, worker: Worker) -> None:
        self.tell(listing.counters(model, worker))

    def refuse(self, carried: Carried, error: errors.QueryError) -> None:
        self._door.refuse(carried, error)

    def forget(self, connection: int) -> None:
        self._door.forget(connection)

    def others_bytes(self, model: str) -> int:
        rings = sum(ring.size_bytes(held) for held in self._rings.values())
        return rings + sum(other.memory_bytes for name, other in self._models.items() if name != model)

    def make_room(self, model: str, missing_bytes: int) -> bool:
        return self._room.make(model, missing_bytes)

    def may_have_room(self, model: str) -> bool:
        return self._room.may_come(model)

    def room_came(self) -> None:
        for model in self._models.values():
            model.room_came()

    def ring(self, model: str) -> int | None:
        if not self._config.rehearsal.ring or not self._config.rehearsal.ring_bytes:
            return None
        if model not in self._rings:
            try:
                self._rings[model] = ring.make()
            except OSError as error:
                journal.say(f"{model}: inputs cannot be kept: {error}", "WARNING")
                return None
        return self._rings[model]

    def delegate(self, model: str, release: Release) -> engine.Delegate | None:
        known = [
            engine.Delegate(each.kind, each.path, each.options, each.models, each.exclusive)
            for each in self._config.delegates.values()
        ]
        found = delegates.for_release(known, release.manifest.needs, model)
        if found is None or not found.exclusive:
            return found
        for other in self._models.values():
            if other.name != model and any(w.delegate and w.delegate.path == found.path for w in other.workers):
                if found.required:
                    raise errors.IncompatibleError(f"{other.name} has the {found.kind} delegate open, and it is alone")
                journal.say(f"{model}: runs on the CPU, as {other.name} has the {found.kind} delegate open")
                return None
        return found

    # --- what the agent says ----------------------------------------------------------------------------------

    def _agent_came(self) -> None:
        for worker in self._workers():
            worker.notes.forget_told()
        self.tell(control.Greeting(engine_text(self._engine), self._budget_bytes, degraded()))
        for model in self._models.values():
            model.agent_came()
        for name, held in self._leases.items():
            if held:
                self.tell(control.Leases(name, held))

    def _agent_left(self) -> None:
        self._keep_pace(control.Pace(0, shadows=True))
        self._well = True
        self._trials.cancel()
        self._rehearsals.cancel()
        for model in self._models.values():
            model.agent_left()

    def _agent_said(self, message: control.Message) -> None:
        match message:
            case control.Try():
                self._trials.ask(message)
            case control.Rehearse():
                self._rehearsals.ask(message)
            case control.Apply():
                self._apply(message)
            case control.Unload():
                if message.model in self._models:
                    self._models[message.model].unload()
            case control.Renew():
                if message.model in self._models:
                    self._models[message.model].renew()
            case control.Well():
                self._hear_of_canaries(message.ok)
            case control.Measure():
                self._measure()
                models = {name: model.memory_bytes for name, model in self._models.items()}
                self.tell(control.Memory(self._budget_bytes, models))
            case control.Pace():
                self._keep_pace(message)
            case _:
                journal.say(f"the agent sent {type(message).__name__}, which is for the runtime to say", "WARNING")

    def _apply(self, message: control.Apply) -> None:
        model = self._models.get(message.model) or self._add(message.model)
        model.apply(message.handover)

    def _keep_pace(self, pace: control.Pace) -> None:
        """Whatever is loaded later keeps it too."""
        if pace != self._pace:
            self._pace = pace
            journal.tell(pace)
        self._workshop.rest_percent = pace.rest_percent
        for worker in self._workers():
            worker.rest(pace.rest_percent)

    def _hear_of_canaries(self, ok: bool) -> None:
        if ok == self._well:
            return
        self._well = ok
        text = "canaries are answered again" if ok else "no canary is answered: the watchdog is fed no more"
        journal.say(text, "INFO" if ok else "WARNING")
        self._notifier.status(text)

    # --- small things -----------------------------------------------------------------------------------------

    def _listen(self, given: socket.socket | None, path: Path, mode: int) -> socket.socket:
        """The socket that the service manager made, which it keeps, or one of this process's own."""
        if given is None:
            self._own_sockets.append(path)
            return listen(path, mode)
        if given.getsockname() != str(path):
            raise errors.ConfigError(
                f"the service manager listens on {given.getsockname()}, and agent.toml says {path}",
                remedy="Let both name the same path.",
            )
        return given

    def _add(self, name: str) -> Model:
        model = Model(name, self._config.model(name), self._serving, self._loop, self)
        self._models[name] = model
        return model

    def _free_bytes(self, model: str) -> int:
        """What a release of `model` may take at most: all that other models leave, or leave where they must."""
        self._measure()
        beside_bytes = sum(other.beside_bytes for name, other in self._models.items() if name != model)
        return max(0, self._budget_bytes - self.others_bytes(model) + beside_bytes)

    def _measure(self) -> None:
        for worker in self._workers():
            worker.measure()

    def _workers(self) -> list[Worker]:
        return [worker for model in self._models.values() for worker in model.workers]

    def _counters(self) -> list[control.Counters]:
        models = self._models.values()
        return [listing.counters(model.name, model.current) for model in models if model.current is not None]

    def _each_second(self) -> None:
        now_s = time.monotonic()
        for name, model in self._models.items():
            if model.current is not None and (notes := model.current.notes.news(now_s)):
                self.tell(listing.reported(name, model.current, notes))  # before the counts that may decide on it
        for counters in self._counters():
            self.tell(counters)
        for worker in self._workers():
            worker.check()
        self._room.rest()

    def _feed(self) -> None:
        if self._well:
            self._notifier.feed(time.monotonic())

    def _catch_signals(self) -> socket.socket:
        """SIGTERM and SIGINT end the loop. They arrive as bytes, so that none is lost between two waits."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        signal.set_wakeup_fd(theirs.detach(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self._loop.stop())
        self._loop.watch(ours.fileno(), READ, lambda _events: _drain(ours))
        return ours

    def _end(self) -> None:
        for path in self._own_sockets:
            path.unlink(missing_ok=True)
        self._trials.cancel()
        self._rehearsals.cancel()
        for worker in self._workers():
            worker.kill()
        self._door.close()
        self._control.close()
        self._pressure.close()
        self._loop.close()


def _counters_json(counters: control.Counters) -> dict[str, Any]:
    return {name: getattr(counters, name) for name in counters.__dataclass_fields__ if name != "model"}


def _drain(sock: socket.socket) -> None:
    with suppress(BlockingIOError):
        sock.recv(4_096)


def _raise_descriptor_limit(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
