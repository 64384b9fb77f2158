"""agent/updater/ready.py: windows, leases, a device that is fit, and one model after the other."""

import calendar
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.alarms import Symptom
from agent.config import Updates as Settings
from agent.updater.clock import BUILT_AT
from agent.updater.machine import State
from agent.updater.ready import URGENT_CHECKS_S
from littoral.wire.messages import Desired, Progress
from tests.agent.updater.fakes import FakeCheckResult, FakeJudge, FakeVerdict, Release, make_release
from tests.agent.updater.running import Device

FRIDAY_NOON = float(calendar.timegm((2027, 1, 15, 12, 0, 0)))
HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The device stands in Greenwich."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def device(tmp_path: Path) -> Device:
    made = Device(tmp_path)
    made.world.wall = FRIDAY_NOON
    made.install(1)
    return made


def with_windows(path: Path, *windows: str) -> Device:
    """A device whose own configuration has these windows; its clock says when the first of them is open."""
    made = Device(path, Settings(retry_first_s=1, disk_reserve_bytes=0, jitter_s=0, windows=windows))
    made.world.wall = FRIDAY_NOON - 9 * HOUR_S
    made.install(1)
    made.world.wall = FRIDAY_NOON
    return made


def wants(device: Device, window: str = "", urgent: bool = False) -> Release:
    release = device.world.add(make_release(2))
    device.want(release.want(window=window, urgent=urgent))
    return release


def why(device: Device) -> str:
    assert device.state is State.READY
    return str(device.cats.situation()["detail"])


# --- windows ------------------------------------------------------------------------------------------------------


def test_a_release_waits_for_the_window_it_is_wanted_in(device: Device) -> None:
    wants(device, "sat,sun 02:00-05:00")
    device.run(30)
    assert why(device) == "outside of the window sat,sun 02:00-05:00; it opens Sat 02:00"
    assert device.served == 1
    device.world.wall += 14 * HOUR_S
    device.run(30)
    assert device.served == 2


def test_a_release_without_a_window_waits_for_that_of_the_device(tmp_path: Path) -> None:
    device = with_windows(tmp_path, "mon-fri 02:00-05:00", "sun 10:00-11:00")
    wants(device)
    device.run(30)
    assert "mon-fri 02:00-05:00; sun 10:00-11:00; it opens Sun 10:00" in why(device)
    device.world.wall += 46.5 * HOUR_S
    device.run(30)
    assert device.served == 2


def test_the_window_of_a_wish_takes_the_place_of_the_devices_own(tmp_path: Path) -> None:
    device = with_windows(tmp_path, "mon-fri 02:00-05:00")
    wants(device, "fri 11:00-13:00")
    device.run(30)
    assert device.served == 2


def test_what_is_urgent_waits_for_no_window(tmp_path: Path) -> None:
    device = with_windows(tmp_path, "mon-fri 02:00-05:00")
    wants(device, "sat 02:00-05:00", urgent=True)
    device.run(30)
    assert device.served == 2


def test_a_clock_that_nobody_may_believe_is_in_no_window(device: Device) -> None:
    wants(device, "00:00-24:00")
    device.world.wall = BUILT_AT - 1.0
    device.run(30)
    assert "clock is wrong" in why(device)
    device.world.wall = FRIDAY_NOON
    device.run(30)
    assert device.served == 2


def test_a_window_works_without_a_network(device: Device) -> None:
    wants(device, "sat 02:00-05:00")
    device.until(State.READY)
    device.world.online = False
    device.world.wall += 14 * HOUR_S
    device.run(30)
    assert device.served == 2


def test_a_window_that_is_none_is_refused_by_name(device: Device) -> None:
    wants(device, "whenever")
    device.run(30)
    assert device.ending == ("refused", "bad-window")
    assert device.served == 1


def test_no_deadline_runs_while_a_window_is_closed(device: Device) -> None:
    wants(device, "sat 02:00-05:00")
    device.until(State.READY)
    for _ in range(20):
        device.turn(86_400.0)
    assert device.state is State.READY
    assert device.cats.situation()["left_s"] is None


def test_a_wish_that_becomes_urgent_is_switched_to_at_once(device: Device) -> None:
    release = wants(device, "sat 02:00-05:00")
    device.until(State.READY)
    device.run(3)
    device.want(release.want(urgent=True))
    device.run(30)
    assert device.served == 2
    assert device.world.kinds().count("tested") == 2  # of release 1 and of this one, which was not begun anew


# --- leases -------------------------------------------------------------------------------------------------------


def test_a_release_waits_for_apps_that_hold_a_lease(device: Device) -> None:
    device.world.runtime.leases["cats"] = 2
    wants(device)
    device.run(30)
    assert why(device) == "2 leases are held; that is waited for 3600 s at most"
    device.world.runtime.leases["cats"] = 0
    device.run(30)
    assert device.served == 2
    assert "lease-overrun" not in device.world.kinds()


def test_leases_hold_a_release_up_no_longer_than_they_may(device: Device) -> None:
    device.world.runtime.leases["cats"] = 1
    wants(device)
    device.until(State.READY)
    device.turn()
    device.turn(device.config.updates.lease_hold_s - 2)
    assert device.state is State.READY
    device.run(30)
    assert device.served == 2
    assert "lease-overrun" in device.world.kinds()


def test_the_wait_for_leases_begins_when_the_window_is_open(device: Device) -> None:
    device.world.runtime.leases["cats"] = 1
    wants(device, "sat 02:00-05:00")
    device.until(State.READY)
    device.turn(14 * HOUR_S)
    device.world.wall += 14 * HOUR_S
    device.run(30)
    assert why(device).startswith("a lease is held")


def test_a_lease_on_another_model_holds_nothing_up(device: Device) -> None:
    device.world.runtime.leases["dogs"] = 1
    wants(device)
    device.run(30)
    assert device.served == 2


def test_what_is_urgent_waits_for_no_lease(device: Device) -> None:
    device.world.runtime.leases["cats"] = 1
    wants(device, urgent=True)
    device.run(30)
    assert device.served == 2


# --- a device in trouble ------------------------------------------------------------------------------------------

HOT = Symptom("too-hot", "cpu is at 92 °C")
FULL = Symptom("disk-low", "3 KB are free")


def progress(device: Device) -> Progress:
    found = device.cats.view().update
    assert found is not None
    return found


def test_nothing_is_begun_on_a_device_that_is_too_hot(device: Device) -> None:
    device.world.unfit = (HOT,)
    wants(device)
    device.run(30)
    assert device.state is State.IDLE
    assert device.cats.situation()["detail"] == HOT.text
    device.world.unfit = ()
    device.run(30)
    assert device.served == 2


def test_a_full_disk_is_planned_for_as_planning_makes_room(device: Device) -> None:
    device.world.unfit = (FULL,)
    wants(device)
    device.until(State.SELF_TEST)
    assert "update-started" in device.world.kinds()


@pytest.mark.parametrize("symptom", [HOT, FULL])
def test_a_release_is_not_switched_to_on_a_device_that_is_not_fit(device: Device, symptom: Symptom) -> None:
    wants(device)
    device.until(State.READY)
    device.world.unfit = (symptom,)
    for _ in range(20):
        device.turn(86_400.0)
    assert (progress(device).state, progress(device).code, progress(device).detail) == (
        "ready",
        symptom.code,
        symptom.text,
    )
    assert device.cats.situation()["left_s"] is None
    device.world.unfit = ()
    device.run(30)
    assert device.served == 2


def test_a_release_is_not_tested_on_a_device_that_is_not_fit(device: Device) -> None:
    wants(device)
    device.until(State.STAGE)
    device.world.unfit = (HOT,)
    tests = len(device.world.runtime.tried)
    device.run(30)
    assert (progress(device).state, progress(device).code) == ("self-test", "too-hot")
    assert len(device.world.runtime.tried) == tests
    device.world.unfit = ()
    device.run(30)
    assert device.served == 2


def test_what_is_urgent_waits_for_no_device_to_cool(device: Device) -> None:
    """It may be the remedy: the release before, which took less."""
    device.world.unfit = (HOT, FULL)
    wants(device, urgent=True)
    device.run(60)
    assert device.served == 2


def test_a_trial_goes_on_and_may_go_back_while_the_device_is_hot(device: Device) -> None:
    wants(device)
    device.until(State.PROBATION)
    device.world.unfit = (HOT,)
    device.world.judge.word = FakeVerdict("not-finite", "NaN")
    device.run(10)
    assert device.served == 1


def test_a_test_that_hung_on_a_device_in_trouble_proves_nothing(device: Device) -> None:
    second = device.world.add(make_release(2))
    device.world.runtime.fails[second.bundle] = ("hung", True)
    device.want(second.want(urgent=True))
    device.world.unfit = (HOT,)
    device.run(30)
    assert device.ending == ("refused", "hung")
    assert device.record.blocks(second.bundle, 1) is None


# --- the owner's checks -------------------------------------------------------------------------------------------


def test_a_release_waits_while_a_required_check_is_bad_already_as_long_as_it_takes(device: Device) -> None:
    device.world.checks.results = (FakeCheckResult("page", "good"), FakeCheckResult("lamp"), FakeCheckResult("fan"))
    wants(device)
    device.run(30)
    assert why(device) == "the required check lamp is bad already: the lamp is off (and 1 more)"
    situation = device.cats.situation()
    assert (situation["code"], situation["left_s"]) == ("external", None)
    update = device.cats.view().update
    assert update is not None
    assert (update.code, update.detail) == ("external", why(device))
    device.turn(30 * 24 * HOUR_S)
    assert device.state is State.READY
    device.world.checks.results = (FakeCheckResult("lamp", "good"),)
    device.run(40)
    assert device.served == 2


@pytest.mark.parametrize("result", [FakeCheckResult("lamp", "unknown"), FakeCheckResult("lamp", required=False)])
def test_a_check_that_cannot_tell_or_is_only_wanted_holds_nothing_up(device: Device, result: FakeCheckResult) -> None:
    device.world.checks.results = (result,)
    wants(device)
    device.until(State.PROBATION)
    assert device.served == 2


def test_checks_are_asked_only_once_nothing_else_is_waited_for(device: Device) -> None:
    device.world.checks.hangs = True
    wants(device, "sat,sun 02:00-05:00")
    device.run(30)
    assert device.world.checks.watched == []
    device.world.wall += 14 * HOUR_S
    device.run(2)
    assert why(device) == "the health checks of this device are asked"
    assert device.world.checks.watched == [("cats", 2, "ready")]
    device.world.runtime.leases["cats"] = 1
    device.run(2)
    assert "a lease is held" in why(device)
    assert device.world.checks.watched == []
    device.world.runtime.leases["cats"] = 0
    device.world.checks.hangs = False
    device.until(State.PROBATION)
    assert device.world.checks.watched == [("cats", 2, "trial")]


def test_what_is_urgent_may_be_the_remedy_and_waits_for_no_check(device: Device) -> None:
    device.world.checks.results = (FakeCheckResult("lamp"), FakeCheckResult("fan"), FakeCheckResult("page", "good"))
    wants(device, urgent=True)
    device.until(State.PROBATION)
    serves = device.record.serves
    assert serves is not None
    assert serves.checks_bad == "lamp fan"


def test_what_is_urgent_waits_for_a_round_no_longer_than_one_check_may_hang(device: Device) -> None:
    device.world.checks.hangs = True
    wants(device, urgent=True)
    device.until(State.READY)
    device.turn()
    device.turn(URGENT_CHECKS_S - 1)
    assert device.state is State.READY
    device.turn(2)
    device.turn()
    serves = device.record.serves
    assert serves is not None
    assert (serves.release, serves.checks_bad) == (2, "*")


def test_names_that_are_too_many_for_the_record_stand_for_all(device: Device) -> None:
    device.world.checks.results = tuple(FakeCheckResult(f"{number:064}") for number in range(4))
    wants(device, urgent=True)
    device.until(State.PROBATION)
    serves = device.record.serves
    assert serves is not None
    assert serves.checks_bad == "*"


def test_a_first_release_waits_for_no_check(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.world.checks.results = (FakeCheckResult("app-answers"),)
    device.install(1)
    assert device.served == 1


# --- several models -----------------------------------------------------------------------------------------------

MODELS = ("cats", "dogs", "birds")


def of_all(device: Device, number: int) -> dict[str, Release]:
    releases = {model: device.world.add(make_release(number, model=model)) for model in MODELS}
    wanted = {model: release.want() for model, release in releases.items()}
    device.generation += 1
    device.wanted.update(wanted)
    device.updates.want(Desired("main", "farm-1", device.generation, "", device.wanted))
    return releases


def test_three_models_are_fetched_side_by_side_and_tried_one_after_the_other(device: Device) -> None:
    of_all(device, 1)
    device.run(40)
    of_all(device, 2)
    together: set[tuple[State, ...]] = set()
    for _ in range(150):
        device.turn()
        together.add(tuple(device.updates.models[model].state for model in MODELS))
    assert (State.FETCH, State.FETCH, State.FETCH) in together
    on_trial = [states for states in together if sum(s in (State.ACTIVATE, State.PROBATION) for s in states) > 1]
    assert on_trial == []
    for model in MODELS:
        serves = device.record_of(model).serves
        assert serves is not None
        assert (serves.release, serves.evidence) == (2, "full")


def test_a_model_whose_trial_goes_back_lets_the_next_one_begin(device: Device) -> None:
    of_all(device, 1)
    device.run(40)
    of_all(device, 2)
    device.until(State.PROBATION)
    device.world.judge.word = FakeVerdict("late", "slow")
    device.turn(2)
    device.world.judge.word = None
    device.run(150)
    assert device.served == 1
    assert [device.record_of(model).serves.release for model in ("dogs", "birds")] == [2, 2]  # type: ignore[union-attr]


def test_a_first_release_waits_for_no_other_model_and_holds_up_none(device: Device) -> None:
    device.world.traffic, device.world.judge = False, FakeJudge()
    wants(device)
    device.until(State.PROBATION)
    device.want(device.world.add(make_release(1, model="dogs")).want(), "dogs")
    device.until(State.IDLE, "dogs")
    assert device.state is State.PROBATION
    assert device.record_of("dogs").stage == "committed"


def test_the_same_release_wanted_anew_moves_its_window_and_nothing_is_fetched_again(device: Device) -> None:
    second = device.world.add(make_release(2))
    device.want(second.want(window="sun 02:00-03:00"))
    device.run(10)
    assert device.state is State.READY
    asked = len(device.world.source.wanted)
    device.want(second.want(attempt=2, window="fri 00:00-23:00"))
    device.until(State.PROBATION)
    assert len(device.world.source.wanted) == asked
    assert device.record.update is not None
    assert device.record.update.attempt == 2
    device.want(second.want(attempt=3, urgent=True))
    device.run(80)
    assert (device.served, device.world.kinds().count("activated")) == (2, 2)
    assert device.record.last is not None
    assert device.record.last.attempt == 3
