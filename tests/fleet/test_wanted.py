from fleet import wanted
from fleet.rollout import Rollout, RolloutState
from fleet.wanted import LATELY_S, NEED_S, NEEDS_PER_HOUR, Needs

NOW = 1_000_000


def rollout(state: RolloutState, bundle: str) -> Rollout:
    return Rollout(1, "eye", 1, bundle, 1, "all", state, NOW)


def test_what_a_running_rollout_offers_is_wanted_whoever_is_there() -> None:
    rollouts = [rollout(state, state.value) for state in RolloutState]
    assert wanted.bundles(rollouts, {}, NOW) == {"running"}


def test_what_a_device_that_was_heard_of_lately_lacks_is_wanted() -> None:
    heard = {"now": NOW, "lately": NOW - LATELY_S, "long-ago": NOW - LATELY_S - 1}
    assert wanted.bundles([rollout(RolloutState.HALTED, "long-ago")], heard, NOW) == {"now", "lately"}


def test_what_is_needed_is_remembered_for_a_while_after_it_was_last_named() -> None:
    needs = Needs()
    assert needs.take("door", ["a", "b", "a"], NOW) == ["a", "b"]
    needs.take("gate", ["b"], NOW + 5)
    assert needs.lately(NOW + NEED_S) == {"a", "b"}
    assert needs.lately(NOW + NEED_S + 1) == {"b"}
    assert needs.lately(NOW + NEED_S + 6) == set()


def test_one_device_may_need_only_so_much_in_an_hour_and_takes_nothing_from_others() -> None:
    needs, names = Needs(), [str(number) for number in range(NEEDS_PER_HOUR)]
    assert needs.take("door", names[:1_000], NOW) == names[:1_000]
    assert needs.take("door", names, NOW) == names[: NEEDS_PER_HOUR - 1_000]
    assert needs.take("door", names, NOW) == []
    assert needs.take("gate", names, NOW) == names
    assert len(needs.take("door", names, NOW + 1_800)) == NEEDS_PER_HOUR // 2
    assert len(needs.take("door", names, NOW + 90_000)) == NEEDS_PER_HOUR
