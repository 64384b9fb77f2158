"""What is served of one model: which release its record names, which worker answers it, and the switch between two.

Everything here follows from `settle`: it compares what should be served with what is, and takes one step; whatever
that step ends in settles again. Connections that no worker can take wait here.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from agent import control, slots
from agent.runtime import memory, release
from agent.runtime.children import Ended
from agent.runtime.engines import Engine
from agent.runtime.handover import Carried
from agent.runtime.loop import Loop, Timer
from agent.runtime.memory import Switch
from agent.runtime.troubles import Troubles
from agent.runtime.workers import Target, Worker
from agent.slots import SlotRecord
from littoral import errors

DRAIN_S = 10.0  # above the longest single inference; after it the worker is killed, and clients connect anew
PATIENCE_S = 2.0  # a client waits for a worker to come back for so long a back-off, and is refused for a longer one


@dataclass(frozen=True, slots=True)
class Settings:
    """What all models of a host share."""

    state: Path
    engine: Engine
    read_ahead: int
    load_timeout_s: float
    vouch_grace_s: float
    budget_bytes: int


class Surroundings(Protocol):
    """What a model needs of its host."""

    def tell(self, message: control.Message) -> None:
        """To the agent, if it is there."""
        ...

    def refuse(self, carried: Carried, error: errors.QueryError) -> None:
        """Says the error to the client and closes the connection."""
        ...

    def forget(self, connection: int) -> None:
        """The connection is closed."""
        ...

    def others_bytes(self, model: str) -> int:
        """Measured memory of all other models."""
        ...


def choose(record: SlotRecord | None, vouched: bool, barred: dict[str, str]) -> Target | None:
    """What should be served. `barred` are bundles that cannot be served until the agent applies again, and why."""
    if record is None or record.serves is None:
        return None
    if record.stage == "trial":
        options = [Target(record.serves, "trial")] if vouched else []
        committed = [Target(record.baseline, "committed")] if record.baseline else []
    else:
        options = []
        committed = [Target(record.serves, "committed")]
        if record.other is not None and _trusted(record, record.other):
            committed.append(Target(record.other, "committed"))
    allowed = [option for option in options + committed if option.slot.bundle not in barred]
    # What is committed goes on being tried: serving late is better than serving nothing.
    allowed = allowed or committed[:1]
    if not allowed:
        return None
    target = allowed[0]
    if target.slot.bundle == record.serves.bundle:
        return target
    return replace(target, reason=barred.get(record.serves.bundle, "unvouched"))


def _trusted(record: SlotRecord, slot: slots.Slot) -> bool:
    """Whether the inactive slot's release was good once: not condemned here, not still to be tried."""
    untried = record.update is not None and record.update.bundle == slot.bundle
    return not untried and all(entry.bundle != slot.bundle for entry in record.blocked)


class Model:
    """One model of the device; the owner of its workers."""

    def __init__(self, name: str, settings: Settings, loop: Loop, around: Surroundings) -> None:
        self.name = name
        self.record: SlotRecord | None = None
        self.current: Worker | None = None
        self._loading: Worker | None = None
        self._outdated: Worker | None = None  # was loading already when the agent applied
        self._draining: Worker | None = None
        self._waiting: list[Carried] = []
        self._vouched = False
        self._grace: Timer | None = None
        self._retry: Timer | None = None
        self._applying = False
        self._handover = False
        self._troubles = Troubles()
        self._settings = settings
        self._loop = loop
        self._around = around

    # --- what the host asks -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Serves what is committed, as no agent vouches yet."""
        self._read_record()
        self._settle()

    def apply(self, handover: bool) -> None:
        """The agent's word: read the record and serve what it says, a trial too."""
        if not self._read_record():
            self.agent_came()
            return
        self._applying, self._handover = True, handover
        self._vouched = True
        self._cancel_grace()
        self._troubles = Troubles()
        self._outdated = self._loading
        self._settle()

    def unload(self) -> None:
        """Serves nothing of this model until the next apply."""
        self.record = None
        self._settle()

    def agent_left(self) -> None:
        """Nobody vouches any more: a trial has the grace to be vouched for again."""
        self._applying = False
        if self._vouched and self._grace is None:
            self._grace = self._loop.call_in(self._settings.vouch_grace_s, self._unvouch)

    def agent_came(self) -> None:
        """Tells what is served, and why not what is committed; where that is about to change, the change will tell."""
        if self._loading is not None or self._draining is not None:
            return
        committed = None if self.record is None else self.record.baseline
        if committed is not None and committed.bundle in self._troubles.failures:
            self._around.tell(self._troubles.failures[committed.bundle])
        self._tell_serving(self._reason())

    def take(self, carried: Carried) -> None:
        """A client's connection: passed to the worker there is, kept for the one to come, or refused."""
        if self.current is not None:
            self.current.give(carried)
        elif self._is_patient:
            self._waiting.append(carried)
        else:
            self._refuse(carried)

    def counters(self) -> control.Counters | None:
        worker = self.current
        return None if worker is None else self._counters(worker)

    @property
    def workers(self) -> list[Worker]:
        """All that run now: the one that answers, one that loads, one that drains."""
        return [worker for worker in (self.current, self._loading, self._draining) if worker is not None]

    @property
    def memory_bytes(self) -> int:
        """As last measured, of all its workers."""
        return sum(worker.memory_bytes for worker in self.workers)

    # --- the one step -----------------------------------------------------------------------------------------

    def _settle(self) -> None:
        if self._loading is not None or self._draining is not None:
            return  # its end settles again
        target = self._target()
        if target is None:
            self._serve_nothing()
        elif self.current is not None and self.current.bundle == target.slot.bundle:
            self._serve_on(target)
        elif self.current is not None and target.slot.bundle in self._troubles.barred:
            self._serve_on(replace(self.current.target, reason="failed"))  # nothing better is left
        else:
            self._load(target)

    def _serve_nothing(self) -> None:
        if self.current is not None:
            self._drain()
            return
        self._refuse_waiting()
        self._applying = False
        self._tell_serving(self._reason())

    def _serve_on(self, target: Target) -> None:
        assert self.current is not None
        self.current.restage(target)
        self._applying = False
        self._tell_serving(target.reason)

    def _load(self, target: Target) -> None:
        delay_s = self._troubles.not_before - time.monotonic()
        if delay_s > 0 and self.current is None:
            if self._retry is None:
                self._retry = self._loop.call_in(delay_s, self._retry_now)
            if not self._is_patient:
                self._refuse_waiting()
            if target.slot.bundle in self._troubles.failures:
                self._tell_serving(self._reason())
            return
        try:
            found = release.read(self._settings.state, target.slot.bundle)
        except errors.LittoralError as error:
            self._could_not_load(target, error.code, str(error))
            return
        switch = self._switch(target, found)
        if switch is Switch.REFUSE:
            free = self._settings.budget_bytes - self._around.others_bytes(self.name)
            reason = f"release {target.slot.release} needs {self._need(target, found)} bytes, {max(0, free)} are free"
            self._could_not_load(target, errors.NoRoomError.code, reason)
        elif switch is Switch.HANDOVER and self.current is not None:
            self._drain()
        else:
            self._fork(target, found)

    def _fork(self, target: Target, found: release.Release) -> None:
        settings = self._settings
        try:
            self._loading = Worker(self._loop, self, settings.engine, target, found, settings.read_ahead)
        except OSError as error:
            self._could_not_load(target, errors.NoRoomError.code, f"no worker can be made: {error}")
            return
        self._loading.expect(settings.load_timeout_s)

    def _drain(self) -> None:
        assert self.current is not None
        self._draining, self.current = self.current, None
        self._draining.drain(DRAIN_S)

    def _switch(self, target: Target, found: release.Release) -> Switch:
        old_bytes = 0 if self.current is None else self.current.measure()
        others_bytes = self._around.others_bytes(self.name)
        switch = memory.choose_switch(self._need(target, found), self._settings.budget_bytes, old_bytes, others_bytes)
        if switch is Switch.REFUSE and not self._applying:
            return Switch.HANDOVER  # at start and after a death: it was admitted before
        return Switch.HANDOVER if self._handover and switch is Switch.OVERLAP else switch

    def _need(self, target: Target, found: release.Release) -> int:
        """Bytes it will take: as its trial measured, else as it promises, else at least the model's own."""
        manifest = found.manifest
        return target.slot.memory_bytes or manifest.limits.memory_bytes or manifest.blobs["model"].length

    # --- what workers tell ------------------------------------------------------------------------------------

    def worker_ready(self, worker: Worker) -> None:
        self._loading = None
        self._troubles.failures.pop(worker.bundle, None)
        if self.current is not None:
            self._drain()
        self.current = worker
        waiting, self._waiting = self._waiting, []
        for carried in waiting:
            worker.give(carried)
        self._settle()

    def worker_gave_back(self, carried: Carried) -> None:
        self.take(carried)

    def worker_lost(self, carried: Carried) -> None:
        self._around.refuse(carried, errors.BusyError("the worker has no room for another connection"))

    def worker_closed(self, connection: int) -> None:
        self._around.forget(connection)

    def worker_drained(self, worker: Worker) -> None:
        """It handed back everything, and is about to end."""
        self._around.tell(self._counters(worker))

    def worker_ended(self, worker: Worker, ended: Ended) -> None:
        if worker is self._draining:
            self._draining = None
            self._settle()
        elif worker is self._loading:
            self._loading = None
            if worker is self._outdated:
                self._settle()  # the files may be others since: the agent is answered by a load of its own
            else:
                self._could_not_load(worker.target, *worker.why(ended))
        else:
            self.current = None
            self._died(worker, ended)

    # --- troubles ---------------------------------------------------------------------------------------------

    def _died(self, worker: Worker, ended: Ended) -> None:
        slot, stage = worker.target.slot, worker.target.stage
        self._around.tell(
            control.Died(self.name, slot.release, slot.bundle, stage, ended.signal, ended.status, ended.memory)
        )
        self._applying = False
        if stage == "trial":
            self._troubles.barred[slot.bundle] = "died"
        else:
            self._count_death(slot.bundle)
        self._settle()

    def _could_not_load(self, target: Target, code: str, reason: str) -> None:
        bundle = target.slot.bundle
        self._troubles.failures[bundle] = failed = control.Failed(self.name, bundle, code, reason)
        self._around.tell(failed)
        if self._applying or target.stage == "trial" or self.current is not None:
            self._applying = False
            self._troubles.barred[bundle] = "failed"
        if self.current is None and target.stage == "committed":
            self._count_death(bundle)
        self._settle()

    def _count_death(self, bundle: str) -> None:
        """Back-off, and after three deaths within a minute the other slot's release, if there is one."""
        if not self._troubles.count_death(time.monotonic()):
            return
        safe = choose(self.record, self._vouched, {**self._troubles.barred, bundle: "safe"})
        if safe is not None and safe.slot.bundle != bundle:
            self._troubles = Troubles({**self._troubles.barred, bundle: "safe"}, self._troubles.failures)

    def _retry_now(self) -> None:
        self._retry = None
        self._settle()

    # --- the voucher ------------------------------------------------------------------------------------------

    def _unvouch(self) -> None:
        self._grace = None
        self._vouched = False
        self._settle()

    def _cancel_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    # --- clients that wait ------------------------------------------------------------------------------------

    @property
    def _is_patient(self) -> bool:
        """Whether a client without a worker may wait for one, as one is about to come."""
        if self._loading is not None or self._draining is not None:
            return True
        return self._target() is not None and self._troubles.not_before - time.monotonic() < PATIENCE_S

    def _refuse_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for carried in waiting:
            self._refuse(carried)

    # --- small things -----------------------------------------------------------------------------------------

    def _read_record(self) -> bool:
        """Whether it can be read. The agent is told why not; the one before stays."""
        try:
            self.record = slots.read(slots.path_of(self._settings.state, self.name))
        except errors.RecordError as error:
            self._around.tell(control.Failed(self.name, "", error.code, str(error)))
            return False
        return True

    def _target(self) -> Target | None:
        return choose(self.record, self._vouched, self._troubles.barred)

    def _reason(self) -> str:
        if self.current is not None:
            return self.current.target.reason
        serves = None if self.record is None else self.record.serves
        return "" if serves is None else self._troubles.why_not(serves.bundle)

    def _refuse(self, carried: Carried) -> None:
        self._around.refuse(carried, errors.NoReleaseError(f"no release of {self.name} can be served now"))

    def _tell_serving(self, reason: str) -> None:
        if self.current is None:
            self._around.tell(control.Serving(self.name, 0, "", "none", reason))
            return
        target = self.current.target
        self._around.tell(control.Serving(self.name, target.slot.release, target.slot.bundle, target.stage, reason))

    def _counters(self, worker: Worker) -> control.Counters:
        slot = worker.target.slot
        counts = {**worker.counts, "histogram": tuple(worker.counts.get("histogram", (0,) * 32))}
        return control.Counters(
            model=self.name,
            release=slot.release,
            bundle=slot.bundle,
            stage=worker.target.stage,
            worker=worker.pid,
            memory_bytes=worker.memory_bytes,
            **counts,
        )
