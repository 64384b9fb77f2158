"""Probations with the real judge: over restarts, power cuts and idle days, with what a worker would have counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from agent import control
from agent.config import Probation
from agent.health.judge import Before, Judge
from agent.health.policy import policy
from agent.slots import Slot
from agent.updater.machine import State
from littoral.bundle.manifest import Manifest
from tests.agent.health.test_simulated import seconds
from tests.agent.updater.fakes import Release, make_release
from tests.agent.updater.running import Device

Second = dict[str, int]


class Busy(Device):
    """A device whose workers count what `traffic` says, for release 2; release 1 never fails."""

    def __init__(self, state: Path, probation: Probation | None = None) -> None:
        self.settings = probation or Probation()
        self.worker = 100
        self.counts: dict[str, Second] = {}
        self.traffic: Callable[[], Second] = lambda: {"answers": 10}
        super().__init__(state)
        self.config = replace(self.config, probation=self.settings)
        self.world.config = self.config
        self.world.judge_of = self._judge
        self.start_agent()

    def _judge(self, manifest: Manifest, slot: Slot) -> Judge:
        numbers = policy(self.settings, manifest.health, late=True, reported=False)
        return Judge(numbers, Before(slot.baseline_constant), slot.tests)

    def _tell_counters(self, model: str, served: control.Serving) -> None:
        if not served.release:
            return
        counts = self.counts.setdefault(served.bundle, {})
        for name, more in (self.traffic() if served.release == 2 else {"answers": 10}).items():
            counts[name] = counts.get(name, 0) + more
        told = control.Counters(model, served.release, served.bundle, served.stage, self.worker, **counts)  # type: ignore[arg-type]
        self.updates.notice(told, self.now)

    def pull_the_plug(self) -> None:
        """Everything that is only in memory is gone."""
        self.worker += 1
        self.counts = {}
        self.world.runtime.restart()
        self.start()


def on_trial(device: Busy) -> Release:
    first = device.world.add(make_release(1))
    device.want(first.want())
    device.until(State.IDLE)
    second = device.world.add(make_release(2))
    device.want(second.want())
    device.until(State.PROBATION)
    return second


def each(seconds: Iterator[Second]) -> Callable[[], Second]:
    return lambda: next(seconds)


@pytest.mark.parametrize("length", [1, 5, 30])
def test_an_equal_release_is_committed_though_the_plug_is_pulled_every_five_minutes(
    tmp_path: Path, length: int
) -> None:
    device = Busy(tmp_path)
    device.traffic = each(seconds(Random(length), 10, 0.005, length))
    on_trial(device)
    for _ in range(4):
        device.run(300)
        if device.state is State.IDLE:
            break
        device.pull_the_plug()
    device.until(State.IDLE)
    assert (device.served, device.ending) == (2, ("committed", ""))
    assert device.record.serves is not None
    assert device.record.serves.evidence == "full"
    assert device.record.serves.tests == {}


def test_a_release_that_fails_each_fifth_time_goes_back_though_the_agent_restarts_all_the_time(tmp_path: Path) -> None:
    device = Busy(tmp_path)
    on_trial(device)
    device.run(60)
    device.traffic = each(seconds(Random(3), 10, 0.2, 1))
    for _ in range(40):
        device.run(2)
        device.start_agent()
        if device.served == 1:
            break
    device.until(State.IDLE)
    assert (device.served, device.ending) == (1, ("rolled-back", "errors"))
    assert device.record.last is not None
    facts = device.record.last.facts
    assert facts["ratio_milli"] >= facts["bound_milli"]
    assert facts["p0_ppm"] == 10_000
    assert device.record.writes < 60


def test_a_slow_failure_adds_up_over_restarts(tmp_path: Path) -> None:
    """One onset every ten seconds of one answer a second, and a restart in between: no agent sees more than two."""
    device = Busy(tmp_path)
    on_trial(device)
    steps = [{"answers": 1}] * 4 + [{"errors": 1, "error_runs": 1}]
    device.traffic = each(step for _ in range(1_000) for step in steps)
    for _ in range(30):
        device.run(10)
        device.pull_the_plug() if device.boots < 5 else device.start_agent()
        if device.served == 1:
            break
    assert device.served == 1
    assert device.ending == ("rolled-back", "errors")


def test_an_equal_release_costs_few_writes(tmp_path: Path) -> None:
    device = Busy(tmp_path)
    device.traffic = each(seconds(Random(8), 10, 0.008, 1))
    on_trial(device)
    before = device.record.writes
    device.run(700)
    assert device.state is State.IDLE
    assert device.record.writes - before <= 24


def idle_commit(tmp_path: Path) -> Busy:
    """Release 2, which nobody asked in its whole probation. The clock of this device stands at 1970."""
    device = Busy(tmp_path, Probation(longest_s=2_000))
    device.traffic = dict
    on_trial(device)
    device.run(1_000)
    assert device.state is State.PROBATION
    device.run(1_200)
    assert (device.state, device.served) == (State.IDLE, 2)
    assert device.record.serves is not None
    assert device.record.serves.evidence == "low"
    return device


def test_a_release_that_nobody_asks_is_committed(tmp_path: Path) -> None:
    device = idle_commit(tmp_path)
    device.run(1_000)
    assert device.served == 2


@pytest.mark.parametrize("restarts", [False, True])
def test_a_bad_release_committed_idle_goes_back_on_its_first_day_of_traffic(tmp_path: Path, restarts: bool) -> None:
    device = idle_commit(tmp_path)
    if restarts:
        device.pull_the_plug()
    device.traffic = each(seconds(Random(4), 10, 0.2, 1))
    device.run(30)
    assert device.served == 1
    assert device.ending == ("rolled-back", "errors")


def test_a_good_release_committed_idle_is_confirmed_by_its_first_traffic(tmp_path: Path) -> None:
    device = idle_commit(tmp_path)
    device.traffic = each(seconds(Random(4), 10, 0.005, 5))
    device.run(30)
    assert device.record.serves is not None
    assert (device.served, device.record.serves.evidence) == (2, "full")
    assert device.record.serves.tests == {}


def test_the_judge_of_what_is_watched_can_be_asked(tmp_path: Path) -> None:
    device = Busy(tmp_path)
    assert device.updates.models == {}
    on_trial(device)
    device.run(5)
    judge = device.cats.judge
    assert judge is not None
    assert judge.evidence()["onsets"]["requests"] > 0
    for _ in range(3):
        judge.external("lamp", True, True, "it is dark", device.now)
    device.run(10)
    assert device.ending == ("rolled-back", "external")
