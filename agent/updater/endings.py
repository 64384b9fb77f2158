"""How updates end: what people are told of a decision, and when what was refused is tried again."""

from typing import Any

from agent.slots import SlotRecord
from agent.updater import machine
from agent.updater.machine import State
from littoral.wire.ending import Ending

REFUSED_AGAIN_S = 600.0  # what could not be done for a reason of this device is tried again after this, then doubled
REFUSED_LAST_S = 86_400.0

Milestone = tuple[str, str, dict[str, Any]]  # kind, text, facts of an event

_EVENT_OF = {
    "committed": "committed",
    "rolled-back": "rolled-back",
    "failed": "failed",
    "refused": "refused",
    "blocked": "blocked",
    "cancelled": "cancelled",
    "superseded": "cancelled",
}


class Backoff:
    """When each (bundle, attempt) that was refused here may be tried again, on the boot clock."""

    def __init__(self) -> None:
        self._not_before: dict[tuple[str, int], float] = {}
        self._refusals: dict[tuple[str, int], int] = {}

    def note(self, last: Ending, now: float) -> None:
        """An update ended. Something that was overtaken may begin again at once."""
        if last.outcome in ("refused", "failed"):
            tried = last.bundle, last.attempt
            refusals = self._refusals.get(tried, 0)
            self._not_before[tried] = now + min(REFUSED_AGAIN_S * 2**refusals, REFUSED_LAST_S)
            self._refusals[tried] = min(refusals + 1, 10)

    def left_s(self, bundle: str, attempt: int, now: float) -> float:
        """How long it still waits; 0 where it may begin."""
        return max(self._not_before.get((bundle, attempt), 0.0) - now, 0.0)


def milestones(before: SlotRecord, after: SlotRecord) -> list[Milestone]:
    """What a decision means to a person."""
    found: list[Milestone] = []
    was, state = machine.state_of(before), machine.state_of(after)
    if state is State.PROBATION and was is State.ACTIVATE:
        found.append(("activated", "it answers everyone, on trial", {}))
    if state is State.STUCK and was is not State.STUCK:
        found.append(("stuck", "the baseline cannot be served", {}))
    last = after.last
    if last is not None and last != before.last:
        serves = after.serves
        told = [f"with evidence {serves.evidence}"] if last.outcome == "committed" and serves else []
        told += [last.reason] if last.reason else []
        facts = {"code": last.code, **last.facts} if last.code else dict(last.facts)
        found.append((_EVENT_OF[last.outcome], ": ".join(told) or last.outcome, facts))
    return found
