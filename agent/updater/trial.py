"""The steps in which a release is tried, watched, and kept or given up: self-test to commit or rollback."""

from dataclasses import replace
from typing import Any

from agent import control
from agent.alarms import Symptom
from agent.slots import SlotRecord
from agent.updater import staging
from agent.updater.comparison import Comparison, Shadow
from agent.updater.machine import Outcome, Result
from agent.updater.steps import CanaryResult, Judge, Rooms, Step, Work
from agent.updater.watch import PROVEN, Watch

APPLY_TIMEOUT_S = 120.0
HUNG = "hung"
MEASURED = ("memory_bytes", "threads", "interpreters", "cpus")  # by the self-test, for the slot


class SelfTestStep(Step):
    """The runtime loads it in a trial child, which tests it under limits."""

    deadline_s = 3_600.0
    needs = "runtime"
    _number = 0

    def __init__(self, rooms: Rooms, record: SlotRecord, work: Work, now: float) -> None:
        super().__init__(rooms, record, work, now)
        SelfTestStep._number += 1
        self._id = SelfTestStep._number
        self._asked_on = 0
        self._answer: control.Tried | None = None
        self._passed: Result | None = None
        self._comparison: Comparison | None = None

    def poll(self, now: float) -> Result | None:
        voucher = self.rooms.voucher
        if self._passed is not None:
            return self._compared(self._passed, now)
        if self._answer is not None:
            return self._weigh(self._answer, now)
        unfit = self._unfit_to_ask()
        self.detail, self.code = self.waits_for(), unfit.code if unfit else ""
        if voucher.connected and self._asked_on != voucher.connections and not unfit:
            self._asked_on = voucher.connections
            voucher.send(control.Try(self._id, self.record.model, self.update.bundle))
        return None

    def waits_for(self) -> str:
        unfit = self._unfit_to_ask()
        return super().waits_for() or (unfit.text if unfit else "")

    def _unfit_to_ask(self) -> Symptom | None:
        """What runs already is waited for."""
        return None if self._asked_on == self.rooms.voucher.connections else self.unfit()

    def notice(self, message: control.Message, now: float) -> None:
        if isinstance(message, control.Tried) and message.id == self._id and message.bundle == self.update.bundle:
            self._answer = message
        if self._comparison is not None:
            self._comparison.notice(message, now)

    def _weigh(self, tried: control.Tried, now: float) -> Result | None:
        if tried.code:
            slow = tried.code == HUNG and not self.rooms.shadows()  # on a device in trouble time proves nothing
            outcome = Outcome.BAD if tried.proven and not slow else Outcome.REFUSED
            return Result(outcome, tried.code, tried.reason, facts=dict(tried.facts))
        text = f"self-test passed: {tried.facts.get('invoke_p50_us', 0)} us, {tried.facts.get('memory_bytes', 0)} bytes"
        if tried.reason:
            text += f"; {tried.reason}"
        self.rooms.tell("tested", self.record.model, self.update.release, text, dict(tried.facts))
        self._passed = Result(Outcome.DONE, learned={name: tried.facts.get(name, 0) for name in MEASURED})
        baseline = self.record.baseline
        if baseline is not None and self.rooms.config.rehearsal.ring:
            manifest = staging.manifest_of(self.rooms.config.state, self.update.bundle)
            update = replace(self.update, **self._passed.learned)
            self._comparison = Comparison(self.rooms, update, manifest, baseline, "rehearsal")
        return self._compared(self._passed, now)

    def _compared(self, passed: Result, now: float) -> Result | None:
        """The end of the self-test, with what the comparison says; there is none for the first release of a model."""
        if self._comparison is None:
            return passed
        self.detail = self.waits_for() or "it is compared with its baseline on what was asked here"
        result = self._comparison.poll(now)
        if result is None or result.outcome is not Outcome.DONE:
            return result
        release, text = self.update.release, result.reason or "it agrees with its baseline as it should"
        self.rooms.tell("rehearsed", self.record.model, release, text, {"code": result.code} if result.code else {})
        return replace(passed, learned={**passed.learned, **result.learned})


class ActivateStep(Step):
    """Tells the runtime to switch; the record has named the trial already."""

    deadline_s = 2 * APPLY_TIMEOUT_S
    needs = "runtime"

    def __init__(self, rooms: Rooms, record: SlotRecord, work: Work, now: float) -> None:
        super().__init__(rooms, record, work, now)
        self._asked_on = 0
        self._result: Result | None = None

    def poll(self, now: float) -> Result | None:
        voucher = self.rooms.voucher
        self.detail = self.waits_for()
        if self._result is None and voucher.connected and self._asked_on != voucher.connections:
            self._asked_on = self.work.vouched_on = voucher.connections
            voucher.send(control.Apply(self.record.model, handover=self._was_too_much()))
        return self._result

    def _was_too_much(self) -> bool:
        """Whether this release was given up before because both did not fit: then one goes before the other comes."""
        last = self.record.last
        return last is not None and last.bundle == self.update.bundle and last.code == "resources"

    def notice(self, message: control.Message, now: float) -> None:
        bundle = self.update.bundle
        if isinstance(message, control.Serving) and message.bundle == bundle and message.stage == "trial":
            self._result = Result(Outcome.DONE)
        elif isinstance(message, control.Failed) and message.bundle == bundle:
            outcome = Outcome.BAD if message.code in PROVEN else Outcome.REFUSED
            self._result = Result(outcome, message.code, message.reason)
        elif isinstance(message, control.Died) and message.bundle == bundle:
            self._result = _death(message)


class ProbationStep(Step):
    """The trial answers everyone and is watched. A first release needs one answer of the canary and no more."""

    needs = "runtime"

    def __init__(self, rooms: Rooms, record: SlotRecord, work: Work, now: float) -> None:
        super().__init__(rooms, record, work, now)
        assert record.serves is not None
        self.deadline_s = rooms.config.probation.longest_s
        self._watch = Watch(rooms, record.model, record.serves, now)
        self._shadow: Shadow | None = None
        if record.other is not None and rooms.config.rehearsal.ring:
            manifest = staging.manifest_of(rooms.config.state, self.update.bundle)
            self._shadow = Shadow(rooms, self.update, manifest, record.other, now)
        self._result: Result | None = None

    def poll(self, now: float) -> Result | None:
        self._adopt()
        bad = self._watch.poll(now) or (self._shadow and self._shadow.poll(now))
        self.detail = self.waits_for() or self._watch.detail
        return self._result or bad or self._trusted()

    def expired(self) -> Result:
        """Too few answers are no fault; a trial that was not even well for long enough is not trusted."""
        if self._watch.healthy_for_long:
            return Result(Outcome.EXPIRED, evidence="low", facts=self._watch.facts())
        reason = f"it was not well for long enough in {self.deadline_s:.0f} s: {self._watch.detail}"
        return Result(Outcome.REFUSED, "unproven", reason, facts=self._watch.facts())

    def notice(self, message: control.Message, now: float) -> None:
        self._watch.notice(message, now)
        if self._shadow is not None:
            self._shadow.notice(message, now)
        if isinstance(message, control.Died) and message.memory and message.bundle == self.update.bundle:
            self._result = _death(message)
        elif isinstance(message, control.Died) and message.memory:
            self._result = Result(Outcome.REFUSED, "resources", "the baseline was killed for want of memory")

    def canary(self, result: CanaryResult, now: float) -> None:
        self._watch.canary(result, now)

    def device(self, troubled: bool, now: float) -> None:
        self._watch.device(troubled, now)

    def remember(self) -> dict[str, Any]:
        return self._watch.news()

    def seen(self) -> dict[str, Any]:
        return self._watch.seen()

    @property
    def judge(self) -> Judge:
        return self._watch.judge

    def close(self) -> None:
        self._watch.stop_asking()

    def _adopt(self) -> None:
        """Vouches anew after any break. A trial that is loaded no more must be loaded again, which costs a load."""
        voucher = self.rooms.voucher
        serving = voucher.serving.get(self.record.model)
        if not voucher.connected or serving is None or self.work.vouched_on == voucher.connections:
            return
        self.work.vouched_on = voucher.connections
        if serving.bundle == self.update.bundle and serving.stage == "trial":
            voucher.send(control.Apply(self.record.model))
        else:
            self._result = Result(Outcome.AGAIN)

    def _trusted(self) -> Result | None:
        if self._watch.enough:
            return Result(Outcome.DONE, evidence="full", facts=self._watch.facts())
        if self.record.other is None and self._watch.canary_ok:
            return Result(Outcome.DONE, evidence="first")
        return None


class CommitStep(Step):
    """Tells the runtime that the trial is a trial no more."""

    needs = "runtime"

    def __init__(self, rooms: Rooms, record: SlotRecord, work: Work, now: float) -> None:
        super().__init__(rooms, record, work, now)
        self._asked_on = 0
        self._said = False

    def poll(self, now: float) -> Result | None:
        voucher = self.rooms.voucher
        self.detail = self.waits_for()
        if voucher.connected and self._asked_on != voucher.connections:
            self._asked_on = voucher.connections
            voucher.send(control.Apply(self.record.model))
        return Result(Outcome.DONE) if self._said else None

    def notice(self, message: control.Message, now: float) -> None:
        if isinstance(message, control.Serving) and message.bundle == self.update.bundle:
            self._said = self._said or message.stage == "committed"
        elif isinstance(message, control.Failed) and message.bundle == self.update.bundle:
            self._said = True  # a repair that did not help: what is decided stays decided


class RollbackStep(Step):
    """Has the runtime serve the baseline, or nothing where there is none."""

    deadline_s = APPLY_TIMEOUT_S
    needs = "runtime"  # alone it serves the baseline anyway

    def __init__(self, rooms: Rooms, record: SlotRecord, work: Work, now: float) -> None:
        super().__init__(rooms, record, work, now)
        self._asked_on = 0
        self._result: Result | None = None

    def poll(self, now: float) -> Result | None:
        voucher, model = self.rooms.voucher, self.record.model
        self.detail = self.waits_for()
        if voucher.connected and self._asked_on != voucher.connections:
            self._asked_on = voucher.connections
            voucher.send(control.Apply(model) if self.record.serves else control.Unload(model))
        return self._result

    def notice(self, message: control.Message, now: float) -> None:
        baseline = self.record.serves
        if isinstance(message, control.Serving):
            if message.bundle == (baseline.bundle if baseline else "") and message.stage != "trial":
                self._result = Result(Outcome.DONE)
        elif isinstance(message, control.Failed) and baseline and message.bundle == baseline.bundle:
            self._result = Result(Outcome.BAD, message.code, message.reason)


class StuckStep(RollbackStep):
    """A baseline exists and cannot be served: asks again each minute, for ever, and takes any newer wish."""

    _again_s = 60.0

    def waits_for(self) -> str:
        return super().waits_for() or "the baseline cannot be served; it is tried again each minute"

    def poll(self, now: float) -> Result | None:
        self.detail = self.waits_for()
        if self._result is not None and self._result.outcome is Outcome.DONE:
            return self._result
        if now - self.started_at >= self._again_s:
            self.started_at, self._asked_on, self._result = now, 0, None
            super().poll(now)
        return None


def _death(died: control.Died) -> Result:
    if died.memory:
        return Result(Outcome.REFUSED, "resources", "its worker was killed for want of memory")
    if died.hung:
        return Result(Outcome.BAD, "hung", "its model does not come back from a run", facts={"signal": died.signal})
    how = f"signal {died.signal}" if died.signal else f"status {died.status}"
    return Result(Outcome.BAD, "crashed", f"its worker ended with {how}", facts={"signal": died.signal})
