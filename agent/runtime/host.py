"""The runtime host: one thread that joins door, models, trials and control. It loads no model itself.

At start it serves what is committed; everything else happens at the agent's word.
"""

import logging
import resource
import signal
import socket
from contextlib import suppress
from typing import Any

from agent import control, slots
from agent.config import Config
from agent.runtime import door, memory, serving, trials
from agent.runtime.control_door import ControlDoor
from agent.runtime.engines import Engine, degraded, engine_text
from agent.runtime.handover import Carried
from agent.runtime.listener import listen
from agent.runtime.loop import READ, Loop
from agent.runtime.serving import Model
from agent.runtime.workers import Worker
from littoral import errors

COUNTERS_S = 1.0
MEASURE_S = 10.0  # between two looks at the workers' memory: each walks their page tables
DESCRIPTORS_PER_CONNECTION = 4  # its own and its state's, twice during a switch
OTHER_DESCRIPTORS = 256

log = logging.getLogger("littoral.runtime")


class Host:
    """All of the runtime. `run` serves until SIGTERM or SIGINT."""

    def __init__(self, config: Config, engine: Engine) -> None:
        self._config = config
        self._engine = engine
        self._loop = Loop()
        self._budget_bytes = memory.budget(config.runtime.memory_budget_bytes)
        self._models: dict[str, Model] = {}
        runtime = config.runtime
        self._serving = serving.Settings(
            state=config.state,
            engine=engine,
            read_ahead=runtime.queue_per_connection,
            load_timeout_s=runtime.trial_timeout_s,
            vouch_grace_s=runtime.vouch_grace_s,
            budget_bytes=self._budget_bytes,
        )
        _raise_descriptor_limit(runtime.max_connections * DESCRIPTORS_PER_CONNECTION + OTHER_DESCRIPTORS)
        self._listener = listen(config.query_socket, int(runtime.socket_mode, 8))
        self._door = door.Door(
            self._loop, self._listener, door.Settings(runtime.max_connections, runtime.hello_timeout_s), self
        )
        self._trials = trials.Trials(
            trials.Settings(config.state, engine, runtime.trial_timeout_s), self._loop, self._room, self.tell
        )
        self._control = ControlDoor(
            self._loop, config.control_socket, self._agent_came, self._agent_left, self._agent_said
        )

    def run(self) -> None:
        """Serves until asked to end by a signal."""
        waker = self._catch_signals()
        for name in slots.names(self._config.state):
            self._add(name).start()
        self._loop.every(COUNTERS_S, self._tell_counters)
        self._loop.every(MEASURE_S, self._measure)
        log.info("%s serves %s", engine_text(self._engine), self._config.query_socket)
        try:
            self._loop.run()
        finally:
            self._end()
            waker.close()

    # --- what the door leads to -------------------------------------------------------------------------------

    def take(self, model: str, carried: Carried) -> None:
        found = self._models.get(model)
        if found is None or (not found.workers and found.record is None and not self._has_record(model)):
            raise errors.UnknownModelError(f"no model here has the name {model!r}")
        found.take(carried)

    def greeting_json(self) -> dict[str, Any]:
        return {"engine": engine_text(self._engine), "degraded": degraded()}

    def list_json(self) -> dict[str, Any]:
        return {"models": [self._entry(self._models[name]) for name in sorted(self._models)]}

    def stats_json(self) -> dict[str, Any]:
        found = ((model.name, model.counters()) for model in self._models.values())
        return {"models": {name: _counters_json(counters) for name, counters in found if counters is not None}}

    # --- what models need -------------------------------------------------------------------------------------

    def tell(self, message: control.Message) -> None:
        if not isinstance(message, control.Counters):
            log.info("%s", message)
        self._control.tell(message)

    def refuse(self, carried: Carried, error: errors.QueryError) -> None:
        self._door.refuse(carried, error)

    def forget(self, connection: int) -> None:
        self._door.forget(connection)

    def others_bytes(self, model: str) -> int:
        return sum(other.memory_bytes for name, other in self._models.items() if name != model)

    # --- what the agent says ----------------------------------------------------------------------------------

    def _agent_came(self) -> None:
        self.tell(control.Greeting(engine_text(self._engine), self._budget_bytes, degraded()))
        for model in self._models.values():
            model.agent_came()

    def _agent_left(self) -> None:
        self._trials.cancel()
        for model in self._models.values():
            model.agent_left()

    def _agent_said(self, message: control.Message) -> None:
        match message:
            case control.Try():
                self._trials.ask(message)
            case control.Apply():
                self._apply(message)
            case control.Unload():
                if message.model in self._models:
                    self._models[message.model].unload()
            case control.Measure():
                self._measure()
                models = {name: model.memory_bytes for name, model in self._models.items()}
                self.tell(control.Memory(self._budget_bytes, models))
            case _:
                log.warning("the agent sent %s, which is for the runtime to say", type(message).__name__)

    def _apply(self, message: control.Apply) -> None:
        model = self._models.get(message.model) or self._add(message.model)
        model.apply(message.handover)

    # --- small things -----------------------------------------------------------------------------------------

    def _add(self, name: str) -> Model:
        model = Model(name, self._serving, self._loop, self)
        self._models[name] = model
        return model

    def _has_record(self, model: str) -> bool:
        return slots.path_of(self._config.state, model).exists()

    def _room(self, model: str) -> int:
        """What a release of `model` may take at most: all that other models leave."""
        self._measure()
        return max(0, self._budget_bytes - self.others_bytes(model))

    def _measure(self) -> None:
        for worker in self._workers():
            worker.measure()

    def _workers(self) -> list[Worker]:
        return [worker for model in self._models.values() for worker in model.workers]

    def _tell_counters(self) -> None:
        for model in self._models.values():
            counters = model.counters()
            if counters is not None:
                self.tell(counters)

    def _entry(self, model: Model) -> dict[str, Any]:
        """One model in LIST: as its WELCOME, with the stage as a word."""
        worker = model.current
        if worker is None:
            return {"model": model.name, "release": 0, "version": "", "stage": "none", "reason": ""}
        return {**worker.welcome, "stage": worker.target.stage, "reason": worker.target.reason}

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
        for path in (self._config.query_socket, self._config.control_socket):
            path.unlink(missing_ok=True)
        self._trials.cancel()
        for worker in self._workers():
            worker.kill()
        self._door.close()
        self._control.close()
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
