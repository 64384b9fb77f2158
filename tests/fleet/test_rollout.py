import pytest

from fleet.rollout import (
    FAULTS,
    Fault,
    Outcome,
    Rollout,
    RolloutState,
    Standing,
    check_selector,
    commonest_fault,
    judge,
    matches,
    next_attempt,
    next_generation,
    resolve,
    standing_of,
)
from littoral.errors import BadRequestError
from littoral.wire.messages import Ending, ModelState, Progress

NEW, OLD = "n" * 64, "o" * 64


def rollout(
    number: int, selector: str = "all", state: str = "running", model: str = "eye", attempt: int = 1
) -> Rollout:
    return Rollout(number, model, number, NEW, attempt, selector, RolloutState(state), created=0)


@pytest.mark.parametrize(
    ("selector", "named"),
    [("all", True), ("door", True), ("gate", False), ("site=north", True), ("site=south", False), ("north", False)],
)
def test_a_selector_names_all_a_device_or_a_tag(selector: str, named: bool) -> None:
    assert matches(check_selector(selector), "door", {"site": "north"}) is named


@pytest.mark.parametrize("selector", ["", "=", "a=", "=b", "a=b=c", "A", "site=North", "*", "all,door"])
def test_a_selector_that_selects_nothing_is_refused(selector: str) -> None:
    with pytest.raises(BadRequestError):
        check_selector(selector)


@pytest.mark.parametrize(
    ("rollouts", "offered", "followed"),
    [
        ([], (), None),
        ([rollout(1)], (), 1),
        ([rollout(1, "gate")], (), None),
        ([rollout(1, state="done"), rollout(2)], (), 2),
        ([rollout(1, state="done"), rollout(2, "gate")], (1,), 1),  # a newer one that does not name it
        ([rollout(1, state="done")], (), 1),  # a late joiner
        ([rollout(1, state="done"), rollout(2, state="halted")], (), 1),  # a halted one takes nobody new
        ([rollout(1, state="done"), rollout(2, state="halted")], (1, 2), 2),  # what was offered stays
        ([rollout(1, state="aborted")], (), None),
        ([rollout(1, state="aborted"), rollout(2, "gate")], (1,), 1),
        ([rollout(1, state="aborted"), rollout(2, state="done")], (1,), 2),
    ],
)
def test_a_device_follows_the_newest_rollout_that_it_may_or_was_offered(
    rollouts: list[Rollout], offered: tuple[int, ...], followed: int | None
) -> None:
    found = resolve("door", {}, rollouts, offered)
    assert {model: one.id for model, one in found.items()} == ({} if followed is None else {"eye": followed})


def test_models_roll_out_side_by_side() -> None:
    found = resolve("door", {}, [rollout(1), rollout(2, model="ear")], ())
    assert {model: one.id for model, one in found.items()} == {"eye": 1, "ear": 2}


def update(state: str, bundle: str = NEW, attempt: int = 1) -> ModelState:
    return ModelState(4, OLD, stage="committed", update=Progress(5, bundle, attempt, state, "why", "code", 3, 9))


def ending(outcome: str, bundle: str = NEW, attempt: int = 1, serves: str = OLD) -> ModelState:
    last = Ending(5, bundle, attempt, outcome, "constant", "64 equal answers", {"equal": 64})
    return ModelState(4, serves, stage="committed", evidence="full", last=last)


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (None, Outcome.OFFERED),
        (ModelState(), Outcome.OFFERED),
        (update("plan"), Outcome.OFFERED),
        (update("fetch"), Outcome.FETCHING),
        (update("stage"), Outcome.STAGED),
        (update("self-test"), Outcome.TESTING),
        (update("ready"), Outcome.HELD),
        (update("activate"), Outcome.TRIAL),
        (update("probation"), Outcome.TRIAL),
        (update("commit"), Outcome.COMMITTED),
        (update("rollback"), Outcome.ROLLED_BACK),
        (update("stuck"), Outcome.STUCK),
        (update("what-a-newer-agent-does"), Outcome.OFFERED),
        (update("probation", bundle=OLD), Outcome.OFFERED),
        (update("probation", attempt=2), Outcome.OFFERED),
        (ending("rolled-back"), Outcome.ROLLED_BACK),
        (ending("failed"), Outcome.FAILED),
        (ending("stuck"), Outcome.STUCK),
        (ending("refused"), Outcome.BLOCKED),
        (ending("blocked"), Outcome.BLOCKED),
        (ending("cancelled"), Outcome.HELD),
        (ending("superseded"), Outcome.OFFERED),
        (ending("committed", serves=NEW), Outcome.COMMITTED),
        (ending("committed", serves=OLD), Outcome.OFFERED),  # it fell back later: open again
        (ending("rolled-back", attempt=2), Outcome.OFFERED),  # another attempt's verdict
        (ending("committed", attempt=7, serves=NEW), Outcome.COMMITTED),  # there already, by an earlier attempt
        (ModelState(5, NEW, stage="trial"), Outcome.TRIAL),
    ],
)
def test_the_reported_state_says_how_a_device_stands(state: ModelState | None, outcome: Outcome) -> None:
    assert standing_of(rollout(5), state).outcome is outcome


def test_a_standing_carries_the_numbers_behind_it() -> None:
    fetching, back = standing_of(rollout(5), update("fetch")), standing_of(rollout(5), ending("rolled-back"))
    assert (fetching.fetched_bytes, fetching.total_bytes, fetching.reason) == (3, 9, "why")
    assert (back.release, back.code, back.reason, back.facts) == (4, "constant", "64 equal answers", {"equal": 64})
    assert standing_of(rollout(5), ending("committed", serves=NEW)).evidence == "full"


@pytest.mark.parametrize(
    ("state", "outcomes", "after"),
    [
        ("running", [], "running"),
        ("running", ["committed", "offered"], "running"),
        ("running", ["committed", "blocked"], "running"),
        ("running", ["committed", "committed"], "done"),
        ("running", ["committed", "rolled-back", "offered"], "halted"),
        ("running", ["failed"], "halted"),
        ("running", ["stuck"], "halted"),
        ("done", ["committed", "offered"], "running"),
        ("done", ["committed", "rolled-back"], "halted"),
        ("halted", ["committed"], "halted"),
        ("aborted", ["rolled-back"], "aborted"),
    ],
)
def test_only_a_fault_of_the_model_halts_a_rollout(state: str, outcomes: list[str], after: str) -> None:
    assert judge(RolloutState(state), {Outcome(one) for one in outcomes}) == after


def test_what_is_no_fault_of_the_model_never_halts() -> None:
    for outcome in set(Outcome) - FAULTS:
        assert judge(RolloutState.RUNNING, {outcome}) is not RolloutState.HALTED


def test_an_attempt_is_one_more_than_the_rollouts_this_bundle_had() -> None:
    assert next_attempt(NEW, []) == 1
    assert next_attempt(NEW, [rollout(1), rollout(2)]) == 3
    assert next_attempt(OLD, [rollout(1)]) == 1


def test_a_generation_is_above_what_was_stored_and_what_was_reported() -> None:
    assert (next_generation(4, 2), next_generation(2, 4), next_generation(0, 0)) == (5, 5, 1)


def test_a_release_that_waits_for_the_verdict_on_another_says_so() -> None:
    other = Progress(3, OLD, 1, "probation", "4 of 600 s healthy")
    standing = standing_of(rollout(5), ModelState(3, OLD, stage="trial", update=other))
    assert standing.outcome is Outcome.OFFERED
    assert standing.reason == "it waits for the verdict on release 3: 4 of 600 s healthy"


def fault(code: str, reason: str, outcome: Outcome = Outcome.ROLLED_BACK) -> Standing:
    return Standing(outcome, reason=reason, code=code)


def test_the_commonest_fault_is_the_code_of_most_in_the_words_of_most() -> None:
    standings = [
        fault("errors", "3 of 40 failed"),
        fault("misread", "it sees red and blue exchanged"),
        fault("misread", "it sees its input half as bright", Outcome.FAILED),
        fault("misread", "it sees red and blue exchanged", Outcome.STUCK),
        *(fault("no-room", "it takes too much", Outcome.BLOCKED) for _ in range(9)),  # no fault of the release
        Standing(Outcome.COMMITTED),
    ]
    assert commonest_fault(standings) == Fault("misread", "it sees red and blue exchanged", 3, 4)
    assert commonest_fault(standings[-2:]) is None
    assert commonest_fault([]) is None
