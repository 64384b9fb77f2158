"""The agent: joins link, updater and health in one single-threaded loop. Nothing else knows all of them."""

import contextlib
import fcntl
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import control, fsio, journal, lean, slots
from agent.alarms import Alarms, Symptom, alarms
from agent.config import Config
from agent.health import gate
from agent.health.canary import CanaryAsker
from agent.health.checks import Checks
from agent.health.committed import CommittedCanaries, Finding
from agent.health.gate import Weighed, weigh
from agent.health.judge import Before, Judge
from agent.health.policy import policy
from agent.journal import WARNING
from agent.link.events import Connected, Disconnected, Message
from agent.link.link import Link
from agent.link.outbox import Outbox
from agent.link.reporter import Reporter
from agent.link.source import MqttSource
from agent.link.sources import Sources
from agent.readings import Sensors
from agent.slots import Slot
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
from agent.vitals import Vitals
from littoral import __version__
from littoral.bundle.manifest import Manifest
from littoral.errors import ConfigError, ConflictError
from littoral.notify import Notifier
from littoral.wire import messages
from littoral.wire.topics import Topics

if TYPE_CHECKING:
    from agent.link.mirror import Mirror

BUSY_TICK_S = 0.1
IDLE_TICK_S = 1.0
SETTLED_S = 5.0  # from the start: what ran until then is mostly not needed again


def run(config: Config, root: Path = Path("/")) -> int:
    """Runs until SIGTERM or SIGINT. root: where /sys and /proc are.

    Raises ConfigError for settings that no device can run with, ConflictError where another agent runs here.
    """
    if not config.device or not config.broker.host:
        raise ConfigError("agent.toml names no device or no broker", remedy="Enrol first: `littoral-agent enroll`.")
    journal.begin()
    with _alone(config):
        with contextlib.suppress(OSError):  # a disk that cannot do it says so again, at the next decision
            fsio.settle(config.state)
        agent = Agent(config, root)
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

    def __init__(self, config: Config, root: Path = Path("/")) -> None:
        self._config = config
        self._boot = os.urandom(8).hex()  # names this start of the agent in reports
        self._topics = Topics(config.tenant)
        self._running = True
        self._tick_s = BUSY_TICK_S
        self._notifier = Notifier()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._memory = DeviceMemory(config.state, config.tenant, config.device)
        self._safety = SafeMode(self._memory, clock.boot_seconds())
        self._status = StatusSocket(config.state)
        self._link = Link(config, self._boot, self._wake)
        self._outbox = Outbox(config.state / "outbox.db", self._topics, config.device, config.reports.outbox_events)
        self._reporter = Reporter(
            self._link, self._outbox, self._topics, config.device, self._boot, config.reports.metrics_s
        )
        self._source = Sources(MqttSource(self._link, self._topics, config.device), _mirror(config, self._wake))
        self._folder = FolderSource(config.state / folder.NAME)
        self._wish = LocalWish(config.state, self._memory, self._tell)
        self._voucher = Voucher(str(config.control_socket))
        self._vitals = Vitals(config.hardware, Sensors(root, config.state, config.hardware.zones).read, self._voucher)
        self._alarms = Alarms(self._tell)
        self._planner = Planner(self._source, config.updates.answer_timeout_s, self._learn)
        self._canary = CanaryAsker(str(config.query_socket), config.probation.canary_s, self._wake)
        self._committed = CommittedCanaries()
        self._told_well: tuple[int, bool] | None = None  # on which connection, and what
        own = config.state / config.probation.health_d if config.probation.health_d else None
        self._checks = Checks(own, config.probation.checks_s, str(config.query_socket))
        self._intake = Intake(config, self._memory, self._planner, self._tell)
        rooms = Rooms(
            config=config,
            architecture=os.uname().machine,
            planner=self._planner,
            source=self._source,
            folder=self._folder,
            voucher=self._voucher,
            canary=self._canary,
            checks=self._checks,
            judge=self._judge,
            online=lambda: self._link.connected,
            known_time=lambda: self._memory.record.known_time,
            wall=time.time,
            safe=lambda: self._safety.active,
            may_activate=lambda model: True,
            tell=self._tell,
            weigh=_weigh,
            shadows=lambda: self._vitals.shadows,
            unfit=lambda: self._vitals.unfit,
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
        self._notifier.ready(f"littoral-agent {__version__} of {self._config.device}")

    def main_loop(self) -> None:
        forget_at = clock.boot_seconds() + SETTLED_S
        while self._running:
            self._wait()
            now = clock.boot_seconds()
            self.turn(now, int(time.time()))
            if now >= forget_at and self._link.connected and self._tick_s == IDLE_TICK_S:
                forget_at = now + lean.FORGET_S
                lean.forget_code()

    def turn(self, now: float, at: int) -> None:
        """Everything that can be done without waiting. now: boot clock, seconds; at: seconds since 1970."""
        self._vitals.tick(now, self._updates.watching)
        self._updates.device(self._vitals.troubled, now)
        self._hear_link(now)
        self._hear_runtime(now)
        self._hear_canary(now)
        self._checks.tick(now)
        self._planner.tick(now)
        for got in self._source.poll():
            self._planner.take(got.name, got.data)
            self._updates.arrived(got.name, got.data, now)
        for got in self._folder.poll():
            self._updates.arrived(got.name, got.data, now, local=True)
        self._take_in(now)
        self._safety.tick(now)
        self._updates.tick(now, at)
        self._alarms.look(self._symptoms(), now)
        self._status.answer(self._told)
        self._reporter.report(self._reported())
        self._reporter.tick(now, at)
        busy = self._updates.busy or self._intake.busy or self._checks.busy or not self._voucher.connected
        self._tick_s = BUSY_TICK_S if busy else IDLE_TICK_S
        self._notifier.feed(now)

    def shutdown(self) -> None:
        """Leaves everything as a power cut would, only politely."""
        self._notifier.stopping()
        self._safety.stopped()
        self._status.close()
        self._updates.close()
        self._planner.close()
        self._source.stop()
        self._canary.stop()
        self._checks.stop()
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
        rooms = (self._voucher, self._planner, self._status, self._checks)
        others = [fd for fd in (room.fileno() for room in rooms) if fd is not None]
        longest_s = min(self._tick_s, self._notifier.every_s or self._tick_s)
        select.select([self._wake_read, *others], [], [], longest_s)
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
                journal.say("connected to the broker")
            elif isinstance(event, Disconnected):
                journal.say(f"not connected to the broker: {event.reason}", WARNING)

    def _hear_runtime(self, now: float) -> None:
        connections = self._voucher.connections
        for message in self._voucher.poll():
            if isinstance(message, control.Counters):
                self._reporter.counters(message)
                self._committed.counters(message, now)
            self._updates.notice(message, now)
        if self._voucher.connections != connections:
            self._committed.begin_anew()

    def _hear_canary(self, now: float) -> None:
        """What models on trial answered, and committed ones; and asks the next of these."""
        for result in self._canary.poll():
            finding = self._committed.answered(result, now)
            if finding is not None:
                self._renew(finding)
            for update in () if result.once else self._updates.models.values():
                update.canary(result, now)
        if not self._voucher.connected:
            return
        for question in self._committed.due(self._canary.watched, now):
            golden = slots.release_folder(self._config.state, question.bundle) / "golden"
            self._canary.ask(question.model, question.release, golden if fsio.exists(golden) else None)
        well = (self._voucher.connections, self._committed.well(now))
        if well != self._told_well and self._voucher.send(control.Well(well[1])):
            self._told_well = well

    def _renew(self, finding: Finding) -> None:
        if self._voucher.send(control.Renew(finding.model)):
            facts = {"failures": finding.failures, "code": finding.code}
            self._tell("renewed", finding.model, finding.release, f"its worker is started anew: {finding.text}", facts)

    def _take_in(self, now: float) -> None:
        """A new desired state, and what somebody at this device wishes for."""
        try:
            if self._intake.tick(now, self._link.connected) is not None or self._wish.take_in():
                self._safety.heard_newer()
                self._want()
            if self._wish.settle({name: update.record for name, update in self._updates.models.items()}):
                self._want()
        except OSError as error:
            journal.say(f"what is wanted cannot be stored: {error}", WARNING)

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
            journal.say(f"the known time cannot be stored: {error}", WARNING)

    def _tell(self, kind: str, model: str, release: int, text: str, facts: dict[str, Any]) -> None:
        """A milestone: to the log, and upstream."""
        journal.milestone(kind, model, release, text)
        event = messages.Event(os.urandom(16).hex(), int(time.time()), kind, model, release, text, facts)
        self._reporter.event(event)

    def _reported(self) -> messages.Reported:
        greeting = self._voucher.greeting
        return messages.Reported(
            device=self._config.device,
            boot=self._boot,
            agent=__version__,
            architecture=os.uname().machine,
            engine=greeting.engine if greeting else "",
            generation=self._memory.generation,
            tags=self._config.tags,
            models={name: update.view() for name, update in self._updates.models.items()},
            warnings=self._alarms.told,
        )

    def _told(self) -> dict[str, Any]:
        """What `littoral-agent status` cannot read from the disk."""
        return {
            "agent": __version__,
            "connected": self._link.connected,
            "generation": self._memory.generation,
            "safe_mode": self._safety.active,
            "warnings": [asdict(alarm) for alarm in alarms(self._symptoms())],
            "device": self._vitals.told(),
            "checks": {model: [asdict(each) for each in results] for model, results in self._checks.last.items()},
            "models": {name: update.situation() for name, update in self._updates.models.items()},
        }

    def _symptoms(self) -> list[Symptom]:
        """What is wrong with this device, rather than with a release, at this moment."""
        greeting, dropped = self._voucher.greeting, self._outbox.dropped
        found = {
            "runtime-away": "" if greeting else "nothing listens on its control socket",
            "runtime-slow": greeting.degraded if greeting else "",
            "outbox-broken": self._outbox.problem,
            "mirror-rests": self._source.problem,
            "safe-mode": self._safety.warning,
            "desired-waits": self._intake.problem,
            "reports-lost": f"{dropped} since the agent started" if dropped else "",
        }
        of_models = [update.symptom for update in self._updates.models.values()]
        return [
            *self._vitals.symptoms,
            *(Symptom(code, text) for code, text in found.items() if text),
            *(Symptom("not-answering", text) for text in self._committed.warnings),
            *(Symptom("check-bad", text) for text in self._checks.bad),
            *(Symptom("check-refused", text) for text in self._checks.refused),
            *(symptom for symptom in of_models if symptom is not None),
        ]

    def _judge(self, manifest: Manifest, slot: Slot) -> Judge:
        before = Before(slot.baseline_constant, slot.baseline_votes, slot.baseline_votes_bad, slot.baseline_rise_bytes)
        has_limit = manifest.limits.p95_us > 0
        numbers = policy(self._config.probation, manifest.health, late=has_limit, reported=before.heeds_apps)
        return Judge(numbers, before, slot.tests)


def _mirror(config: Config, wake: Callable[[], None]) -> "Mirror | None":
    if not config.mirror.url:
        return None
    from agent.link.mirror import Mirror  # few have one: it takes half a megabyte

    return Mirror(config, config.updates.answer_timeout_s / 2, wake)


def _weigh(measured: dict[str, Any], manifest: Manifest, policy: str) -> Weighed:
    return weigh(measured, manifest.lineage, policy or gate.LINEAGE, manifest.accept_explained)
