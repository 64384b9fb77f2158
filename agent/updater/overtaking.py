"""Whether what is wanted now ends the update that runs: something newer, something urgent, or its cancel. Pure."""

from agent.slots import SlotRecord, Update
from agent.updater import machine
from agent.updater.machine import Outcome, Result, State
from littoral.wire.messages import Want


def overtaken(record: SlotRecord, want: Want | None, hindered: bool = False) -> Result | None:
    """How the present step ends by it; None where it goes on. want: None where the model is to be removed. hindered:
    whether the step has met an error and does not get on.

    The repair of what is committed comes before anything newer, which needs something whole to go back to. It gives way
    where it does not get on, and to what is urgent.

    Before the switch anything else ends it, and so it does where the model is stuck. A trial is ended by its cancel
    (the baseline is named, or nothing) and by what is urgent; everything else waits for the verdict. What is decided
    (commit, rollback) is carried out.
    """
    state, update, baseline = machine.state_of(record), record.update, record.baseline
    if update is None or (want is not None and is_of(want, update, state)):
        return None
    repairs = machine.is_repair(record)
    if want is not None and (repairs or state is State.STUCK) and _has_nothing_better(record, want):
        return None
    if want is not None and repairs and not hindered and not want.urgent:
        return None
    cancelled = want is None or (baseline is not None and baseline.bundle == want.bundle)
    urgent = want is not None and want.urgent
    ends = state in machine.UNTRIED or state is State.STUCK
    ends |= state in machine.ON_TRIAL and (cancelled or urgent)
    return Result(Outcome.SUPERSEDED, "superseded", "something else is wanted") if ends else None


def is_of(want: Want, update: Update, state: State) -> bool:
    """Whether what is wanted is what is on its way. A higher attempt is, too, until it has failed: it only says that
    the same release is wanted anew.
    """
    anew = state in (*machine.UNTRIED, *machine.ON_TRIAL) and want.attempt > update.attempt
    return want.bundle == update.bundle and (anew or want.attempt == update.attempt)


def _has_nothing_better(record: SlotRecord, want: Want) -> bool:
    """Whether what is wanted is what should be served again, or may not be tried here."""
    serves = record.serves
    blocked = record.blocks(want.bundle, want.attempt) is not None
    return blocked or (serves is not None and want.bundle == serves.bundle)
