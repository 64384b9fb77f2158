"""What a model looks like from outside: a projection of its record and of the step that runs. It decides nothing."""

from agent.slots import SlotRecord
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
