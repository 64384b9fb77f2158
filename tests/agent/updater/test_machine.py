"""agent/updater/machine.py: the two tables, and what each decision writes."""

from dataclasses import replace
from itertools import product

import pytest

from agent.slots import Slot, SlotRecord
from agent.updater.machine import (
    MAX_POWER_CUTS,
    NEXT,
    RESUME,
    Moment,
    Outcome,
    Result,
    State,
    advance,
    begin,
    resume,
    state_of,
)
from littoral.wire.messages import Want

OLD = Slot(1, "a" * 64, "1", 10, "full")
NEW = Want(2, "b" * 64, 1)
NOW = Moment(at=1000, boot="boot-1")
LATER = Moment(at=2000, boot="boot-2")


def served() -> SlotRecord:
    return SlotRecord("cats", a=OLD, active="a", stage="committed", floor=1)


def in_state(state: State, record: SlotRecord | None = None) -> SlotRecord:
    """A record in `state`, reached by the shortest way."""
    record = begin(record or served(), NEW, 7, trial_loads=3)
    way = [State.PLAN, State.FETCH, State.STAGE, State.SELF_TEST, State.READY, State.ACTIVATE, State.PROBATION]
    if state is State.ROLLBACK:
        return advance(in_state(State.PROBATION), Result(Outcome.BAD, "late", "too slow"), NOW)
    if state is State.STUCK:
        return advance(in_state(State.ROLLBACK), Result(Outcome.BAD, "model-load"), NOW)
    if state is State.COMMIT:
        return advance(in_state(State.PROBATION), Result(Outcome.DONE, evidence="full"), NOW)
    for passed in way[: way.index(state)]:
        assert state_of(record) is passed
        record = advance(record, Result(Outcome.DONE, learned={"floor": 2, "version": "2"}), NOW)
    return record


def test_the_table_is_total() -> None:
    assert set(NEXT) == set(product(State, Outcome))
    assert set(RESUME) == set(State)


@pytest.mark.parametrize(("state", "outcome"), list(product(set(State) - {State.IDLE}, Outcome)))
def test_every_decision_keeps_what_must_hold(state: State, outcome: Outcome) -> None:
    before = in_state(state)
    after = advance(before, Result(outcome, "why", "because"), NOW)
    assert state_of(after) is NEXT[state, outcome]
    assert after.baseline == OLD or (after.stage == "committed" and after.serves is not None)
    assert OLD in (after.a, after.b)  # the baseline is never given up for anything but the release that replaced it
    assert after.floor >= before.floor
    if (after.stage == "trial") != (before.stage == "trial"):
        assert state_of(after) in (State.ACTIVATE, State.COMMIT, State.ROLLBACK)
    blocked = after.blocks(NEW.bundle, NEW.attempt) is not None
    if outcome is Outcome.BAD and state not in (State.COMMIT, State.ROLLBACK, State.STUCK):
        assert blocked
    if state not in (State.ROLLBACK, State.STUCK) and outcome is not Outcome.BAD:
        assert not blocked
    if blocked:
        assert after.serves == OLD


@pytest.mark.parametrize("state", list(State))
def test_a_restart_goes_on_where_the_table_says(state: State) -> None:
    record = served() if state is State.IDLE else in_state(state)
    again = resume(record, NOW)
    assert state_of(again) is RESUME[state]
    assert again.serves == record.serves


def test_the_switch_names_the_trial_and_counts_the_load_in_one_record() -> None:
    record = in_state(State.ACTIVATE)
    assert (record.active, record.stage, record.baseline) == ("b", "trial", OLD)
    assert record.update is not None
    assert record.update.loads_left == 2


def test_a_commit_raises_the_floor_and_keeps_the_evidence() -> None:
    record = in_state(State.COMMIT)
    assert (record.stage, record.floor) == ("committed", 2)
    assert record.serves is not None
    assert record.serves.evidence == "full"
    assert record.last is not None
    assert record.last.outcome == "committed"


def test_a_rollback_keeps_the_floor_and_the_numbers() -> None:
    record = advance(in_state(State.PROBATION), Result(Outcome.BAD, "late", "too slow", facts={"late": 40}), NOW)
    assert record.serves == OLD
    assert record.floor == 1
    assert record.last is not None
    assert (record.last.outcome, record.last.facts) == ("rolled-back", {"late": 40})


def test_the_next_trial_overwrites_the_slot_that_failed() -> None:
    record = advance(in_state(State.ROLLBACK), Result(Outcome.DONE), NOW)
    assert state_of(record) is State.IDLE
    assert record.spare == "b"


def test_a_first_release_that_fails_leaves_nothing() -> None:
    record = in_state(State.PROBATION, SlotRecord("cats"))
    assert record.baseline is None
    record = advance(record, Result(Outcome.BAD, "crashed"), NOW)
    assert (record.serves, record.stage) == (None, "none")
    assert record.last is not None
    assert record.last.outcome == "failed"
    assert record.blocks(NEW.bundle, 1) is not None


def test_a_trial_out_of_loads_is_given_up_and_not_condemned() -> None:
    record = in_state(State.PROBATION)
    for _ in range(2):
        record = advance(record, Result(Outcome.AGAIN), NOW)
        assert state_of(record) is State.ACTIVATE
        record = advance(record, Result(Outcome.DONE), NOW)
    record = advance(record, Result(Outcome.AGAIN), NOW)
    assert state_of(record) is State.ROLLBACK
    assert record.blocks(NEW.bundle, 1) is None
    assert record.last is not None
    assert record.last.code == "interrupted"


def test_pulling_the_plug_does_not_condemn_a_trial() -> None:
    record = in_state(State.ACTIVATE)
    for number in range(MAX_POWER_CUTS):
        assert state_of(record) is State.ACTIVATE
        record = resume(record, Moment(at=number, boot=f"another-{number}"))
    assert record.update is not None
    assert record.update.loads_left == 2
    record = resume(record, Moment(at=99, boot="the-last"))
    assert state_of(record) is State.ROLLBACK
    assert record.blocks(NEW.bundle, 1) is None


def test_probation_survives_a_restart_without_a_load() -> None:
    record = replace(in_state(State.PROBATION))
    assert resume(record, LATER) == record


def test_an_idle_device_commits_with_low_evidence() -> None:
    record = advance(in_state(State.PROBATION), Result(Outcome.EXPIRED), NOW)
    assert state_of(record) is State.COMMIT
    assert record.serves is not None
    assert record.serves.evidence == "low"


def test_a_running_update_cannot_be_begun_over() -> None:
    with pytest.raises(RuntimeError):
        begin(in_state(State.FETCH), NEW, 8, 3)


def test_a_repair_of_what_is_committed_needs_no_trial() -> None:
    record = begin(served(), Want(OLD.release, OLD.bundle), 7, trial_loads=0)
    for state in (State.PLAN, State.FETCH, State.STAGE):
        assert state_of(record) is state
        record = advance(record, Result(Outcome.DONE), NOW)
    assert state_of(record) is State.COMMIT
    record = advance(record, Result(Outcome.DONE), NOW)
    assert record == served()
