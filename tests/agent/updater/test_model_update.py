"""agent/updater/model_update.py: deadlines over restarts, tries, the write cap, safe mode, stuck."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent import record, slots
from agent.config import Updates as Settings
from agent.updater import machine
from agent.updater.machine import State
from agent.updater.steps import DAY_S
from tests.agent.updater.fakes import FakeJudge, FakeVerdict, Release, make_release
from tests.agent.updater.running import Device

LONG = Settings(retry_first_s=1, disk_reserve_bytes=0, jitter_s=0, trial_loads=3)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    made = Device(tmp_path, LONG)
    made.install(1)
    return made


@pytest.fixture
def second(device: Device) -> Release:
    return device.world.add(make_release(2))


def hold(device: Device, state: State, second: Release) -> None:
    """Brings the update to release 2 into `state`, and keeps it there."""
    world = device.world
    if state is State.FETCH:
        device.before_turn = lambda: world.source.asked.clear()  # another list after each forget()
    elif state is State.SELF_TEST:
        device.before_turn = world.runtime.said.clear
    elif state is State.READY:
        world.runtime.leases["cats"] = 1
    elif state is State.PROBATION:
        world.traffic, world.judge = False, FakeJudge()
    device.want(second.want())
    device.until(state)
    device.turn()
    assert device.state is state


# --- deadlines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "deadline_s", "turn_s"), [(State.FETCH, 7 * DAY_S, 1_800.0), (State.SELF_TEST, 3_600.0, 25.0)]
)
def test_time_in_a_state_adds_up_over_restarts(
    device: Device, second: Release, state: State, deadline_s: float, turn_s: float
) -> None:
    hold(device, state, second)
    began = device.now
    for turn in range(900):
        device.turn(turn_s)
        if turn % 16 == 15:
            device.start_agent()
        if device.record.last is not None and device.ending[0] == "refused":
            break
    assert device.ending == ("refused", "deadline")
    assert deadline_s <= device.now - began <= deadline_s * 3
    assert device.served == 1
    assert device.record.blocked == ()


def test_time_without_a_network_counts_against_no_deadline(device: Device, second: Release) -> None:
    hold(device, State.FETCH, second)
    device.world.online = False
    for _ in range(100):
        device.turn(DAY_S)
    assert device.state is State.FETCH
    assert device.cats.situation()["detail"] == "waiting for the network"
    assert device.cats.situation()["left_s"] is None


@pytest.mark.parametrize("state", [State.SELF_TEST, State.READY, State.PROBATION])
def test_time_without_the_runtime_counts_against_no_deadline(device: Device, second: Release, state: State) -> None:
    hold(device, state, second)
    device.world.runtime.connected = False
    for _ in range(100):
        device.turn(DAY_S)
    assert device.state is state
    assert device.cats.situation()["detail"] == "waiting for the runtime"


def test_remembering_the_time_costs_few_writes(device: Device, second: Release) -> None:
    hold(device, State.FETCH, second)
    before = device.record.writes
    for _ in range(1_000):
        device.turn(60.0)
    assert device.record.writes - before <= 1_000 / 60 + 1


def test_a_probation_lasts_a_day_in_all_however_often_it_begins_anew(device: Device, second: Release) -> None:
    hold(device, State.PROBATION, second)
    began = device.now
    for _ in range(20):
        device.run(6)
        device.turn(70.0)
        device.start_agent()
        if device.state is State.IDLE:
            break
    device.run(20)
    assert device.served == 2
    assert device.record.serves is not None
    assert device.record.serves.evidence == "low"
    assert device.now - began < 2 * device.config.probation.longest_s


def test_a_trial_that_was_never_well_is_not_trusted_at_its_deadline(device: Device, second: Release) -> None:
    class Unwell(FakeJudge):
        def healthy(self, now_s: float) -> bool:
            return False

    hold(device, State.PROBATION, second)
    device.world.judge = Unwell()
    device.start_agent()
    device.turn(1.0)
    device.turn(device.config.probation.longest_s)
    device.run(3)
    assert device.served == 1
    assert device.ending == ("refused", "unproven")
    assert device.record.blocked == ()


# --- tries --------------------------------------------------------------------------------------------------------


def loads_left(device: Device) -> int:
    assert device.record.update is not None
    return device.record.update.loads_left


def test_a_crash_of_the_agent_alone_spends_no_load(device: Device, second: Release) -> None:
    hold(device, State.PROBATION, second)
    for _ in range(10):
        device.world.runtime.connections += 1
        device.start_agent()
        device.run(2)
    assert loads_left(device) == 2
    assert device.state is State.PROBATION


def test_a_crash_of_both_is_one_load(device: Device, second: Release) -> None:
    hold(device, State.PROBATION, second)
    device.world.runtime.restart()
    device.start_agent()
    device.run(3)
    assert loads_left(device) == 1
    assert device.state is State.PROBATION


def test_a_boot_is_a_power_cut_and_no_load(device: Device, second: Release) -> None:
    hold(device, State.PROBATION, second)
    device.world.runtime.restart()
    device.start()
    device.run(3)
    assert device.record.update is not None
    assert (loads_left(device), device.record.update.power_cuts) == (2, 1)


def test_a_boot_and_then_a_crash_of_the_runtime_are_counted_apart(device: Device, second: Release) -> None:
    hold(device, State.PROBATION, second)
    device.world.runtime.restart()
    device.start()
    device.run(3)
    device.world.runtime.restart()
    device.run(3)
    assert device.record.update is not None
    assert (loads_left(device), device.record.update.power_cuts) == (1, 1)


def test_healthy_time_adds_up_over_boots(device: Device, second: Release) -> None:
    hold(device, State.PROBATION, second)
    device.world.traffic = True
    for _ in range(6):
        device.run(8)
        device.world.runtime.restart()
        device.start()
        if device.state is State.IDLE:
            break
    device.run(5)
    assert device.served == 2


# --- writes -------------------------------------------------------------------------------------------------------


def spend_writes(device: Device) -> None:
    """As if the record had been written as often as it may be."""
    path = slots.path_of(device.config.state, "cats")
    slots.write(path, replace(device.record, writes=machine.MAX_WRITES))
    device.start_agent()


def test_an_update_over_the_write_cap_ends_and_is_not_begun_again_for_this_generation(
    device: Device, second: Release
) -> None:
    hold(device, State.FETCH, second)
    spend_writes(device)
    device.run(5)
    assert device.ending == ("refused", "write-cap")
    writes = device.record.writes
    device.before_turn = lambda: None
    for _ in range(50):
        device.turn(DAY_S)
    device.start()
    device.run(20)
    assert device.record.writes == writes
    assert "newer one is waited for" in device.cats.situation()["detail"]


def test_a_newer_generation_may_write_again(device: Device, second: Release) -> None:
    hold(device, State.FETCH, second)
    spend_writes(device)
    device.run(5)
    device.before_turn = lambda: None
    device.want(second.want(attempt=2))
    device.run(80)
    assert device.served == 2
    assert device.record.writes < 100


@pytest.mark.parametrize("verdict", ["good", "bad"])
def test_a_verdict_is_written_whatever_the_cap_says(device: Device, second: Release, verdict: str) -> None:
    hold(device, State.PROBATION, second)
    spend_writes(device)
    device.world.traffic = True
    if verdict == "bad":
        device.world.judge.word = FakeVerdict("late", "slow")
    device.run(60)
    assert device.served == (2 if verdict == "good" else 1)
    assert device.state is State.IDLE


def test_a_whole_update_costs_few_writes(device: Device, second: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Path] = []
    write = record.write

    def count(path: Path, value: dict[str, object]) -> None:
        counted.append(path)
        write(path, value)

    monkeypatch.setattr(record, "write", count)
    device.want(second.want())
    device.run(80)
    assert device.served == 2
    assert len(counted) <= 25
    assert device.record.writes == len(counted)


# --- safe mode ----------------------------------------------------------------------------------------------------


def test_in_safe_mode_a_trial_goes_back_and_nothing_is_begun(device: Device, second: Release) -> None:
    hold(device, State.PROBATION, second)
    device.world.safe = True
    device.start_agent()
    device.run(30)
    assert device.served == 1
    assert device.ending == ("refused", "safe-mode")
    assert device.record.blocked == ()
    for _ in range(10):
        device.turn(DAY_S)
    assert device.state is State.IDLE
    assert "safe mode" in device.cats.situation()["detail"]
    device.world.safe, device.world.traffic = False, True
    device.run(80)
    assert device.served == 2


@pytest.mark.parametrize("state", [State.FETCH, State.SELF_TEST, State.READY])
def test_in_safe_mode_an_update_before_the_switch_ends(device: Device, second: Release, state: State) -> None:
    hold(device, state, second)
    device.world.safe = True
    device.run(3)
    assert device.ending == ("refused", "safe-mode")
    assert device.served == 1


# --- stuck --------------------------------------------------------------------------------------------------------


def get_stuck(device: Device, second: Release) -> None:
    hold(device, State.PROBATION, second)
    first = device.record.baseline
    assert first is not None
    device.world.runtime.cannot_load.add(first.bundle)
    device.world.judge.word = FakeVerdict("late", "slow")
    device.until(State.STUCK)
    device.world.judge.word = None
    device.world.traffic = True


def test_a_stuck_model_takes_any_newer_release(device: Device, second: Release) -> None:
    get_stuck(device, second)
    device.start()
    device.run(5)
    assert device.state is State.STUCK
    device.want(device.world.add(make_release(3)).want())
    device.run(80)
    assert device.served == 3


def test_a_stuck_model_goes_on_asking_for_the_baseline_that_is_named(device: Device, second: Release) -> None:
    get_stuck(device, second)
    device.want(make_release(1).want())
    device.run(5)
    assert device.state is State.STUCK
    device.world.runtime.cannot_load.clear()
    device.turn(61)
    device.until(State.IDLE)
    assert device.served == 1


# --- whose wish ---------------------------------------------------------------------------------------------------


def test_a_local_wish_is_begun_as_one(device: Device, second: Release) -> None:
    device.updates.want_local({"cats": second.want()}, device.generation)
    device.turn()
    assert device.record.update is not None
    assert device.record.update.local


def test_what_ended_for_a_reason_of_this_device_is_tried_again_at_the_time_that_is_told(
    device: Device, second: Release
) -> None:
    device.world.runtime.fails[second.bundle] = ("no-room", False)
    device.want(second.want())
    device.run(30)
    assert "release 2 is tried again in" in device.cats.situation()["detail"]
