"""Which release of a model should be served: a pure function of its record, the voucher and what has failed here."""

from dataclasses import dataclass, replace

from agent.slots import Slot, SlotRecord


@dataclass(frozen=True, slots=True)
class Target:
    """What should be served of a model.

    stage: committed, trial, or local; reason: why it is not what the record names.
    """

    slot: Slot
    stage: str
    reason: str = ""


def choose(record: SlotRecord | None, vouched: bool, barred: dict[str, str]) -> Target | None:
    """What should be served. `barred` are bundles that cannot be served until the agent applies again, and why."""
    if record is None or record.serves is None:
        return None
    if record.stage == "trial":
        options = [Target(record.serves, "trial")] if vouched else []
        committed = [Target(record.baseline, "committed")] if record.baseline else []
    else:
        options = []
        committed = [Target(record.serves, record.stage)]
        if record.other is not None and _trusted(record, record.other):
            committed.append(Target(record.other, record.stage))
    allowed = [option for option in options + committed if option.slot.bundle not in barred]
    # What is committed goes on being tried: serving late is better than serving nothing.
    allowed = allowed or committed[:1]
    if not allowed:
        return None
    target = allowed[0]
    if target.slot.bundle == record.serves.bundle:
        return target
    return replace(target, reason=barred.get(record.serves.bundle, "unvouched"))


def _trusted(record: SlotRecord, slot: Slot) -> bool:
    """Whether the inactive slot's release was good once: committed here, and not condemned since."""
    return bool(slot.evidence) and all(entry.bundle != slot.bundle for entry in record.blocked)
