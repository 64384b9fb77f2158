"""Drives the update machine of one model: what is wanted, what is decided, and the step that runs.

A state is written before its step runs. When the disk does not take a decision, the decision waits and is tried again;
nothing else happens to that model meanwhile.
"""

from dataclasses import replace
from typing import Any

from agent import control, fsio, slots
from agent.alarms import Symptom
from agent.slots import SlotRecord, Update
from agent.updater import delivery, evidence, machine, overtaking, trial
from agent.updater.baseline import Baseline
from agent.updater.endings import Backoff, Milestone, milestones
from agent.updater.machine import Moment, Outcome, Result, State
from agent.updater.ready import ReadyStep
from agent.updater.repair import Repair
from agent.updater.steps import CanaryResult, Judge, Rooms, Step, Work, spent_share_s
from agent.updater.view import symptom, view
from agent.updater.watch import Watch
from littoral.errors import BundleError, LittoralError
from littoral.wire.messages import Ending, ModelState, Want

JUDGED = ("committed", "rolled-back", "failed", "refused")  # endings that somebody may want to know the reason of
WATCH_AGAIN_S = 60.0  # after a release could not be read

STEPS: dict[State, type[Step]] = {
    State.PLAN: delivery.PlanStep,
    State.FETCH: delivery.FetchStep,
    State.STAGE: delivery.StageStep,
    State.SELF_TEST: trial.SelfTestStep,
    State.READY: ReadyStep,
    State.ACTIVATE: trial.ActivateStep,
    State.PROBATION: trial.ProbationStep,
    State.COMMIT: trial.CommitStep,
    State.ROLLBACK: trial.RollbackStep,
    State.STUCK: trial.StuckStep,
}


class ModelUpdate:
    """One model of this device."""

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
        self._local = False
        self._wanted = False  # whether anybody has named this model at all
        self._rests = ""  # why nothing is begun though something is wanted
        self._step: Step | None = None
        self._work = Work()
        self._spent_s = 0.0  # in the present state, as far as it counts against the deadline
        self._counted_at: float | None = None  # None: its step was not polled yet
        self._watch: Watch | None = None
        self._watch_after = 0.0
        self._backoff = Backoff()
        self._repair = Repair()
        self._baseline = Baseline()
        self._pending: tuple[SlotRecord, list[Milestone]] | None = None
        again = machine.resume(self.record, moment)
        if again != self.record:
            self._decide(again, milestones(self.record, again))

    @property
    def state(self) -> State:
        return machine.state_of(self.record)

    @property
    def local(self) -> bool:
        """Whether the update that runs comes from the folder."""
        return self.record.update is not None and self.record.update.local

    @property
    def symptom(self) -> Symptom | None:
        """What is wrong with this model on this device, None when nothing is."""
        return symptom(self.record, self._rooms.voucher.serving.get(self.model), self.problem)

    @property
    def judge(self) -> Judge | None:
        """Of what is watched now: a trial, or a release that was committed with little evidence."""
        if self._watch is not None:
            return self._watch.judge
        return self._step.judge if self._step is not None else None

    def want(self, want: Want | None, generation: int, local: bool = False) -> None:
        """What is wanted of this model; None removes it. local: by a person at this device."""
        if local and not self._local:
            self._backoff = Backoff()  # who asks now does not wait for what was refused before
        self._want, self._generation, self._local, self._wanted = want, generation, local, True

    def end_local(self) -> None:
        """What a person at this device wished for counts no more; nothing is wanted until somebody names the model."""
        if self._local:
            self._want, self._local, self._wanted = None, False, False

    def tick(self, now: float, at: int) -> None:
        """Goes on as far as possible without waiting. `now`: boot clock; `at`: seconds since 1970."""
        if self._pending is not None and not self._write(*self._pending):
            return
        if self.record.removing:
            self._remove()
        elif self._found_bad(now, at):
            return
        elif self.state is State.IDLE:
            self._begin(now, at)
        elif self.state is State.STUCK and self._repair.due(now) and not self._rooms.safe():
            self._begin_repair(now, at)
        else:
            self._go_on(now, at)

    def notice(self, message: control.Message, now: float) -> None:
        """Something the runtime said of this model, or of all."""
        if isinstance(message, control.Counters) and message.stage == "committed":
            serves = self.record.serves
            if serves is not None and serves.bundle == message.bundle:
                self._baseline.notice(message, now)
        if isinstance(message, control.Died):
            text = f"the worker of release {message.release} ended with signal {message.signal}"
            if message.model == self.model:
                self._rooms.tell("worker-died", self.model, message.release, text, {"signal": message.signal})
        elif getattr(message, "model", self.model) != self.model:
            return
        self._repair.notice(message, self.record.serves)
        if self._watch is not None:
            self._watch.notice(message, now)
        if self._step is not None:
            self._step.notice(message, now)

    def canary(self, result: CanaryResult, now: float) -> None:
        watching = self._watch or self._step
        if watching is not None and result.model == self.model:
            watching.canary(result, now)

    @property
    def watching(self) -> bool:
        """Whether a release of it is being judged."""
        return self._watch is not None or self.state is State.PROBATION

    def device(self, troubled: bool, now: float) -> None:
        """Whether the device is in trouble now."""
        watching = self._watch or self._step
        if watching is not None:
            watching.device(troubled, now)

    def arrived(self, name: str, data: bytes | None, now: float) -> None:
        if self._step is not None:
            self._step.arrived(name, data, now)

    def view(self) -> ModelState:
        """As reported upstream."""
        return view(self.record, self._step)

    def situation(self) -> dict[str, Any]:
        """What only this process knows, for people at the device. left_s: until the state's deadline, None while it
        does not run.
        """
        step = self._step
        runs = step is not None and not step.waits_for()
        progress = self.view().update
        return {
            "detail": self.problem or (progress.detail if progress else self._rests),
            "code": progress.code if progress else "",
            "left_s": round(step.deadline_s - self._spent_s) if step is not None and runs else None,
            "fetched_bytes": progress.fetched_bytes if progress else 0,
            "total_bytes": progress.total_bytes if progress else 0,
            "watch": self._watch.detail if self._watch else "",
        }

    def close(self) -> None:
        self._end_watch()
        self._close_step()

    # --- beginning ------------------------------------------------------------------------------------------------

    def _begin(self, now: float, at: int) -> None:
        """From idle: nothing, an update, or the removal of the model."""
        want, serves = self._want, self.record.serves
        self._rests = ""
        if self._rooms.safe():
            self._rests = "nothing is begun in safe mode"
        elif want is None:
            if self._wanted:
                self._decide(replace(self.record, removing=True, active="", stage="none"), [])
        elif serves is not None and self._repair.due(now):
            self._begin_repair(now, at)
        elif serves is None or serves.bundle != want.bundle:
            blocked = self.record.blocks(want.bundle, want.attempt)
            left_s = self._backoff.left_s(want.bundle, want.attempt, now)
            if blocked is not None:
                self._rests = f"release {want.release} failed here before: {blocked.code}"
                self._say_blocked(want, blocked, at)
            elif left_s:
                self._rests = f"release {want.release} is tried again in {left_s:.0f} s"
            elif self._repair.finds_spoiled(self._rooms.config.state, serves):
                self._begin_repair(now, at)
            elif (why := self._unfit()) and not want.urgent:
                self._rests = why
            else:
                loads = self._rooms.config.updates.trial_loads
                self._begin_with(want, f"release {want.release} is wanted", at, loads, self._local)

    def _unfit(self) -> str:
        """Why nothing is begun on this device now. Where the disk is short, planning makes room."""
        return next((each.text for each in self._rooms.unfit() if each.code != "disk-low"), "")

    def _begin_repair(self, now: float, at: int) -> None:
        serves = self.record.serves
        assert serves is not None
        self._repair.begun(now)
        text = f"the files of release {serves.release} are spoiled on this disk and come again"
        self._begin_with(Want(serves.release, serves.bundle), text, at, trial_loads=0, local=False)

    def _begin_with(self, want: Want, text: str, at: int, trial_loads: int, local: bool) -> None:
        begun = machine.begin(self.record, want, self._generation, trial_loads, local, at)
        assert begun.update is not None
        if machine.writes_left(self.record, begun.update.wish) <= 0:
            self._rests = f"its record was written {machine.MAX_WRITES} times for this wish; a newer one is waited for"
            return
        fsio.make_folder(self._path.parent)
        self._decide(begun, [("update-started", text, {})])

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
        self.close()
        self.gone = True
        self._rooms.tell("removed", self.model, 0, "it is not wanted on this device any more", {})

    # --- the watch after a commit ---------------------------------------------------------------------------------

    def _found_bad(self, now: float, at: int) -> bool:
        """Goes on watching a commit that rests on little. Whether it was given up just now."""
        watch = self._watched(now)
        if watch is None:
            return False
        if (bad := watch.poll(now)) is not None:
            after = machine.revert(self.record, bad, Moment(at, self._boot), self._generation)
            self._work = Work()
            self._decide(after, milestones(self.record, after))
            if after.last is not None:
                self._tell_evidence(after.last, bad)
            return True
        news = watch.news()
        if watch.enough:
            text = f"its evidence is full now: {watch.detail}"
            seen = machine.confirm(self._seen(watch.seen()))
            self._decide(seen, [("confirmed", text, watch.facts())], keep_step=True)
        elif news and self._may_write:
            self._decide(self._seen(news), [], keep_step=True)
        if watch.healthy_for_long:
            watch.stop_asking()  # an idle model may be unloaded again
        return False

    def _watched(self, now: float) -> Watch | None:
        """The watch of what is committed, where it has to be watched. A trial is watched by its probation."""
        slot = self.record.serves if self.record.stage == "committed" else None
        due = slot is not None and slot.evidence in machine.WATCHED and self.state in (State.IDLE, *machine.UNTRIED)
        if slot is None or not due or (self._watch is not None and self._watch.bundle != slot.bundle):
            self._end_watch()
            return None
        if self._watch is None and now >= self._watch_after:
            try:
                self._watch = Watch(self._rooms, self.model, slot, now)
            except (OSError, LittoralError):  # the runtime says so too, and its files come again
                self._watch_after = now + WATCH_AGAIN_S
        return self._watch

    def _seen(self, facts: dict[str, Any]) -> SlotRecord:
        """The record with what was seen of the active slot."""
        serves = self.record.serves
        assert serves is not None
        return self.record.with_slot(self.record.active, replace(serves, **facts))

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.stop_asking()
            self._watch = None

    # --- going on -------------------------------------------------------------------------------------------------

    def _go_on(self, now: float, at: int) -> None:
        update = self.record.update
        assert update is not None
        if self._wished_anew(update):
            return
        if self._step is None:
            self._open_step(update, now, at)
        if self._step is None:
            return
        if self._counted_at is not None and not self._step.waits_for():
            self._spent_s += now - self._counted_at
        self._counted_at = now
        result = self._stopped(update) or self._overtaken() or self._step.poll(now)
        if result is None and self._spent_s >= self._step.deadline_s:
            result = self._step.expired()
        if result is not None:
            self._end_step(result, now, at)
        else:
            self._remember(self._step, update)

    def _open_step(self, update: Update, now: float, at: int) -> None:
        self._spent_s, self._counted_at = float(update.spent_s.get(update.state, 0)), None
        try:
            rooms = self._rooms.at_the_folder() if update.local else self._rooms
            self._step = STEPS[self.state](rooms, self.record, self._work, now)
        except (OSError, LittoralError) as error:  # what was staged cannot be read back, or a window is none
            code = error.code if isinstance(error, LittoralError) else BundleError.code
            self._end_step(Result(Outcome.REFUSED, code, f"{self.state}: {error}"), now, at)

    def _wished_anew(self, update: Update) -> bool:
        """Takes over what a newer wish says of the same release: its attempt, whether it is urgent, its window ..."""
        want = self._want
        open_still = self.state in (*machine.UNTRIED, *machine.ON_TRIAL) and not machine.is_repair(self.record)
        if want is None or not open_still or not overtaking.is_of(want, update, self.state):
            return False
        anew = machine.rewish(self.record, want, self._generation, self._local)
        if anew == self.record:
            return False
        self._decide(self._with_spent(anew), [], keep_step=self.state not in (State.PLAN, State.FETCH, State.READY))
        return True

    def _stopped(self, update: Update) -> Result | None:
        """What ends an update whatever is wanted."""
        before = self.state in machine.UNTRIED
        if self._rooms.safe() and (before or self.state in machine.ON_TRIAL):
            return Result(Outcome.REFUSED, "safe-mode", "the agent started too often in a short time")
        if before and machine.writes_left(self.record, update.wish) <= 0:
            return Result(Outcome.REFUSED, "write-cap", f"the record was written {machine.MAX_WRITES} times for it")
        return None

    def _overtaken(self) -> Result | None:
        hindered = self._step is not None and bool(self._step.code)
        return overtaking.overtaken(self.record, self._want, hindered) if self._wanted else None

    def _remember(self, step: Step, update: Update) -> None:
        """Makes durable what a restart must not forget, rarely."""
        seen = step.remember()
        share_s = spent_share_s(step.deadline_s)
        late = any(spent_s - update.spent_s.get(name, 0) >= share_s for name, spent_s in self._spent(step, update))
        if (seen or late) and self._may_write:
            self._decide(self._with_spent(self._seen(seen) if seen else self.record), [], keep_step=True)

    @property
    def _may_write(self) -> bool:
        """Whether something that is no decision may cost a write."""
        return machine.writes_left(self.record, self.record.written_for) > 0

    def _with_spent(self, record: SlotRecord) -> SlotRecord:
        update = record.update
        if update is None or self._step is None:
            return record
        spent = {name: int(spent_s) for name, spent_s in self._spent(self._step, update) if int(spent_s)}
        return replace(record, update=replace(update, spent_s={**update.spent_s, **spent}))

    def _spent(self, step: Step, update: Update) -> list[tuple[str, float]]:
        """All times that add up over restarts, as the record names them."""
        return [(update.state, self._spent_s), *step.spent().items()]

    def _end_step(self, result: Result, now: float, at: int) -> None:
        seen = self._step.seen() if self._step is not None else {}
        before = self._with_spent(self._seen(seen) if seen else self.record)
        if self.state is State.READY and result.outcome is Outcome.DONE:
            result = self._switch(result)
        after = machine.advance(before, result, Moment(at, self._boot))
        ended = after.last if after.last != before.last else None
        if ended is not None:
            self._backoff.note(ended, now)
        if after.update is None:
            self._work = Work()
        self._decide(after, milestones(before, after))
        if ended is not None:
            self._tell_evidence(ended, result)
        if self.record.update is not None and self._pending is None:
            self._open_step(self.record.update, now, at)  # at once: what the runtime says next may concern it

    def _switch(self, ready: Result) -> Result:
        """The end of READY. A trial has something whole to go back to, where that can be had."""
        if self._repair.finds_spoiled(self._rooms.config.state, self.record.serves):
            text = "the files of the release that it would go back to are spoiled, and come first"
            return Result(Outcome.SUPERSEDED, BundleError.code, text)
        return replace(ready, learned={**ready.learned, **self._baseline.take()})

    # --- deciding -------------------------------------------------------------------------------------------------

    def _close_step(self) -> None:
        if self._step is not None:
            self._step.close()
            self._step = None

    def let_go(self) -> bool:
        """Forgets the inactive slot, for its room on the disk; whether that is decided."""
        return self._pending is None and self._write(self.record.with_slot(self.record.spare, None), [])

    def _decide(self, record: SlotRecord, told: list[Milestone], keep_step: bool = False) -> None:
        if not keep_step:
            self._close_step()
        self._write(record, told)

    def _write(self, record: SlotRecord, told: list[Milestone]) -> bool:
        counted = machine.written(record)
        try:
            slots.write(self._path, counted)
        except (OSError, ValueError) as error:  # ValueError: more than a record holds
            self._pending = (record, told)
            self.problem = f"{self.model} cannot go on: {error}"
            return False
        self._pending = None
        self.record = counted
        for kind, text, facts in told:
            release = record.update.release if record.update else record.last.release if record.last else 0
            self._rooms.tell(kind, self.model, release, text, facts)
        return True

    def _tell_evidence(self, last: Ending, result: Result) -> None:
        """How an update ended, with all that is known of why: kept beside the record, and told upstream."""
        tests = {"tests": result.tests} if result.tests else {}
        if last.outcome in JUDGED and (tests or evidence.read(self._rooms.config.state, self.model, last.bundle)):
            judged = evidence.judgement(self._rooms.config.state, self.model, last, tests)
            self._rooms.tell("judged", self.model, last.release, last.reason or last.outcome, judged)
