"""The agent: joins link, updater and health in one single-threaded loop. Nothing else knows all of them."""

import contextlib
import fcntl
import logging
import os
import platform
import select
import signal
import time
import uuid
from collections.abc import Iterator
from typing import Any

from agent import fsio
from agent.config import Config
from agent.control import Counters
from agent.health import gate
from agent.health.canary import CanaryAsker
from agent.health.gate import Weighed, weigh
from agent.health.judge import Judge, Policy
from agent.link.events import Connected, Disconnected, Message
from agent.link.link import Link
from agent.link.mirror import Mirror
from agent.link.outbox import Outbox
from agent.link.reporter import Reporter
from agent.link.source import MqttSource
from agent.link.sources import Sources
from agent.status import StatusSocket
from agent.updater import clock, folder
from agent.updater.child_protocol import Fail, Plan
from agent.updater.device import DeviceMemory
from agent.updater.folder import FolderSource
from agent.updater.intake import Intake
from agent.updater.local import LocalWish
from agent.updater.machine import Moment
from agent.updater.planning import Planner
from agent.updater.safety import SafeMode
from agent.updater.steps import Rooms
from agent.updater.update import Updates
from agent.updater.voucher import Voucher
from littoral import __version__
from littoral.bundle.manifest import Manifest
from littoral.errors import ConfigError, ConflictError
from littoral.wire import messages
from littoral.wire.topics import Topics

BUSY_TICK_S = 0.1
IDLE_TICK_S = 1.0

log = logging.getLogger("littoral.agent")


def run(config: Config) -> int:
    """Runs until SIGTERM or SIGINT.

    Raises ConfigError for settings that no device can run with, ConflictError where another agent runs here.
    """
    if not config.device or not config.broker.host:
        raise ConfigError("agent.toml names no device or no broker", remedy="Enrol first: `littoral-agent enroll`.")
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    with _alone(config):
        with contextlib.suppress(OSError):  # a disk that cannot do it says so again, at the next decision
            fsio.settle(config.state)
        agent = Agent(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: agent.stop())
        agent.startup()
        try:
            agent.main_loop()
        finally:
            agent.shutdown()
    return 0


@contextlib.contextmanager
def _alone(config: Config) -> Iterator[None]:
    """Only one agent writes the records of a state folder. Raises ConflictError where another one runs."""
    descriptor = os.open(config.state / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(f"another agent runs on {config.state}", remedy="End it first.") from None
        yield
    finally:
        os.close(descriptor)


class Agent:
    """One device's agent."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._boot = uuid.uuid4().hex[:16]  # names this start of the agent in reports
        self._topics = Topics(config.tenant)
        self._running = True
        self._tick_s = BUSY_TICK_S
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._memory = DeviceMemory(config.state, config.tenant, config.device)
        self._safety = SafeMode(self._memory, clock.boot_seconds())
        self._status = StatusSocket(config.state)
        self._link = Link(config, self._boot, self._wake)
        self._outbox = Outbox(config.state / "outbox.db", self._topics, config.device, config.reports.outbox_events)
        self._reporter = Reporter(
            self._link, self._outbox, self._topics, config.device, self._boot, config.reports.metrics_s
        )
        mirror = Mirror(config, config.updates.answer_timeout_s / 2, self._wake) if config.mirror.url else None
        self._source = Sources(MqttSource(self._link, self._topics, config.device), mirror)
        self._folder = FolderSource(config.state / folder.NAME)
        self._wish = LocalWish(config.state, self._memory, self._tell)
        self._voucher = Voucher(str(config.control_socket))
        self._planner = Planner(self._source, config.updates.answer_timeout_s, self._learn)
        self._canary = CanaryAsker(str(config.query_socket), config.probation.canary_s, self._wake)
        self._intake = Intake(config, self._memory, self._planner, self._tell)
        rooms = Rooms(
            config=config,
            architecture=platform.machine(),
            planner=self._planner,
            source=self._source,
            folder=self._folder,
            voucher=self._voucher,
            canary=self._canary,
            judge=_judge,
            online=lambda: self._link.connected,
            known_time=lambda: self._memory.record.known_time,
            wall=time.time,
            safe=lambda: self._safety.active,
            may_activate=lambda model: True,
            tell=self._tell,
            weigh=_weigh,
        )
        self._updates = Updates(rooms, Moment(int(time.time()), clock.boot_id()))

    def startup(self) -> None:
        self._tell("started", "", 0, f"littoral-agent {__version__}", {})
        if self._safety.active:
            self._tell("safe-mode", "", 0, self._safety.warning, {"starts": self._memory.record.starts})
        self._want()
        self._link.subscribe([self._topics.desired(self._config.device)])
        self._canary.start()
        self._link.start()

    def main_loop(self) -> None:
        while self._running:
            self._wait()
            self.turn(clock.boot_seconds(), int(time.time()))

    def turn(self, now: float, at: int) -> None:
        """Everything that can be done without waiting. now: boot clock, seconds; at: seconds since 1970."""
        self._hear_link(now)
        self._hear_runtime(now)
        for result in self._canary.poll():
            for update in self._updates.models.values():
                update.canary(result, now)
        self._planner.tick(now)
        for got in self._source.poll():
            self._planner.take(got.name, got.data)
            self._updates.arrived(got.name, got.data, now)
        for got in self._folder.poll():
            self._updates.arrived(got.name, got.data, now, local=True)
        self._take_in(now)
        self._safety.tick(now)
        self._updates.tick(now, at)
        self._status.answer(self._told)
        self._reporter.report(self._reported())
        self._reporter.tick(now, at)
        busy = self._updates.busy or self._intake.busy or not self._voucher.connected
        self._tick_s = BUSY_TICK_S if busy else IDLE_TICK_S

    def shutdown(self) -> None:
        """Leaves everything as a power cut would, only politely."""
        self._safety.stopped()
        self._status.close()
        self._updates.close()
        self._planner.close()
        self._source.stop()
        self._canary.stop()
        self._voucher.close()
        self._link.stop()
        self._outbox.close()

    def stop(self) -> None:
        self._running = False
        self._wake()

    def _wake(self) -> None:
        """Ends the wait of the loop; called from any thread."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def _wait(self) -> None:
        rooms = (self._voucher, self._planner, self._status)
        others = [fd for fd in (room.fileno() for room in rooms) if fd is not None]
        select.select([self._wake_read, *others], [], [], self._tick_s)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _hear_link(self, now: float) -> None:
        for event in self._link.poll():
            self._source.heard(event)
            self._outbox.heard(event)
            self._reporter.heard(event)
            if isinstance(event, Message) and event.topic == self._topics.desired(self._config.device):
                self._intake.offer(event.payload)
            elif isinstance(event, Connected):
                log.info("connected to the broker")
            elif isinstance(event, Disconnected):
                log.warning("not connected to the broker: %s", event.reason)

    def _hear_runtime(self, now: float) -> None:
        for message in self._voucher.poll():
            if isinstance(message, Counters):
                self._reporter.counters(message)
            self._updates.notice(message, now)

    def _take_in(self, now: float) -> None:
        """A new desired state, and what somebody at this device wishes for."""
        try:
            if self._intake.tick(now, self._link.connected) is not None or self._wish.take_in():
                self._safety.heard_newer()
                self._want()
            if self._wish.settle({name: update.record for name, update in self._updates.models.items()}):
                self._want()
        except OSError as error:
            log.warning("what is wanted cannot be stored: %s", error)

    def _want(self) -> None:
        """The stored desired state, and before it what was wished for here since."""
        self._updates.end_local()
        desired = self._memory.wanted()
        if desired is not None:
            self._updates.want(desired)
        self._updates.want_local(self._wish.wants, self._memory.generation)

    def _learn(self, ended: Plan | Fail) -> None:
        """A root verified: it and the time are worth keeping, if the clock is a true one."""
        if not clock.synchronised():
            return
        learn = self._memory.learn_time if isinstance(ended, Plan) else self._memory.learn_root
        try:
            learn(int(time.time()), ended.root_version)
        except OSError as error:
            log.warning("the known time cannot be stored: %s", error)

    def _tell(self, kind: str, model: str, release: int, text: str, facts: dict[str, Any]) -> None:
        """A milestone: to the log, and upstream."""
        log.info("%s%s: %s", kind, f" {model} {release}" if model else "", text)
        event = messages.Event(uuid.uuid4().hex, int(time.time()), kind, model, release, text, facts)
        self._reporter.event(event)

    def _reported(self) -> messages.Reported:
        greeting = self._voucher.greeting
        return messages.Reported(
            device=self._config.device,
            boot=self._boot,
            agent=__version__,
            architecture=platform.machine(),
            engine=greeting.engine if greeting else "",
            generation=self._memory.generation,
            tags=self._config.tags,
            models={name: update.view() for name, update in self._updates.models.items()},
            warnings=self._warnings(),
        )

    def _told(self) -> dict[str, Any]:
        """What `littoral-agent status` cannot read from the disk."""
        return {
            "agent": __version__,
            "connected": self._link.connected,
            "generation": self._memory.generation,
            "safe_mode": self._safety.active,
            "warnings": list(self._warnings()),
            "models": {name: update.situation() for name, update in self._updates.models.items()},
        }

    def _warnings(self) -> tuple[str, ...]:
        """What is wrong with this device rather than with a release."""
        greeting = self._voucher.greeting
        found = [greeting.degraded if greeting else "the runtime is away", self._outbox.problem, self._source.problem]
        found += [
            self._safety.warning,
            self._intake.problem,
            *(update.warning for update in self._updates.models.values()),
        ]
        if self._outbox.dropped:
            found.append(f"{self._outbox.dropped} reports lost")
        return tuple(warning for warning in found if warning)


def _weigh(measured: dict[str, Any], manifest: Manifest, policy: str) -> Weighed:
    return weigh(measured, manifest.lineage, policy or gate.LINEAGE, manifest.accept_explained)


def _judge(manifest: Manifest, baseline_constant: int) -> Judge:
    return Judge(Policy(), baseline_constant)
