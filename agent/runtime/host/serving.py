"""What is served of one model: which worker answers it, the switch between two, and its rest while nobody asks.

Everything here follows from `settle`: it compares what should be served (choice.py) with what is, and takes one step;
whatever that step ends in settles again. Connections that no worker can take wait here, or are parked.
"""

import time
from dataclasses import replace

from agent import control
from agent.config import Model as Treatment
from agent.runtime.handover import Carried
from agent.runtime.host import journal
from agent.runtime.host.admission import Admission
from agent.runtime.host.beside import Beside
from agent.runtime.host.children import Ended
from agent.runtime.host.choice import Target, choose
from agent.runtime.host.loop import Loop, Timer
from agent.runtime.host.memory import Switch
from agent.runtime.host.parking import Parking
from agent.runtime.host.surroundings import Settings, Surroundings
from agent.runtime.host.troubles import Troubles
from agent.runtime.host.vouching import Vouching
from agent.runtime.host.workers import Owner, Worker
from agent.slots import SlotRecord
from littoral import errors

DRAIN_S = 10.0  # above the longest single inference; after it the worker is killed, and clients connect anew
PATIENCE_S = 2.0  # a client waits for a worker to come back for so long a back-off, and is refused for a longer one
QUIET_S = 2.0  # a model that nobody has asked for so long is idle


class Model:
    """One model of the device; the owner of its workers."""

    def __init__(self, name: str, treatment: Treatment, settings: Settings, loop: Loop, around: Surroundings) -> None:
        self.name = name
        self.treatment = treatment
        self.record: SlotRecord | None = None
        self.current: Worker | None = None
        self.asleep = False  # unloaded because nobody asks, or another model needed the room
        self._loading: Worker | None = None
        self._outdated: Worker | None = None  # was loading already when the agent applied
        self._draining: Worker | None = None
        self._beside = Beside(self, self._make_beside, DRAIN_S)
        self._waiting: list[Carried] = []
        self._parking = Parking(loop, self.take, around.forget)
        self._vouching = Vouching(loop, settings.vouch_grace_s, self._settle)
        self._retry: Timer | None = None
        self._applying = False
        self._handover = False
        self._on_demand = False  # what loads next does so because somebody asked
        self._wants_room = False
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
        self._vouching.given()
        self.asleep = self._on_demand = False
        self._troubles = Troubles()
        self._outdated = self._loading
        self._settle()

    def unload(self) -> None:
        """Serves nothing of this model until the next apply."""
        self.record = None
        self._settle()

    def renew(self) -> None:
        """Its worker lives and does not answer, as the agent has found: another one takes its place, as after a death.

        A trial is left to its verdict.
        """
        settled = self._loading is None and self._draining is None
        if self.current is not None and settled and not self.is_watched:
            journal.say(f"{self.name}: its worker answers no canary and is started anew", "WARNING")
            self._count_death(self.current.bundle)
            self._drain()

    def agent_left(self) -> None:
        """Nobody vouches any more: a trial has the grace to be vouched for again."""
        self._applying = False
        self._vouching.agent_left()

    def agent_came(self) -> None:
        """Tells what is served, and why not what is committed; where that is about to change, the change will tell."""
        if self._loading is not None or self._draining is not None:
            return
        committed = None if self.record is None else self.record.baseline
        if committed is not None and committed.bundle in self._troubles.failures:
            self._around.tell(self._troubles.failures[committed.bundle])
        self._tell_serving(self.reason)

    def take(self, carried: Carried) -> None:
        """A client's connection: passed to the worker there is, kept for the one to come, or refused."""
        target = self.target
        on_trial = target is not None and target.stage == "trial"
        if carried.alias == "trial" and not on_trial:
            self.refuse(carried, errors.NoReleaseError(f"no release of {self.name} is on trial"))
        elif self.current is not None and self.current.suits(carried.alias):
            self.current.give(carried)
        elif carried.alias == "baseline" and self.current is not None and self._draining is None:
            self._take_beside(carried)
        elif self._is_patient or self.asleep:
            self._waiting.append(carried)
            self._wake()
        else:
            self.refuse(carried, self._nothing())

    def sleep(self) -> None:
        """Unloads it until somebody asks."""
        self.asleep = True
        self._drain()

    def can_sleep(self, quiet_s: float) -> bool:
        """Whether it may be unloaded, as nobody has asked for so long. What the agent watches may not."""
        worker = self.current
        settled = worker is not None and self._loading is None and self._draining is None
        return settled and not self.is_watched and not self.treatment.pinned and self.idle_s >= quiet_s

    def leave_beside(self) -> bool:
        """Gives up the baseline beside its trial, as memory is short. Whether there was one."""
        if self._beside.worker is None:
            return False
        self._beside.leave(errors.BusyError(f"memory is short: the baseline of {self.name} was unloaded"))
        return True

    def room_came(self) -> None:
        """A worker of this model or another one has ended."""
        if self._wants_room:
            self._settle()

    # --- what is told of it -----------------------------------------------------------------------------------

    @property
    def idle_s(self) -> float:
        """How long nobody has asked. 0 while a request waits or runs, or nothing is loaded."""
        if self.current is None or self.current.counts.get("waiting"):
            return 0.0
        return time.monotonic() - self.current.used_at

    @property
    def is_loading(self) -> bool:
        return self._loading is not None

    @property
    def is_watched(self) -> bool:
        """Whether the agent has a release of it on trial."""
        return self.record is not None and self.record.stage == "trial"

    @property
    def target(self) -> Target | None:
        """What should be served."""
        return choose(self.record, self._vouching.holds, self._troubles.barred)

    @property
    def reason(self) -> str:
        """Why it is not what the record names; empty where it is."""
        if self.current is not None:
            return self.current.target.reason
        if self.asleep and self.target is not None:
            return self.target.reason
        serves = None if self.record is None else self.record.serves
        return "" if serves is None else self._troubles.why_not(serves.bundle)

    @property
    def workers(self) -> list[Worker]:
        """All that run now: the one that answers, one that loads, one that drains, one beside."""
        all_there_may_be = (self.current, self._loading, self._draining, self._beside.worker)
        return [worker for worker in all_there_may_be if worker is not None]

    @property
    def beside_bytes(self) -> int:
        """Of its memory, what the baseline beside its trial takes."""
        return self._beside.memory_bytes

    @property
    def memory_bytes(self) -> int:
        """As last measured, of all its workers."""
        return sum(worker.memory_bytes for worker in self.workers)

    # --- the one step -----------------------------------------------------------------------------------------

    def _settle(self) -> None:
        if self._loading is not None or self._draining is not None:
            return  # its end settles again
        target = self.target
        if target is None:
            self._serve_nothing()
        elif self.current is not None and self.current.bundle == target.slot.bundle:
            self._serve_on(target)
        elif self.current is not None and target.slot.bundle in self._troubles.barred:
            self._serve_on(replace(self.current.target, reason="failed"))  # nothing better is left
        elif (beside := self._beside.adopt(target.slot.bundle, self)) is not None:
            self._adopt(beside)
        elif not self.asleep:
            self._load(target)
        if target is None or target.stage != "trial":
            self._beside.leave()

    def _serve_nothing(self) -> None:
        if self.current is not None:
            self._drain()
            return
        self.asleep = self._applying = False
        self._waiting += self._parking.leave()
        self._refuse_waiting(self._nothing())
        self._tell_serving(self.reason)

    def _serve_on(self, target: Target) -> None:
        assert self.current is not None
        self.current.restage(target)
        self._applying = self._on_demand = False
        self._tell_serving(target.reason)
        self._give_waiting()
        self._keep_understudy()

    def _load(self, target: Target) -> None:
        delay_s = self._troubles.not_before - time.monotonic()
        if delay_s > 0 and self.current is None:
            if self._retry is None:
                self._retry = self._loop.call_in(delay_s, self._retry_now)
            if not self._is_patient:
                self._refuse_waiting(self._nothing())
            if target.slot.bundle in self._troubles.failures:
                self._tell_serving(self.reason)
            return
        self._wants_room = False
        try:
            admission = Admission(self.name, target, self._settings, self._around)
            needed = self._applying or self._on_demand
            switch = admission.follow(self.current, self._beside.memory_bytes, alone=self._handover, needed=needed)
            self._wants_room = switch is Switch.REFUSE
            if switch is Switch.HANDOVER and self.current is not None:
                self._drain()
            elif switch is not Switch.REFUSE:
                self._loading = admission.fork(self, gentle=self.current is not None)
        except errors.LittoralError as error:
            if self._on_demand and isinstance(error, errors.NoRoomError):
                self._sleep_on(error)
            else:
                self._could_not_load(target, error.code, str(error))

    def _sleep_on(self, error: errors.NoRoomError) -> None:
        """Somebody asked, and there is no room now."""
        self.asleep, self._on_demand = True, False
        later = self._around.may_have_room(self.name)
        self._refuse_waiting(errors.BusyError(error.cause) if later else errors.NoReleaseError(error.cause))

    # --- the baseline beside its trial ------------------------------------------------------------------------

    def _take_beside(self, carried: Carried) -> None:
        baseline = None if self.record is None else self.record.baseline
        if baseline is None:
            self.refuse(carried, errors.NoReleaseError(f"{self.name} has no baseline: it has never been committed"))
        else:
            self._beside.take(carried, Target(baseline, "committed"))

    def _make_beside(self, owner: Owner, target: Target) -> Worker:
        """Raises named errors; NoRoomError where memory or the accelerator is needed for the trial."""
        admission = Admission(self.name, target, self._settings, self._around)
        admission.check_beside(self.current, self.memory_bytes)
        return admission.fork(owner, gentle=True)

    def _keep_understudy(self) -> None:
        """The baseline stays loaded beside its trial, ready to take its place."""
        trial, settled = self.current, self._loading is None and self._draining is None
        if trial is None or not settled or trial.target.stage != "trial" or not self._settings.understudy:
            return
        if self.record is not None and self.record.baseline is not None:
            self._beside.stand_by(trial, Target(self.record.baseline, "committed"))

    def _adopt(self, beside: Worker) -> None:
        if beside.welcome:
            self._install(beside)
        else:
            self._loading = beside

    def _install(self, worker: Worker) -> None:
        """From now on this one answers."""
        if self.current is not None:
            self._drain()
        self.current = worker
        self._give_waiting()
        self._settle()

    def _give_waiting(self) -> None:
        waiting, self._waiting = self._waiting + self._parking.leave(), []
        for carried in waiting:
            self.take(carried)

    def _drain(self) -> None:
        assert self.current is not None
        self._draining, self.current = self.current, None
        self._draining.drain(DRAIN_S)

    def _wake(self) -> None:
        """Somebody asks."""
        if self.asleep:
            self.asleep, self._on_demand = False, True
            self._settle()

    # --- what workers tell ------------------------------------------------------------------------------------

    def worker_ready(self, worker: Worker) -> None:
        self._loading = None
        self._troubles.failures.pop(worker.bundle, None)
        self._settings.shelf.loaded(worker.bundle)
        self._install(worker)

    def worker_gave_back(self, carried: Carried) -> None:
        if self.asleep:
            self._parking.park(carried)
        else:
            self.take(carried)

    def worker_lost(self, carried: Carried) -> None:
        self.refuse(carried, errors.BusyError("the worker has no room for another connection"))

    def worker_closed(self, connection: int) -> None:
        self._around.forget(connection)

    def worker_drained(self, worker: Worker) -> None:
        """It handed back everything, and is about to end."""
        self._around.tell_counters(self.name, worker)

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
        self._around.room_came()

    def beside_ended(self) -> None:
        self._around.room_came()
        self._keep_understudy()

    def worker_hung(self, worker: Worker) -> None:
        """With the baseline at hand the worker gives its clients back; else it ends with them."""
        if worker is not self.current or worker.hung or worker.target.stage == "local":
            return
        worker.hung = True
        if worker.target.stage == "trial" and self._beside.worker is not None:
            self._died(worker, Ended(0, 0, False, 0, 0))
        else:
            worker.kill()

    # --- troubles ---------------------------------------------------------------------------------------------

    def _died(self, worker: Worker, ended: Ended) -> None:
        self._around.tell(worker.died(self.name, ended))
        self._applying = False
        if worker.target.stage == "trial":
            self._troubles.barred[worker.bundle] = "died"
        else:
            self._count_death(worker.bundle)
        self._settle()

    def _could_not_load(self, target: Target, code: str, reason: str) -> None:
        bundle = target.slot.bundle
        self._troubles.failures[bundle] = failed = control.Failed(self.name, bundle, code, reason)
        self._around.tell(failed)
        if self._applying or target.stage == "trial" or self.current is not None:
            self._applying = False
            self._troubles.barred[bundle] = "failed"
        if self.current is None and target.stage != "trial":
            self._count_death(bundle)
        self._settle()

    def _count_death(self, bundle: str) -> None:
        """Back-off, and after three deaths within a minute the other slot's release, if there is one."""
        if not self._troubles.count_death(time.monotonic()):
            return
        safe = choose(self.record, self._vouching.holds, {**self._troubles.barred, bundle: "safe"})
        if safe is not None and safe.slot.bundle != bundle:
            self._troubles = Troubles({**self._troubles.barred, bundle: "safe"}, self._troubles.failures)

    def _retry_now(self) -> None:
        self._retry = None
        self._settle()

    # --- clients that wait ------------------------------------------------------------------------------------

    @property
    def _is_patient(self) -> bool:
        """Whether a client without a worker may wait for one, as one is about to come."""
        if self._loading is not None or self._draining is not None or self._wants_room:
            return True
        return self.target is not None and self._troubles.not_before - time.monotonic() < PATIENCE_S

    def _refuse_waiting(self, error: errors.QueryError) -> None:
        waiting, self._waiting = self._waiting, []
        for carried in waiting:
            self.refuse(carried, error)

    def refuse(self, carried: Carried, error: errors.QueryError) -> None:
        self._around.refuse(carried, error)

    def _nothing(self) -> errors.NoReleaseError:
        serves = None if self.record is None else self.record.serves
        failed = None if serves is None else self._troubles.failures.get(serves.bundle)
        cause = f"no release of {self.name} can be served now" + (f": {failed.reason}" if failed else "")
        local = self.record is not None and self.record.stage == "local"
        return errors.NoReleaseError(cause, remedy="" if local else None)  # of a local file no agent knows

    # --- small things -----------------------------------------------------------------------------------------

    def _read_record(self) -> bool:
        """Whether it can be read. The agent is told why not; the one before stays."""
        try:
            self.record = self._settings.shelf.record(self.name)
        except errors.RecordError as error:
            self._around.tell(control.Failed(self.name, "", error.code, str(error)))
            return False
        return True

    def _tell_serving(self, reason: str) -> None:
        target = self.target if self.asleep else None if self.current is None else self.current.target
        if target is None:
            self._around.tell(control.Serving(self.name, 0, "", "none", reason))
        else:
            slot = target.slot
            self._around.tell(control.Serving(self.name, slot.release, slot.bundle, target.stage, reason))
