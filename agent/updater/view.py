"""What a model looks like from outside: a projection of its record and of the step that runs. It decides nothing."""

from agent import control
from agent.alarms import Symptom
from agent.slots import SlotRecord
from agent.updater import machine
from agent.updater.machine import State
from agent.updater.steps import Step
from littoral.wire.messages import ModelState, Progress


def view(record: SlotRecord, step: Step | None) -> ModelState:
    """As reported upstream."""
    active = record.serves
    return ModelState(
        release=active.release if active else 0,
        bundle=active.bundle if active else "",
        version=active.version if active else "",
        stage=record.stage,
        evidence=active.evidence if active and record.stage == "committed" else "",
        floor=record.floor,
        update=_progress(record, step),
        last=record.last,
    )


def symptom(record: SlotRecord, serving: control.Serving | None, problem: str) -> Symptom | None:
    """What is wrong with this model on this device, None when nothing is. serving: what the runtime said last; problem:
    why the disk keeps it from going on.
    """
    if problem:
        return Symptom("disk-refuses", problem, record.model)
    serves = record.serves
    settled = record.stage == "committed" and machine.state_of(record) not in (State.COMMIT, State.ROLLBACK)
    if serving is None or serves is None or not settled or serving.bundle == serves.bundle:
        return None
    instead = f"release {serving.release} answers" if serving.release else "nothing answers"
    text = f"release {serves.release} of {record.model} cannot be served, {instead}: {serving.reason}"
    return Symptom("other-served" if serving.release else "not-served", text, record.model)


def _progress(record: SlotRecord, step: Step | None) -> Progress | None:
    update = record.update
    if update is None:
        return None
    fetched, total = step.progress() if step else (0, 0)
    return Progress(
        release=update.release,
        bundle=update.bundle,
        attempt=update.attempt,
        state=update.state,
        detail=step.waits_for() or step.detail if step else "",
        code=step.code if step else "",
        fetched_bytes=fetched,
        total_bytes=total,
    )
