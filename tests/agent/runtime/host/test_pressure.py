"""What is unloaded when memory is short, and how that is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.runtime.host.loop import Loop
from agent.runtime.host.pressure import PSI, AvailablePressure, StallPressure, open_pressure
from littoral.wire import query
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import PATIENCE_S, until
from tests.agent.runtime.host.test_beside import on_trial
from tests.agent.runtime.host.test_room import QUESTION, infer, is_quiet, unloaded, with_models


def test_little_that_is_available_is_told_and_enough_is_not(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    told: list[bool] = []
    loop = Loop()

    def short() -> None:
        told.append(True)
        loop.stop()

    AvailablePressure(meminfo, every_s=0.01).watch(loop, short)
    meminfo.write_text("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  500 kB\n")

    def shrink() -> None:
        assert not told
        meminfo.write_text("MemTotal:  1000 kB\nMemAvailable:  10 kB\n")

    loop.call_in(0.1, shrink)
    loop.call_in(PATIENCE_S, loop.stop)
    loop.run()
    assert told == [True]
    loop.close()


def test_this_machine_offers_one_of_the_two() -> None:
    loop = Loop()
    pressure = open_pressure()
    pressure.watch(loop, lambda: None)
    pressure.close()
    loop.close()


@pytest.mark.skipif(not PSI.exists(), reason="this kernel has no pressure stall information")
def test_the_kernel_takes_the_trigger() -> None:
    try:
        pressure = StallPressure()
    except PermissionError:
        pytest.skip("this user may not set a trigger")
    pressure.close()


def test_a_file_that_is_no_trigger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        StallPressure(tmp_path / "none")


def test_when_memory_is_short_the_baseline_beside_a_trial_goes_first(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    on_trial(device)
    baseline = device.raw()
    baseline.hello("m@baseline")
    device.has_memory(False)
    assert baseline.code() == "busy"
    assert baseline.next() is None
    assert device.client("m").infer(QUESTION).release == 2


def test_when_memory_is_short_idle_models_are_unloaded_and_one_that_is_asked_or_pinned_stays(
    scripted_device: MakeDevice,
) -> None:
    device = with_models(scripted_device(tables="[models.pinned]\npinned = true\n"), busy=1, idle=1, pinned=1)
    held = device.raw()
    welcome = held.hello("idle")
    until(lambda: is_quiet(device, "idle"), "a model to be idle")
    with device.client("busy") as asking:
        device.has_memory(False)
        until(lambda: asking.infer(QUESTION).release == 1 and unloaded(device, "idle"), "the idle one to be unloaded")
        assert device.entry("busy")["why"] == "serving"
        assert device.entry("pinned")["why"] == "pinned"
    held.send(infer(welcome))
    assert held.frame(query.Kind.ANSWER).id == 1  # it comes back for who asks, whatever memory there is
