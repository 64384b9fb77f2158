"""agent/updater/watch.py: the watch that goes on after a commit with evidence `first` or `low`."""

from pathlib import Path

import pytest

from agent import control
from agent.updater import machine
from agent.updater.machine import State
from agent.updater.model_update import ModelUpdate
from tests.agent.updater.fakes import FakeCheckResult, FakeJudge, FakeVerdict, Release, make_release
from tests.agent.updater.running import Device


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def commit_low(device: Device) -> tuple[Release, Release]:
    """Releases 1, trusted, and 2, which nobody asked in its whole probation."""
    first = device.install(1)
    device.world.traffic, device.world.judge = False, FakeJudge()
    second = device.world.add(make_release(2))
    device.want(second.want())
    device.until(State.PROBATION)
    device.run(20)
    device.turn(device.config.probation.longest_s)
    device.until(State.IDLE)
    assert evidence(device) == "low"
    return first, second


def evidence(device: Device) -> str:
    serves = device.record.serves
    assert serves is not None
    return serves.evidence


def test_a_first_release_is_watched_until_its_evidence_is_full(device: Device) -> None:
    device.install(1, trusted=False)
    assert evidence(device) == "first"
    device.run(20)
    assert evidence(device) == "full"
    assert device.world.told[-1][0] == "confirmed"
    assert "10 of 10 s healthy" in device.world.told[-1][1]
    assert device.cats.view().evidence == "full"
    assert device.world.canary.watched == {}


def test_evidence_that_nobody_asks_for_stays_low(device: Device) -> None:
    commit_low(device)
    device.run(50)
    assert evidence(device) == "low"
    device.world.traffic = True
    device.run(3)
    assert evidence(device) == "full"


def test_an_idle_model_is_asked_by_the_canary_no_longer_than_its_healthy_time(device: Device) -> None:
    device.world.traffic = False
    device.install(1, trusted=False)
    device.turn()
    assert device.world.canary.watched == {"cats": 1}
    device.run(20)
    assert device.world.canary.watched == {}
    assert evidence(device) == "first"


def test_a_low_release_found_bad_goes_back_and_is_blocklisted(device: Device) -> None:
    first, second = commit_low(device)
    device.world.judge.word = FakeVerdict("errors", "it fails", {"bad": 60})
    device.turn()
    assert device.state is State.ROLLBACK
    device.until(State.IDLE)
    assert device.served == 1
    assert device.ending == ("rolled-back", "errors")
    assert device.record.blocks(second.bundle, 1) is not None
    assert device.world.runtime.serving["cats"].bundle == first.bundle
    device.world.judge.word = None
    device.run(30)
    assert device.served == 1  # it is blocklisted, though it is still wanted


def test_a_first_release_found_bad_is_unloaded_and_has_failed(device: Device) -> None:
    release = device.install(1, trusted=False)
    device.turn()
    message = control.Died("cats", 1, release.bundle, "committed", 11, 0)
    device.updates.notice(message, device.now)
    device.run(5)
    assert device.served == 0
    assert device.ending == ("failed", "crashed")
    assert device.record.blocks(release.bundle, 1) is not None
    assert device.world.runtime.serving["cats"].release == 0
    assert "failed" in device.world.kinds()


def test_a_death_for_want_of_memory_gives_nothing_up(device: Device) -> None:
    release = device.install(1, trusted=False)
    device.turn()
    device.updates.notice(control.Died("cats", 1, release.bundle, "committed", 9, 0, memory=True), device.now)
    device.run(5)
    assert device.served == 1


def test_a_release_that_cannot_be_loaded_again_is_given_up(device: Device) -> None:
    _, second = commit_low(device)
    device.turn()
    device.updates.notice(control.Failed("cats", second.bundle, "model-load", "it does not load"), device.now)
    device.run(5)
    assert device.served == 1
    assert device.ending == ("rolled-back", "model-load")


def test_the_judge_of_a_trial_and_of_what_is_watched_on_hears_of_a_device_in_trouble(device: Device) -> None:
    heard = []

    def say(troubled: bool) -> None:
        device.updates.device(troubled, device.now)
        heard.append((device.updates.watching, device.world.judge.troubled))

    device.world.traffic = False
    device.install(1, trusted=False)
    device.turn()
    say(True)
    device.world.traffic = True
    device.run(30)
    say(False)  # nobody is judged any more
    device.want(device.world.add(make_release(2)).want())
    device.until(State.PROBATION)
    say(False)
    assert heard == [(True, True), (False, True), (True, False)]


def test_a_full_release_is_watched_no_more(device: Device) -> None:
    device.install(1)
    device.world.judge.word = FakeVerdict("errors", "it fails")
    device.run(10)
    assert device.served == 1


def test_the_watch_goes_on_where_it_was_after_a_restart(device: Device) -> None:
    device.world.traffic = False
    device.install(1, trusted=False)
    device.run(8)
    slot = device.record.serves
    assert slot is not None
    assert slot.healthy_s >= 6
    device.world.runtime.restart()
    device.start()
    device.turn()
    watch = device.cats.situation()["watch"]
    assert watch.startswith(f"{slot.healthy_s} of 10 s healthy")
    device.world.judge.word = FakeVerdict("errors", "it fails")
    device.run(5)
    assert device.ending == ("failed", "errors")


def test_the_watch_delays_no_update_and_ends_with_the_switch(device: Device) -> None:
    device.world.traffic = False
    device.install(1, trusted=False)
    device.want(device.world.add(make_release(2)).want())
    device.until(State.PROBATION)
    assert evidence(device) == ""  # of the trial
    assert device.record.baseline is not None
    assert device.record.baseline.evidence == "first"
    device.turn()
    assert device.world.canary.watched == {"cats": 2}


def test_what_is_found_bad_while_the_next_one_is_fetched_goes_first(device: Device) -> None:
    first, second = commit_low(device)
    device.world.source.held.clear()
    third = device.world.add(make_release(3))
    held, device.world.source.held = device.world.source.held, {}
    device.want(third.want())
    device.before_turn = lambda: device.world.source.asked.clear()
    device.until(State.FETCH)
    device.world.judge.word = FakeVerdict("errors", "it fails")
    device.turn()
    assert device.state is State.ROLLBACK
    device.world.judge.word = None
    device.world.source.held, device.before_turn = held, lambda: None
    device.world.traffic = True
    device.run(80)
    assert device.served == 3
    assert device.record.blocks(second.bundle, 1) is not None
    assert device.record.other is not None
    assert device.record.other.bundle == first.bundle


def test_a_release_never_goes_back_to_a_trial_that_failed_beside_it(device: Device) -> None:
    commit_low(device)
    third = device.world.add(make_release(3))
    device.world.runtime.cannot_load.add(third.bundle)
    device.want(third.want())
    device.run(20)
    assert device.record.blocks(third.bundle, 1) is not None
    device.world.judge.word = FakeVerdict("errors", "it fails")
    device.run(10)
    assert device.served == 0
    assert (device.record.a, device.record.b) == (None, None)


def test_the_watch_costs_a_bounded_number_of_writes(device: Device) -> None:
    device.world.traffic = False
    device.install(1, trusted=False)
    before = device.record.writes
    device.run(500)
    assert device.record.writes - before <= 8


def test_a_verdict_survives_a_disk_that_does_not_take_it(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    commit_low(device)

    def refuse(*_: object) -> None:
        raise OSError(30, "read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr("agent.record.write", refuse)
        device.world.judge.word = FakeVerdict("errors", "it fails")
        device.run(5)
        assert device.served == 2
        assert "cannot go on" in device.cats.problem
    device.run(5)
    assert device.served == 1


def test_only_what_is_committed_can_be_given_up(device: Device) -> None:
    device.install(1)
    device.want(device.world.add(make_release(2)).want())
    device.until(State.PROBATION)
    update: ModelUpdate = device.cats
    with pytest.raises(RuntimeError):
        machine.revert(update.record, machine.Result(machine.Outcome.BAD), machine.Moment(0, "b"), 1)


def test_what_is_told_of_a_long_watch_comes_to_rest(device: Device) -> None:
    device.world.traffic = False
    device.install(1, trusted=False)
    told = set()
    for _ in range(200):
        device.turn()
        told.add(device.cats.situation()["watch"])
    assert len(told) <= 12
    assert "10 of 10 s healthy, 0 of 5 answers" in told


# --- the owner's checks -------------------------------------------------------------------------------------------

LAMP, PAGE, FAN = FakeCheckResult("lamp"), FakeCheckResult("page", "good"), FakeCheckResult("fan", required=False)


def try_out(device: Device, *before: FakeCheckResult, urgent: bool = False) -> None:
    """Release 2 on trial, switched to when the checks said this."""
    device.install(1)
    device.world.checks.results = before
    device.want(device.world.add(make_release(2)).want(urgent=urgent))
    device.until(State.PROBATION)
    device.world.judge.external_words.clear()


def words(device: Device) -> set[tuple[str, bool, bool, str]]:
    device.world.judge.external_words.clear()
    device.turn()
    return set(device.world.judge.external_words)


def test_what_checks_say_in_probation_is_for_the_judge(device: Device) -> None:
    try_out(device, PAGE)
    device.world.checks.results = (LAMP, PAGE, FAN, FakeCheckResult("door", "unknown"))
    assert device.world.checks.watched == [("cats", 2, "trial")]
    assert words(device) == {
        ("lamp", True, True, "the lamp is off"),
        ("page", True, False, "the lamp is off"),
        ("fan", False, True, "the lamp is off"),
    }


def test_a_check_that_was_bad_before_the_switch_never_decides_not_even_after_a_restart(device: Device) -> None:
    try_out(device, LAMP, PAGE, urgent=True)
    device.world.checks.results = (LAMP, FakeCheckResult("page"))
    decisive = {("lamp", False), ("page", True)}
    assert {word[:2] for word in words(device)} == decisive
    device.start_agent()
    device.turn()
    assert {word[:2] for word in words(device)} == decisive


def test_an_update_that_did_not_wait_for_the_checks_is_blamed_for_none(device: Device) -> None:
    device.install(1)
    device.world.checks.hangs = True
    device.want(device.world.add(make_release(2)).want(urgent=True))
    device.until(State.READY)
    device.turn(100)
    device.until(State.PROBATION)
    device.world.checks.hangs, device.world.checks.results = False, (LAMP,)
    assert {word[:2] for word in words(device)} == {("lamp", False)}


def test_after_a_commit_checks_are_asked_and_decide_nothing(device: Device) -> None:
    device.world.traffic = False
    device.install(1, trusted=False)
    device.world.checks.results = (LAMP,)
    assert {word[:2] for word in words(device)} == {("lamp", False)}
    assert device.world.checks.watched == [("cats", 1, "committed")]
    device.run(20)
    assert device.world.checks.watched == []


def test_a_verdict_of_a_check_rolls_back_and_is_told(device: Device) -> None:
    try_out(device)
    device.world.judge.word = FakeVerdict(
        "external", "the required check lamp was bad 3 times in a row", {"check": "lamp"}
    )
    device.until(State.IDLE)
    assert (device.served, device.ending) == (1, ("rolled-back", "external"))
    assert device.world.checks.watched == []
    assert device.world.facts["rolled-back"] == {"code": "external", "check": "lamp"}
