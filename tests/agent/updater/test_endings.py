"""agent/updater/endings.py: what is told of a decision, and when what was refused is tried again."""

from agent.updater.endings import REFUSED_AGAIN_S, REFUSED_LAST_S, Backoff, milestones
from agent.updater.machine import Outcome, Result, State, advance
from littoral.wire.ending import Ending
from tests.agent.updater.test_machine import NEW, NOW, in_state


def refused(bundle: str = NEW.bundle, outcome: str = "refused") -> Ending:
    return Ending(NEW.release, bundle, 1, outcome)


def test_the_pause_doubles_up_to_a_day() -> None:
    backoff, pauses = Backoff(), []
    for _ in range(12):
        backoff.note(refused(), 1000.0)
        pauses.append(backoff.left_s(NEW.bundle, 1, 1000.0))
    assert pauses[:3] == [REFUSED_AGAIN_S, 2 * REFUSED_AGAIN_S, 4 * REFUSED_AGAIN_S]
    assert max(pauses) == pauses[-1] == REFUSED_LAST_S


def test_a_pause_ends_and_is_of_one_bundle_and_attempt() -> None:
    backoff = Backoff()
    backoff.note(refused(), 0.0)
    assert backoff.left_s(NEW.bundle, 1, REFUSED_AGAIN_S) == 0
    assert backoff.left_s(NEW.bundle, 2, 0.0) == 0
    assert backoff.left_s("c" * 64, 1, 0.0) == 0
    backoff.note(refused("c" * 64), 0.0)
    assert backoff.left_s("c" * 64, 1, 0.0) == REFUSED_AGAIN_S


def test_what_was_overtaken_or_committed_does_not_wait() -> None:
    backoff = Backoff()
    for outcome in ("superseded", "cancelled", "committed", "rolled-back"):
        backoff.note(refused(outcome=outcome), 0.0)
    assert backoff.left_s(NEW.bundle, 1, 0.0) == 0


def test_a_rollback_is_told_with_its_code_and_numbers() -> None:
    before = in_state(State.PROBATION)
    after = advance(before, Result(Outcome.BAD, "late", "too slow", facts={"late": 40}), NOW)
    assert milestones(before, after) == [("rolled-back", "too slow", {"code": "late", "late": 40})]


def test_a_commit_is_told_with_its_evidence() -> None:
    before = in_state(State.PROBATION)
    after = advance(before, Result(Outcome.DONE, evidence="full"), NOW)
    assert milestones(before, after) == [("committed", "with evidence full", {})]


def test_the_switch_and_being_stuck_are_told() -> None:
    before = in_state(State.ACTIVATE)
    assert [kind for kind, _, _ in milestones(before, advance(before, Result(Outcome.DONE), NOW))] == ["activated"]
    before = in_state(State.ROLLBACK)
    assert [kind for kind, _, _ in milestones(before, advance(before, Result(Outcome.BAD), NOW))] == ["stuck"]


def test_a_state_that_goes_on_is_told_nowhere() -> None:
    before = in_state(State.FETCH)
    assert milestones(before, advance(before, Result(Outcome.DONE), NOW)) == []
