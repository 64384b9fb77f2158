"""A release is compared with its baseline before it is switched to, while it waits to be, and while it is on trial."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.alarms import Symptom
from agent.config import Rehearsal
from agent.updater import evidence
from agent.updater.comparison import FIRST_S, IN_A_ROW, LEAST_S
from agent.updater.machine import MAX_WRITES, State
from agent.updater.ready import ReadyStep
from agent.updater.steps import DAY_S, spent_share_s
from tests.agent.health.test_gate import EQUAL, SWAPPED
from tests.agent.updater.fakes import Release, make_release
from tests.agent.updater.running import Device

WORSE = {**EQUAL, "skill_ppm": -300_000, "memory_bytes": 900, "took_ms": 700}


@pytest.fixture
def device(tmp_path: Path) -> Device:
    made = Device(tmp_path)
    made.install(1)
    return made


def offer(device: Device, facts: dict[str, Any], code: str = "") -> Release:
    release = device.world.add(make_release(2))
    device.world.runtime.rehearsals[release.bundle] = (code, facts)
    device.want(release.want())
    return release


def settings(device: Device, **rehearsal: Any) -> None:
    device.config = replace(device.config, rehearsal=Rehearsal(**rehearsal))
    device.world.config = device.config
    device.start_agent()


def test_the_first_release_of_a_model_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.install(1)
    assert device.world.runtime.rehearsed == []


def test_a_release_that_agrees_goes_on_and_that_is_told(device: Device) -> None:
    release = offer(device, EQUAL)
    device.until(State.PROBATION)
    (asked,) = device.world.runtime.rehearsed
    baseline = device.record.other
    assert baseline is not None
    assert (asked.bundle, asked.baseline, asked.threads) == (release.bundle, baseline.bundle, 2)
    assert ("rehearsed", "it agrees with its baseline as it should") in device.world.told
    kept = evidence.read(device.config.state, "cats", release.bundle)["rehearsal"]
    assert (kept["evidence"], kept["skill_ppm"], kept["baseline_release"]) == ("full", 1_000_000, 1)


def test_a_release_that_differs_never_answers_anyone_and_is_blocklisted(device: Device) -> None:
    release = offer(device, WORSE)
    device.until(State.IDLE)
    assert (device.served, device.ending) == (1, ("failed", "differs"))
    assert release.bundle not in device.world.runtime.loads
    assert device.record.blocks(release.bundle, 1) is not None
    assert device.record.last is not None
    assert device.record.last.facts["skill_ppm"] == -300_000
    told = device.world.facts["judged"]
    assert (told["release"], told["outcome"], told["code"]) == (2, "failed", "differs")
    assert told["rehearsal"]["skill_limit_ppm"] == 250_000


def test_a_fault_is_named(device: Device) -> None:
    offer(device, {**EQUAL, "skill_ppm": 310_000, "probes": [SWAPPED]})
    device.until(State.IDLE)
    assert device.record.last is not None
    assert device.record.last.reason == "it sees red and blue exchanged: skill 0.91 if so, 0.31 as it is"


def test_a_hard_failure_in_a_rehearsal_is_the_releases_own(device: Device) -> None:
    offer(device, {}, code="crashed")
    device.until(State.IDLE)
    assert device.ending == ("failed", "crashed")


def test_without_evidence_it_goes_on_and_that_is_told_too(device: Device) -> None:
    offer(device, {"why": "nothing was kept"})
    device.until(State.PROBATION)
    assert ("rehearsed", "nothing was kept") in device.world.told


def test_the_switch_turns_all_comparison_off(device: Device) -> None:
    settings(device, ring=False)
    offer(device, WORSE)
    device.until(State.PROBATION)
    device.run(200)
    assert device.world.runtime.rehearsed == []


@pytest.mark.parametrize(("gate", "ends"), [("advisory", State.PROBATION), ("strict", State.IDLE)])
def test_the_devices_own_policy_tightens_and_loosens(device: Device, gate: str, ends: State) -> None:
    settings(device, gate=gate)
    offer(device, {**EQUAL, "skill_ppm": 400_000} if gate == "strict" else WORSE)
    device.until(ends)
    assert (device.served == 2) is (ends is State.PROBATION)


def test_memory_that_it_takes_on_what_was_seen_counts_for_its_slot(device: Device) -> None:
    offer(device, {**EQUAL, "memory_bytes": 77_000_000})
    device.until(State.PROBATION)
    assert device.record.serves is not None
    assert device.record.serves.memory_bytes == 77_000_000


def test_a_runtime_that_says_nothing_of_it_holds_nothing_up(device: Device) -> None:
    release = offer(device, EQUAL)
    device.world.runtime.silent.add(release.bundle)
    device.until(State.SELF_TEST)
    for _ in range(400):
        device.turn()
    assert device.state is not State.SELF_TEST
    assert ("rehearsed", "the runtime says nothing of its comparison") in device.world.told


def test_a_runtime_that_was_restarted_is_asked_again(device: Device) -> None:
    release = offer(device, EQUAL)
    device.world.runtime.silent.add(release.bundle)
    device.until(State.SELF_TEST)
    device.run(5)
    device.world.runtime.silent.clear()
    device.world.runtime.restart()
    device.until(State.PROBATION)
    assert len(device.world.runtime.rehearsed) == 2


# --- shadow -------------------------------------------------------------------------------------------------------


def on_trial(device: Device, facts: dict[str, Any]) -> Release:
    """A release that passed its rehearsal and is on trial for long; from now on it is measured like this."""
    device.world.traffic = False
    device.world.judge.answers = 0
    release = offer(device, EQUAL)
    device.until(State.PROBATION)
    device.world.runtime.rehearsals[release.bundle] = ("", facts)
    return release


def test_a_trial_is_compared_again_and_again(device: Device) -> None:
    on_trial(device, EQUAL)
    device.run(int(FIRST_S + 3 * LEAST_S))
    assert 3 <= len(device.world.runtime.rehearsed) - 1 <= 4
    assert device.state is State.PROBATION


def test_a_trial_that_turns_out_worse_is_rolled_back_when_that_was_seen_twice(device: Device) -> None:
    on_trial(device, WORSE)
    device.run(int(FIRST_S + 5))
    assert (device.state, len(device.world.runtime.rehearsed)) == (State.PROBATION, 2)
    device.until(State.IDLE)
    assert len(device.world.runtime.rehearsed) == 1 + IN_A_ROW
    assert (device.served, device.ending) == (1, ("rolled-back", "differs"))
    told = device.world.facts["judged"]
    assert (told["shadow"]["verdict"], told["rehearsal"]["verdict"]) == ("differs", "")


def test_one_bad_look_between_good_ones_is_no_verdict(device: Device) -> None:
    release = on_trial(device, WORSE)
    device.run(int(FIRST_S + 5))
    for _ in range(6):
        device.world.runtime.rehearsals[release.bundle] = ("", EQUAL)
        device.run(int(LEAST_S) + 2)
    assert device.state is State.PROBATION


def test_shadows_take_no_more_of_the_processor_than_allowed(device: Device) -> None:
    on_trial(device, {**EQUAL, "took_ms": 12_000})
    device.run(600)
    assert len(device.world.runtime.rehearsed) - 1 == 3  # after 30 s, and then every 12 s / 0.05


def test_no_shadow_is_made_while_the_device_has_no_time_for_it(device: Device) -> None:
    device.world.shadows = False
    on_trial(device, WORSE)
    device.run(300)
    assert len(device.world.runtime.rehearsed) == 1
    device.world.shadows = True
    device.until(State.IDLE)
    assert device.ending == ("rolled-back", "differs")


def test_a_share_of_nothing_is_no_shadow(device: Device) -> None:
    settings(device, cpu_share=0.0)
    on_trial(device, WORSE)
    device.run(300)
    assert len(device.world.runtime.rehearsed) == 1


# --- before the switch --------------------------------------------------------------------------------------------


def wants_shadow(device: Device, facts: dict[str, Any], shadow_s: int = 600) -> Release:
    release = device.world.add(make_release(2))
    device.world.runtime.rehearsals[release.bundle] = ("", EQUAL)
    device.want(replace(release.want(), shadow_s=shadow_s))
    device.until(State.READY)
    device.world.runtime.rehearsals[release.bundle] = ("", facts)
    return release


def test_a_release_answers_beside_its_baseline_for_as_long_as_the_rollout_asks(device: Device) -> None:
    wants_shadow(device, EQUAL)
    device.run(500)
    assert device.state is State.READY
    assert "answers beside its baseline" in str(device.cats.situation()["detail"])
    device.until(State.PROBATION)
    assert len(device.world.runtime.rehearsed) > 5


def test_what_is_found_worse_beside_its_baseline_never_answers_anyone(device: Device) -> None:
    release = wants_shadow(device, WORSE)
    device.until(State.IDLE)
    assert (device.served, device.ending) == (1, ("failed", "differs"))
    assert release.bundle not in device.world.runtime.loads


def test_that_time_adds_up_over_restarts_of_the_agent(device: Device) -> None:
    wants_shadow(device, EQUAL, shadow_s=10_800)
    for _ in range(300):
        device.turn(30.0)
    assert device.state is State.READY
    device.start_agent()
    for _ in range(150):
        device.turn(30.0)
    assert device.state is not State.READY


def detail(device: Device) -> str:
    return str(device.cats.situation()["detail"])


def long_turns(device: Device, hours: float) -> None:
    for _ in range(int(hours * 60)):
        device.turn(60.0)


def test_no_time_counts_as_shadow_while_the_device_is_not_fit(device: Device) -> None:
    wants_shadow(device, EQUAL, shadow_s=10_800)
    device.run(100)
    device.world.unfit = (Symptom("too-hot", "hot"),)
    for _ in range(20):
        device.turn(600.0)
    device.world.unfit = ()
    device.run(5)
    assert (device.state, device.served) == (State.READY, 1)
    assert "2 h 58 min are left" in detail(device)


def test_no_time_counts_as_shadow_while_the_runtime_is_away(device: Device) -> None:
    wants_shadow(device, EQUAL)
    device.run(70)
    device.world.runtime.connected = False
    device.run(1_000)
    device.world.runtime.connected = True
    device.run(5)
    assert "8 min are left" in detail(device)


def test_no_time_counts_as_shadow_while_the_device_has_no_time_for_it(device: Device) -> None:
    wants_shadow(device, EQUAL)
    device.run(70)
    device.world.shadows = False
    device.run(1_000)
    assert "8 min are left; not now" in detail(device)
    device.world.shadows = True
    long_turns(device, 1 / 4)
    assert device.served == 2


def test_a_device_that_slept_between_two_polls_compared_nothing_meanwhile(device: Device) -> None:
    wants_shadow(device, EQUAL)
    device.run(70)
    device.turn(8 * 3_600.0)
    assert device.state is State.READY
    assert "7 min are left" in detail(device)


def test_shadow_behind_a_closed_window_adds_up_over_nights_without_power(device: Device) -> None:
    release = device.world.add(make_release(2))
    device.world.runtime.rehearsals[release.bundle] = ("", EQUAL)
    in_days = time.strftime("%a", time.localtime(device.world.wall + 3 * DAY_S)).lower()
    device.want(replace(release.want(window=f"{in_days} 02:00-03:00"), shadow_s=5 * 3_600))
    device.until(State.READY)
    writes = device.record.writes
    for _ in range(2):
        long_turns(device, 3.5)
        device.start()
    kept = device.record.update
    assert kept is not None
    assert kept.spent_s.get("shadow", 0) == pytest.approx(5 * 3_600, abs=3_600)
    assert device.record.writes - writes <= 7  # once an hour
    long_turns(device, 2)
    writes = device.record.writes
    long_turns(device, 2)
    assert device.record.writes == writes  # it has answered for long enough, and only the window is waited for
    device.want(replace(release.want(), shadow_s=5 * 3_600))
    device.until(State.PROBATION)


def test_what_is_remembered_of_the_longest_shadow_does_not_use_up_the_writes_of_its_record() -> None:
    shadow_s = 2_592_000
    deadline_s = ReadyStep.deadline_s + shadow_s
    assert (shadow_s + deadline_s) / spent_share_s(deadline_s) < MAX_WRITES - 50
    assert spent_share_s(ReadyStep.deadline_s + 3 * DAY_S) == 3_600
