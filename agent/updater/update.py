"""The updates of a device: one ModelUpdate drives one model's machine; Updates holds them all.

A state is written before its step runs. When the disk does not take a decision, the decision waits and is tried again;
nothing else happens to that model meanwhile.
"""

import contextlib
from dataclasses import replace
from typing import Any

from agent import control, fsio, slots
from agent.slots import SlotRecord
from agent.updater import delivery, machine, staging, trial
from agent.updater.machine import Moment, Outcome, Result, State
from agent.updater.steps import CanaryResult, Rooms, Step, Work
from littoral.errors import BundleError, LittoralError, RecordError
from littoral.wire.messages import Desired, Ending, ModelState, Progress, Want

ENOUGH_ANSWERS = 50  # before the baseline's longest run of equal answers says something about the scene
REFUSED_AGAIN_S = 600.0  # what could not be done for a reason of this device is tried again after this, then doubled
REFUSED_LAST_S = 86_400.0
REPAIR_AGAIN_S = 60.0
SPOILED = frozenset({"digest-mismatch", BundleError.code})  # what the runtime says of files that are not what they were

STEPS: dict[State, type[Step]] = {
    State.PLAN: delivery.PlanStep,
    State.FETCH: delivery.FetchStep,
    State.STAGE: delivery.StageStep,
    State.SELF_TEST: trial.SelfTestStep,
    State.READY: trial.ReadyStep,
    State.ACTIVATE: trial.ActivateStep,
    State.PROBATION: trial.ProbationStep,
    State.COMMIT: trial.CommitStep,
    State.ROLLBACK: trial.RollbackStep,
    State.STUCK: trial.StuckStep,
}
_BEFORE_SWITCH = (State.PLAN, State.FETCH, State.STAGE, State.SELF_TEST, State.READY)
_ON_TRIAL = (State.ACTIVATE, State.PROBATION)


class ModelUpdate:
    """One model of this device: what is wanted of it, what is decided, and the step that runs."""

    def __init__(self, rooms: Rooms, moment: Moment, model: str, record: SlotRecord | None) -> None:
        self.model = model
        self.record = record or SlotRecord(model)
        self.gone = False
        self.problem = ""  # why the disk keeps this model from going on; "" when it does not
        self._rooms = rooms
        self._boot = moment.boot
        self._path = slots.path_of(rooms.config.state, model)
        self._want: Want | None = None
        self._generation = 0
        self._wanted = False  # whether a desired state has named this model at all
        self._step: Step | None = None
        self._work = Work()
        self._not_before: dict[tuple[str, int], float] = {}
        self._refusals = 0
        self._spoiled = False
        self._repair_after = 0.0
        self._longest_run = 0
        self._pending: tuple[SlotRecord, list[tuple[str, str, dict[str, Any]]]] | None = None
        if self.record.update is not None:
            self._decide(machine.resume(self.record, moment), [])

    @property
    def state(self) -> State:
        return machine.state_of(self.record)

    @property
    def warning(self) -> str:
        """What is wrong with this model on this device, "" when nothing is."""
        serving, serves = self._rooms.voucher.serving.get(self.model), self.record.serves
        if self.problem or serving is None or serving.release or serves is None or self.record.stage != "committed":
            return self.problem
        return f"release {serves.release} of {self.model} is committed and cannot be served: {serving.reason}"

    def want(self, want: Want | None, generation: int) -> None:
        """What the desired state says of this model; None removes it."""
        self._want, self._generation, self._wanted = want, generation, True

    def tick(self, now: float, at: int) -> None:
        """Goes on as far as possible without waiting. `now`: boot clock; `at`: seconds since 1970."""
        if self._pending is not None and not self._write(*self._pending):
            return
        if self.record.removing:
            self._remove()
        elif self.state is State.IDLE:
            self._begin(now, at)
        else:
            self._go_on(now, at)

    def notice(self, message: control.Message, now: float) -> None:
        """Something the runtime said of this model, or of all."""
        if isinstance(message, control.Counters) and message.stage == "committed":
            serves = self.record.serves
            known = serves is not None and serves.bundle == message.bundle and message.answers >= ENOUGH_ANSWERS
            if known:
                self._longest_run = max(self._longest_run, message.longest_run_inputs)
        if isinstance(message, control.Died):
            text = f"the worker of release {message.release} ended with signal {message.signal}"
            if message.model == self.model:
                self._rooms.tell("worker-died", self.model, message.release, text, {"signal": message.signal})
        elif getattr(message, "model", self.model) != self.model:
            return
        if isinstance(message, control.Failed) and message.code in SPOILED:
            serves = self.record.serves
            self._spoiled = serves is not None and message.bundle == serves.bundle
        if self._step is not None:
            self._step.notice(message, now)

    def canary(self, result: CanaryResult, now: float) -> None:
        if self._step is not None and result.model == self.model:
            self._step.canary(result, now)

    def arrived(self, name: str, data: bytes | None, now: float) -> None:
        if self._step is not None:
            self._step.arrived(name, data, now)

    def view(self) -> ModelState:
        """As reported upstream: a projection of the record, with the running step's progress."""
        record, active = self.record, self.record.serves
        return ModelState(
            release=active.release if active else 0,
            bundle=active.bundle if active else "",
            version=active.version if active else "",
            stage=record.stage,
            evidence=active.evidence if active and record.stage == "committed" else "",
            floor=record.floor,
            update=self._progress(),
            last=record.last,
        )

    def close(self) -> None:
        if self._step is not None:
            self._step.close()
            self._step = None

    def _progress(self) -> Progress | None:
        update = self.record.update
        if update is None:
            return None
        fetched, total = self._step.progress() if self._step else (0, 0)
        return Progress(
            release=update.release,
            bundle=update.bundle,
            attempt=update.attempt,
            state=update.state,
            detail=self._step.detail if self._step else "",
            code=self._step.code if self._step else "",
            fetched_bytes=fetched,
            total_bytes=total,
        )

    def _begin(self, now: float, at: int) -> None:
        """From idle: nothing, an update, or the removal of the model."""
        want = self._want
        if want is None:
            if self._wanted:
                self._decide(replace(self.record, removing=True, active="", stage="none"), [])
            return
        serves = self.record.serves
        if serves is not None and self._spoiled and now >= self._repair_after:
            self._spoiled, self._repair_after = False, now + REPAIR_AGAIN_S
            text = f"the files of release {serves.release} are spoiled on this disk and come again"
            again = machine.begin(self.record, Want(serves.release, serves.bundle), self._generation, 0)
            self._decide(again, [("update-started", text, {})])
            return
        if serves is not None and serves.bundle == want.bundle:
            return
        blocked = self.record.blocks(want.bundle, want.attempt)
        if blocked is not None:
            self._say_blocked(want, blocked, at)
            return
        if now < self._not_before.get((want.bundle, want.attempt), 0.0):
            return
        fsio.make_folder(self._path.parent)
        begun = machine.begin(self.record, want, self._generation, self._rooms.config.updates.trial_loads)
        self._decide(begun, [("update-started", f"release {want.release} is wanted", {})])

    def _go_on(self, now: float, at: int) -> None:
        if self._step is None:
            try:
                self._step = STEPS[self.state](self._rooms, self.record, self._work, now)
            except (OSError, LittoralError) as error:  # what was staged cannot be read back
                self._end_step(Result(Outcome.REFUSED, BundleError.code, f"{self.state}: {error}"), now, at)
                return
        result = self._overtaken() or self._step.poll(now)
        if result is None and now - self._step.started_at >= self._step.deadline_s:
            result = Result(Outcome.EXPIRED, "deadline", f"{self.state} took over {self._step.deadline_s:.0f} s")
        if result is not None:
            self._end_step(result, now, at)
            return
        remembered = self._step.remember()
        if remembered and self.record.update is not None:
            update = replace(self.record.update, **remembered)
            self._decide(replace(self.record, update=update), [], keep_step=True)

    def _overtaken(self) -> Result | None:
        """Whether something else is wanted so much that this step should end."""
        update, want = self.record.update, self._want
        if update is None or not self._wanted:
            return None
        if want is not None and (want.bundle, want.attempt) == (update.bundle, update.attempt):
            return None
        if machine.is_repair(self.record) and want is not None and self._has_nothing_better(want):
            return None
        superseded = Result(Outcome.SUPERSEDED, "superseded", "something else is wanted")
        if self.state in _BEFORE_SWITCH or self.state is State.STUCK:
            return superseded
        if self.state in _ON_TRIAL:
            baseline = self.record.baseline
            cancelled = want is None or (baseline is not None and baseline.bundle == want.bundle)
            if cancelled or (want is not None and want.urgent):
                return superseded
        return None

    def _has_nothing_better(self, want: Want) -> bool:
        """Whether what is wanted is what is being repaired, or may not be tried here."""
        serves = self.record.serves
        return (serves is not None and want.bundle == serves.bundle) or bool(
            self.record.blocks(want.bundle, want.attempt)
        )

    def _end_step(self, result: Result, now: float, at: int) -> None:
        before, state = self.record, self.state
        if self._step is not None:
            self._step.close()
            self._step = None
        if state is State.READY and result.outcome is Outcome.DONE:
            result = replace(result, learned={"baseline_constant": self._longest_run})
            self._longest_run = 0
        after = machine.advance(before, result, Moment(at, self._boot))
        last = after.last
        if last is not None and last != before.last and last.outcome in ("refused", "failed"):
            self._not_before[last.bundle, last.attempt] = now + min(REFUSED_AGAIN_S * 2**self._refusals, REFUSED_LAST_S)
            self._refusals = min(self._refusals + 1, 10)
        if after.update is None:
            self._work = Work()
        self._decide(after, _milestones(before, after))

    def _say_blocked(self, want: Want, blocked: slots.Blocked, at: int) -> None:
        last = self.record.last
        if last is not None and (last.bundle, last.attempt) == (want.bundle, want.attempt):
            return
        reason = f"it failed here before, at attempt {blocked.attempt}: {blocked.code}"
        ending = Ending(want.release, want.bundle, want.attempt, "blocked", "blocklisted", reason, {}, at)
        self._decide(replace(self.record, last=ending), [("blocked", reason, {})])

    def _remove(self) -> None:
        """The record says that the model goes: the runtime lets go of it, then the record itself does."""
        voucher = self._rooms.voucher
        serving = voucher.serving.get(self.model)
        if not voucher.connected:
            return
        if serving is not None and serving.release:
            voucher.send(control.Unload(self.model))
            voucher.serving[self.model] = control.Serving(self.model, 0, "", "none", "unloading")
            return
        fsio.remove(self._path.parent)
        self.gone = True
        self._rooms.tell("removed", self.model, 0, "it is not wanted on this device any more", {})

    def _decide(
        self, record: SlotRecord, milestones: list[tuple[str, str, dict[str, Any]]], keep_step: bool = False
    ) -> None:
        if not keep_step:
            self.close()
        self._write(record, milestones)

    def _write(self, record: SlotRecord, milestones: list[tuple[str, str, dict[str, Any]]]) -> bool:
        try:
            slots.write(self._path, record)
        except OSError as error:
            self._pending = (record, milestones)
            self.problem = f"{self.model} cannot go on: {error}"
            return False
        self._pending = None
        self.record = record
        for kind, text, facts in milestones:
            release = record.update.release if record.update else record.last.release if record.last else 0
            self._rooms.tell(kind, self.model, release, text, facts)
        return True


def _milestones(before: SlotRecord, after: SlotRecord) -> list[tuple[str, str, dict[str, Any]]]:
    """What a decision means to a person: (kind, text, facts)."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    state = machine.state_of(after)
    if state is State.PROBATION and machine.state_of(before) is State.ACTIVATE:
        found.append(("activated", "it answers everyone, on trial", {}))
    if state is State.STUCK and machine.state_of(before) is not State.STUCK:
        found.append(("stuck", "the baseline cannot be served", {}))
    last = after.last
    if last is not None and last != before.last:
        serves = after.serves
        told = [f"with evidence {serves.evidence}"] if last.outcome == "committed" and serves else []
        told += [last.reason] if last.reason else []
        facts = {"code": last.code, **last.facts} if last.code else dict(last.facts)
        found.append((_EVENT_OF[last.outcome], ": ".join(told) or last.outcome, facts))
    return found


_EVENT_OF = {
    "committed": "committed",
    "rolled-back": "rolled-back",
    "failed": "failed",
    "refused": "refused",
    "blocked": "blocked",
    "cancelled": "cancelled",
    "superseded": "cancelled",
}


class Updates:
    """All models of this device."""

    def __init__(self, rooms: Rooms, moment: Moment) -> None:
        self.models: dict[str, ModelUpdate] = {}
        self._rooms = rooms
        self._moment = moment
        rooms.may_activate = self._may_activate
        for name in slots.names(rooms.config.state):
            self.models[name] = ModelUpdate(rooms, moment, name, self._read(name))

    def _read(self, model: str) -> SlotRecord | None:
        """The record; none where both of its copies are lost: then the model is installed anew."""
        try:
            return slots.read(slots.path_of(self._rooms.config.state, model))
        except RecordError as error:
            self._rooms.tell("failed", model, 0, error.cause, {"code": error.code})
            return None

    @property
    def busy(self) -> bool:
        """Whether any update is on its way."""
        return any(m.state not in (State.IDLE, State.STUCK) or m.record.removing for m in self.models.values())

    def want(self, desired: Desired) -> None:
        """Takes over what is desired; a model that is not named is left alone."""
        for name, want in desired.models.items():
            if name not in self.models and want is not None:
                self.models[name] = ModelUpdate(self._rooms, self._moment, name, None)
            if name in self.models:
                self.models[name].want(want, desired.generation)

    def tick(self, now: float, at: int) -> None:
        ended = False
        for update in list(self.models.values()):
            was_idle = update.state is State.IDLE
            update.problem = ""
            try:
                update.tick(now, at)
            except OSError as error:
                update.problem = f"{update.model} cannot go on: {error}"
            ended |= update.gone or (update.state is State.IDLE and not was_idle)
        self.models = {name: update for name, update in self.models.items() if not update.gone}
        if ended:
            with contextlib.suppress(OSError):  # it is collected at the next end
                staging.collect(self._rooms.config.state, [m.record for m in self.models.values()])

    def notice(self, message: control.Message, now: float) -> None:
        for update in self.models.values():
            update.notice(message, now)

    def close(self) -> None:
        for update in self.models.values():
            update.close()

    def _may_activate(self, model: str) -> bool:
        """One model is in probation at a time; a first release waits for none and holds up none."""
        if self.models[model].record.serves is None:
            return True
        return not any(
            other.state in (State.ACTIVATE, State.PROBATION, State.ROLLBACK) and other.record.other is not None
            for name, other in self.models.items()
            if name != model
        )
