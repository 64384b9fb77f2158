"""The update machine: two tables and one pure function. It touches no disk, socket or clock.

A state is durable before its step runs; a step ends with a Result and never names its successor: NEXT does. RESUME says
where a machine found in a state goes on after a restart. `advance` makes the slot record that the next state begins
with; writing that record is the decision.

    idle -> plan -> fetch -> stage -> self-test -> ready -> activate -> probation -> commit -> idle
            any failure before activate: nothing changed                    \\-> rollback -> idle, or stuck
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from agent.slots import MAX_WINDOW, Blocked, Slot, SlotRecord, Update, clip
from littoral.wire.messages import Ending, Want

MAX_POWER_CUTS = 10
MAX_WRITES = 500  # of a slot record for one wish. A good update takes about 20; beyond this only the flash pays
WATCHED = ("first", "low")  # evidence with which a committed release goes on being watched


class State(StrEnum):
    IDLE = "idle"
    PLAN = "plan"
    FETCH = "fetch"
    STAGE = "stage"
    SELF_TEST = "self-test"
    READY = "ready"
    ACTIVATE = "activate"
    PROBATION = "probation"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    STUCK = "stuck"


class Outcome(StrEnum):
    """How a step ended."""

    DONE = "done"
    AGAIN = "again"  # not now: the state is entered anew
    REFUSED = "refused"  # it cannot be here now; nothing is proven of the release
    BAD = "bad"  # proven of authenticated bytes: this (bundle, attempt) is blocklisted
    SUPERSEDED = "superseded"  # something else is wanted
    EXPIRED = "expired"  # the state's deadline passed


_QUIET_END = {Outcome.REFUSED: State.IDLE, Outcome.BAD: State.IDLE, Outcome.SUPERSEDED: State.IDLE}
_BACK = {
    Outcome.REFUSED: State.ROLLBACK,
    Outcome.BAD: State.ROLLBACK,
    Outcome.SUPERSEDED: State.ROLLBACK,
    Outcome.EXPIRED: State.ROLLBACK,
}
_TABLE: dict[State, dict[Outcome, State]] = {
    State.IDLE: {outcome: State.PLAN if outcome is Outcome.DONE else State.IDLE for outcome in Outcome},
    State.PLAN: {
        Outcome.DONE: State.FETCH,
        Outcome.AGAIN: State.PLAN,
        Outcome.EXPIRED: State.IDLE,
        **_QUIET_END,
    },
    State.FETCH: {
        Outcome.DONE: State.STAGE,
        Outcome.AGAIN: State.PLAN,
        Outcome.EXPIRED: State.IDLE,
        **_QUIET_END,
    },
    State.STAGE: {
        Outcome.DONE: State.SELF_TEST,
        Outcome.AGAIN: State.PLAN,
        Outcome.EXPIRED: State.IDLE,
        **_QUIET_END,
    },
    State.SELF_TEST: {
        Outcome.DONE: State.READY,
        Outcome.AGAIN: State.SELF_TEST,
        Outcome.EXPIRED: State.IDLE,
        **_QUIET_END,
    },
    State.READY: {
        Outcome.DONE: State.ACTIVATE,
        Outcome.AGAIN: State.READY,
        Outcome.EXPIRED: State.IDLE,
        **_QUIET_END,
    },
    State.ACTIVATE: {Outcome.DONE: State.PROBATION, Outcome.AGAIN: State.ACTIVATE, **_BACK},
    State.PROBATION: {
        Outcome.DONE: State.COMMIT,
        Outcome.AGAIN: State.ACTIVATE,
        **_BACK,
        Outcome.EXPIRED: State.COMMIT,
    },
    State.COMMIT: {outcome: State.IDLE if outcome is Outcome.DONE else State.COMMIT for outcome in Outcome},
    State.ROLLBACK: {
        Outcome.DONE: State.IDLE,
        Outcome.AGAIN: State.ROLLBACK,
        Outcome.REFUSED: State.STUCK,
        Outcome.BAD: State.STUCK,
        Outcome.SUPERSEDED: State.ROLLBACK,
        Outcome.EXPIRED: State.STUCK,
    },
    State.STUCK: {
        outcome: State.IDLE if outcome in (Outcome.DONE, Outcome.SUPERSEDED) else State.STUCK for outcome in Outcome
    },
}
NEXT: dict[tuple[State, Outcome], State] = {
    (state, outcome): after for state, row in _TABLE.items() for outcome, after in row.items()
}

# A plan and its chunk lists live in memory only, so whatever needs them begins with the plan again.
RESUME: dict[State, State] = {
    State.IDLE: State.IDLE,
    State.PLAN: State.PLAN,
    State.FETCH: State.PLAN,
    State.STAGE: State.PLAN,
    State.SELF_TEST: State.SELF_TEST,
    State.READY: State.READY,
    State.ACTIVATE: State.ACTIVATE,
    State.PROBATION: State.PROBATION,
    State.COMMIT: State.COMMIT,
    State.ROLLBACK: State.ROLLBACK,
    State.STUCK: State.STUCK,
}

UNTRIED = (State.PLAN, State.FETCH, State.STAGE, State.SELF_TEST, State.READY)
ON_TRIAL = (State.ACTIVATE, State.PROBATION)


@dataclass(frozen=True, slots=True)
class Result:
    """How a step ended. `learned` are fields of Update that it found out; facts are the numbers behind a verdict, tests
    those of each sequential test.
    """

    outcome: Outcome
    code: str = ""
    reason: str = ""
    evidence: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    learned: dict[str, Any] = field(default_factory=dict)
    tests: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Moment:
    """When and in which boot something is decided. `at` is seconds since 1970, for people; it decides nothing."""

    at: int
    boot: str


def state_of(record: SlotRecord) -> State:
    return State.IDLE if record.update is None else State(record.update.state)


def is_repair(record: SlotRecord) -> bool:
    """Whether the update that runs brings again what is committed already, because the disk spoiled it."""
    serves, update = record.serves, record.update
    committed = record.stage == "committed" and serves is not None
    return committed and update is not None and serves is not None and serves.bundle == update.bundle


def begin(
    record: SlotRecord, want: Want, generation: int, trial_loads: int, local: bool = False, at: int = 0
) -> SlotRecord:
    """The record with an update to `want` in its first state, as of `at`. Only from idle or stuck."""
    if state_of(record) not in (State.IDLE, State.STUCK):
        raise RuntimeError(f"{record.model}: an update is running already")
    update = Update(
        release=want.release,
        bundle=want.bundle,
        attempt=want.attempt,
        generation=generation,
        state=State.PLAN,
        urgent=want.urgent,
        loads_left=trial_loads,
        window=clip(want.window, MAX_WINDOW),
        gate=want.gate,
        shadow_s=want.shadow_s,
        local=local,
        since=at,
    )
    return replace(record, update=update)


def rewish(record: SlotRecord, want: Want, generation: int, local: bool) -> SlotRecord:
    """The record with what `want` says anew of the release that is on its way; the same where that is nothing."""
    update = record.update
    assert update is not None
    anew = replace(
        update,
        attempt=want.attempt,
        urgent=want.urgent,
        window=clip(want.window, MAX_WINDOW),
        gate=want.gate,
        shadow_s=want.shadow_s,
        local=local,
    )
    return record if anew == update else replace(record, update=replace(anew, generation=generation))


def advance(record: SlotRecord, result: Result, moment: Moment) -> SlotRecord:
    """The record that the next state begins with."""
    if record.update is None:
        raise RuntimeError(f"{record.model}: no update is running")
    state = State(record.update.state)
    if result.learned:
        record = replace(record, update=replace(record.update, **result.learned))
    result = _out_of_loads(record, state, result)
    after = NEXT[state, result.outcome]
    if after is State.SELF_TEST and is_repair(record):
        return _enter(record, State.COMMIT, moment)  # it was tried and trusted; only its files had to come again
    if after is State.ACTIVATE:
        return _activate(record, moment)
    if after is State.COMMIT and state is not State.COMMIT:
        return _commit(record, result, moment)
    if after is State.ROLLBACK and state is not State.ROLLBACK:
        return _roll_back(record, result, moment)
    if after is State.IDLE:
        ended = record
        if state in UNTRIED and not is_repair(record):  # how a repair ends says nothing of the release
            ended = _end_untried(record, result, moment)
        return replace(ended, update=None)
    return _enter(record, after, moment)


def resume(record: SlotRecord, moment: Moment) -> SlotRecord:
    """The record that a restarted agent goes on with."""
    if record.update is None:
        return record
    after = RESUME[State(record.update.state)]
    if after is State.ACTIVATE:
        return advance(record, Result(Outcome.AGAIN), moment)
    return record if after is State(record.update.state) else _enter(record, after, moment)


def writes_left(record: SlotRecord, wish: str) -> int:
    """How often the record may still be written for this wish."""
    return MAX_WRITES - (record.writes if record.written_for == wish else 0)


def written(record: SlotRecord) -> SlotRecord:
    """`record` as it is written, with this write counted."""
    wish = record.written_for if record.update is None else record.update.wish
    return replace(record, written_for=wish, writes=1 + (record.writes if record.written_for == wish else 0))


def confirm(record: SlotRecord) -> SlotRecord:
    """The record of a committed release whose continued watch has seen enough."""
    assert record.serves is not None
    return record.with_slot(record.active, replace(record.serves, evidence="full", tests={}))


def revert(record: SlotRecord, result: Result, moment: Moment, generation: int) -> SlotRecord:
    """Gives up a committed release that the continued watch found bad, in one record: back to what it replaced if
    that is still there, else to nothing. An update that is on its way begins anew afterwards.
    """
    slot = record.serves
    if record.stage != "committed" or slot is None:
        raise RuntimeError(f"{record.model}: nothing is committed that could be given up")
    update = Update(slot.release, slot.bundle, slot.attempt or 1, generation, State.IDLE)
    return _roll_back(replace(record, update=update), result, moment)


def _enter(record: SlotRecord, state: State, moment: Moment) -> SlotRecord:
    """A state that is entered from itself has its whole time again."""
    update = record.update
    assert update is not None
    spent = {name: s for name, s in update.spent_s.items() if not name == state == update.state}
    return replace(record, update=replace(update, state=state, since=moment.at, spent_s=spent))


def _out_of_loads(record: SlotRecord, state: State, result: Result) -> Result:
    """A trial that may not be loaded again is given up, not condemned: its own crash would have been a verdict."""
    update = record.update
    assert update is not None
    if NEXT[state, result.outcome] is not State.ACTIVATE:
        return result
    if update.power_cuts >= MAX_POWER_CUTS:
        return Result(Outcome.REFUSED, "power-cuts", f"power was cut {update.power_cuts} times during the trial")
    if update.loads_left < 1:
        return Result(Outcome.REFUSED, "interrupted", "the runtime ended under every load of the trial")
    return result


def _activate(record: SlotRecord, moment: Moment) -> SlotRecord:
    """The one write that switches. The load it stands for is counted before it happens."""
    update = record.update
    assert update is not None
    power_cut = update.boot not in ("", moment.boot)
    update = replace(
        update,
        state=State.ACTIVATE,
        loads_left=update.loads_left - (0 if power_cut else 1),
        power_cuts=update.power_cuts + power_cut,
        boot=moment.boot,
        since=moment.at,
    )
    if record.stage == "trial":
        return replace(record, update=update)
    slot = Slot(
        release=update.release,
        bundle=update.bundle,
        version=update.version,
        memory_bytes=update.memory_bytes,
        threads=update.threads,
        interpreters=update.interpreters,
        cpus=update.cpus,
        attempt=update.attempt,
        baseline_constant=update.baseline_constant,
        baseline_votes=update.baseline_votes,
        baseline_votes_bad=update.baseline_votes_bad,
        baseline_rise_bytes=update.baseline_rise_bytes,
        checks_bad=update.checks_bad,
    )
    spare, before = record.spare, record.serves
    if before is not None:  # its tests begin anew should it come back: the record has no room for two
        record = record.with_slot(record.active, replace(before, tests={}))
    return replace(record.with_slot(spare, slot), active=spare, stage="trial", update=update)


def _commit(record: SlotRecord, result: Result, moment: Moment) -> SlotRecord:
    update = record.update
    assert update is not None
    trusted = replace(record.serves, evidence=result.evidence or "low") if record.serves else None
    if trusted is not None and trusted.evidence not in WATCHED:
        trusted = replace(trusted, tests={})
    return replace(
        record.with_slot(record.active, trusted),
        stage="committed",
        floor=max(record.floor, update.floor),
        last=_ending(update, "committed", result, moment),
        update=replace(update, state=State.COMMIT, since=moment.at),
    )


def _roll_back(record: SlotRecord, result: Result, moment: Moment) -> SlotRecord:
    """Back to the baseline, or to nothing where there is none; blocklists in the same write."""
    update = record.update
    assert update is not None
    back = _falls_back(record)
    record = _with_verdict(record, result)
    outcome = {
        Outcome.BAD: "rolled-back" if back else "failed",
        Outcome.REFUSED: "refused",
        Outcome.SUPERSEDED: "cancelled",
        Outcome.EXPIRED: "refused",
    }[result.outcome]
    return replace(
        record if back else replace(record, a=None, b=None),  # what failed, and what may lie beside it
        active={"a": "b", "b": "a"}[record.active] if back else "",
        stage="committed" if back else "none",
        last=_ending(update, outcome, result, moment),
        update=replace(update, state=State.ROLLBACK, since=moment.at),
    )


def _falls_back(record: SlotRecord) -> bool:
    """Whether the other slot holds what a rollback may serve. Beside a trial that is the baseline; beside a committed
    release it may be a trial that failed since.
    """
    other = record.other
    if other is None or record.stage == "trial":
        return other is not None
    return bool(other.evidence) and all(entry.bundle != other.bundle for entry in record.blocked)


def _end_untried(record: SlotRecord, result: Result, moment: Moment) -> SlotRecord:
    assert record.update is not None
    outcome = {
        Outcome.BAD: "failed",
        Outcome.REFUSED: "blocked" if result.code == "blocklisted" else "refused",
        Outcome.SUPERSEDED: "superseded",
        Outcome.EXPIRED: "refused",  # that something took too long proves nothing of the release
    }[result.outcome]
    return replace(_with_verdict(record, result), last=_ending(record.update, outcome, result, moment))


def _with_verdict(record: SlotRecord, result: Result) -> SlotRecord:
    if result.outcome is not Outcome.BAD or record.update is None:
        return record
    return record.with_blocked(Blocked(record.update.bundle, record.update.attempt, result.code))


def _ending(update: Update, outcome: str, result: Result, moment: Moment) -> Ending:
    return Ending(
        release=update.release,
        bundle=update.bundle,
        attempt=0 if update.local else update.attempt,  # it says nothing of any rollout
        outcome=outcome,
        code=result.code,
        reason=result.reason,
        facts=result.facts,
        at=moment.at,
    )
