"""agent/updater/overtaking.py: supersede, cancel and urgent, in every state."""

from dataclasses import replace

import pytest

from agent.updater.machine import UNTRIED, Outcome, State, begin
from agent.updater.overtaking import overtaken
from littoral.wire.messages import Want
from tests.agent.updater.test_machine import NEW, OLD, in_state, served

NEWER = Want(3, "c" * 64)
URGENT = Want(3, "c" * 64, urgent=True)
AGAIN = Want(NEW.release, NEW.bundle, NEW.attempt + 1)
CANCEL = Want(OLD.release, OLD.bundle)
STATES = [state for state in State if state is not State.IDLE]

# What ends the present step: by state, the wishes that do. The same release never does, but where it has failed.
ENDS: dict[State, set[str]] = {
    **{state: {"newer", "urgent", "cancel", "removal"} for state in UNTRIED},
    State.ACTIVATE: {"urgent", "cancel", "removal"},
    State.PROBATION: {"urgent", "cancel", "removal"},
    State.COMMIT: set(),
    State.ROLLBACK: set(),
    State.STUCK: {"newer", "urgent", "again", "removal"},  # the baseline is what it is trying to serve already
}
WISHES: dict[str, Want | None] = {
    "same": NEW,
    "newer": NEWER,
    "urgent": URGENT,
    "again": AGAIN,
    "cancel": CANCEL,
    "removal": None,
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("wish", list(WISHES))
def test_a_wish_ends_a_step_as_the_table_says(state: State, wish: str) -> None:
    result = overtaken(in_state(state), WISHES[wish])
    assert (result is not None) == (wish in ENDS[state])
    if result is not None:
        assert result.outcome is Outcome.SUPERSEDED


def test_nothing_that_is_worse_than_the_repaired_ends_a_repair() -> None:
    record = begin(served(), Want(OLD.release, OLD.bundle), 7, trial_loads=0)
    assert overtaken(record, CANCEL) is None


def test_a_repair_comes_before_what_is_newer_and_gives_way_where_it_does_not_get_on() -> None:
    record = begin(served(), Want(OLD.release, OLD.bundle), 7, trial_loads=0)
    assert overtaken(record, NEWER) is None
    assert overtaken(record, NEWER, hindered=True) is not None
    assert overtaken(record, replace(NEWER, urgent=True)) is not None
    assert overtaken(record, None) is not None


def test_a_first_release_on_trial_can_be_cancelled_by_its_removal_alone() -> None:
    record = in_state(State.PROBATION, served().with_slot("a", None))
    assert record.baseline is None
    assert overtaken(record, NEWER) is None
    assert overtaken(record, None) is not None


def test_a_model_without_an_update_is_overtaken_by_nothing() -> None:
    assert overtaken(served(), NEWER) is None
