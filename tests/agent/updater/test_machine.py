"""agent/updater/machine.py: the two tables, and what each decision writes."""

from dataclasses import replace
from itertools import product

import pytest

from agent.slots import Blocked, Slot, SlotRecord
from agent.updater.machine import (
    MAX_POWER_CUTS,
    MAX_WRITES,
    NEXT,
    RESUME,
    Moment,
    Outcome,
    Result,
    State,
    advance,
    begin,
    confirm,
    resume,
    revert,
    rewish,
    state_of,
    writes_left,
    written,
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


def test_how_a_repair_ends_says_nothing_of_the_release() -> None:
    record = begin(served(), Want(OLD.release, OLD.bundle), 7, trial_loads=0)
    for outcome in (Outcome.BAD, Outcome.REFUSED, Outcome.EXPIRED):
        assert advance(record, Result(outcome, "why"), NOW) == served()


# --- time in a state ----------------------------------------------------------------------------------------------


def spent(record: SlotRecord) -> dict[str, int]:
    assert record.update is not None
    return record.update.spent_s


def with_spent(record: SlotRecord, **spent_s: int) -> SlotRecord:
    assert record.update is not None
    return replace(record, update=replace(record.update, spent_s=spent_s))


def test_the_time_in_each_state_is_kept_for_the_whole_update() -> None:
    record = with_spent(in_state(State.FETCH), fetch=500)
    record = resume(record, LATER)
    assert state_of(record) is State.PLAN
    record = advance(record, Result(Outcome.DONE), LATER)
    assert (state_of(record), spent(record)) == (State.FETCH, {"fetch": 500})


def test_a_state_that_is_entered_anew_at_its_deadline_has_its_whole_time_again() -> None:
    record = with_spent(in_state(State.COMMIT), commit=90_000, probation=5)
    record = advance(record, Result(Outcome.EXPIRED), NOW)
    assert (state_of(record), spent(record)) == (State.COMMIT, {"probation": 5})


def test_a_state_says_since_when() -> None:
    for state in set(State) - {State.IDLE, State.PLAN}:
        update = in_state(state).update
        assert update is not None
        assert update.since == NOW.at
    begun = begin(served(), NEW, 7, 3, at=77).update
    assert begun is not None
    assert begun.since == 77


def test_what_took_too_long_is_refused_and_not_condemned() -> None:
    for state in (State.PLAN, State.FETCH, State.SELF_TEST, State.READY, State.ACTIVATE):
        record = advance(in_state(state), Result(Outcome.EXPIRED, "deadline"), NOW)
        assert record.last is not None
        assert (record.last.outcome, record.blocked) == ("refused", ())


# --- writes, and what is wished -----------------------------------------------------------------------------------


def test_writes_are_counted_for_each_wish() -> None:
    record = begin(served(), NEW, 7, 3)
    for _ in range(4):
        record = written(record)
    assert (writes_left(record, "7"), writes_left(record, "8")) == (MAX_WRITES - 4, MAX_WRITES)
    ended = written(advance(record, Result(Outcome.REFUSED), NOW))
    assert writes_left(ended, "7") == MAX_WRITES - 5
    assert written(begin(ended, NEW, 8, 3)).writes == 1


def test_writes_for_a_local_wish_are_counted_apart() -> None:
    record = written(begin(served(), NEW, 7, 3, local=True))
    assert writes_left(record, "7") == MAX_WRITES
    other = begin(replace(record, update=None), Want(3, "c" * 64), 7, 3, local=True)
    assert written(other).writes == 1


def test_a_newer_wish_for_the_same_release_changes_when_and_not_what() -> None:
    record = in_state(State.FETCH)
    assert rewish(record, NEW, 9, local=False) == record
    anew = rewish(record, replace(NEW, urgent=True, window="sun 02:00-03:00"), 9, local=False)
    assert anew.update is not None
    assert (anew.update.urgent, anew.update.window, anew.update.generation) == (True, "sun 02:00-03:00", 9)
    assert state_of(anew) is State.FETCH


def test_how_strictly_and_how_long_in_the_shadow_come_with_the_wish_and_may_change() -> None:
    wish = replace(NEW, gate="strict", shadow_s=7200)
    record = begin(served(), wish, 7, trial_loads=3)
    assert record.update is not None
    assert (record.update.gate, record.update.shadow_s) == ("strict", 7200)
    assert rewish(record, wish, 9, local=False) == record
    anew = rewish(record, replace(wish, gate="advisory", shadow_s=0), 9, local=False)
    assert anew.update is not None
    assert (anew.update.gate, anew.update.shadow_s, anew.update.generation) == ("advisory", 0, 9)


# --- after the commit ---------------------------------------------------------------------------------------------


def committed(evidence: str) -> SlotRecord:
    record = advance(in_state(State.PROBATION), Result(Outcome.DONE, evidence=evidence), NOW)
    return advance(record, Result(Outcome.DONE), NOW)


def test_evidence_becomes_full_and_nothing_else_changes() -> None:
    record = confirm(committed("low"))
    assert record == committed("full")


def test_a_commit_that_is_given_up_goes_back_and_is_blocklisted_in_one_record() -> None:
    record = revert(committed("low"), Result(Outcome.BAD, "errors", facts={"bad": 9}), NOW, 7)
    assert (state_of(record), record.serves, record.stage) == (State.ROLLBACK, OLD, "committed")
    assert record.blocks(NEW.bundle, NEW.attempt) is not None
    assert record.last is not None
    assert (record.last.outcome, record.last.facts) == ("rolled-back", {"bad": 9})
    assert record.floor == 2


@pytest.mark.parametrize("other", [None, Slot(3, "c" * 64, "3"), Slot(4, "d" * 64, "4", evidence="full")])
def test_a_commit_with_nothing_trusted_beside_it_is_given_up_for_nothing(other: Slot | None) -> None:
    record = committed("first").with_slot("a", other).with_blocked(Blocked("d" * 64, 1, "late"))
    record = revert(record, Result(Outcome.BAD, "crashed"), NOW, 7)
    assert (record.a, record.b, record.active, record.stage) == (None, None, "", "none")
    assert record.last is not None
    assert record.last.outcome == "failed"
    assert state_of(advance(record, Result(Outcome.DONE), NOW)) is State.IDLE
