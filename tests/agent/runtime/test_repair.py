"""A committed release that cannot be loaded: what a later agent hears of it, and its apply after a repair."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agent import control, slots
from agent.slots import Slot
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import Device, until

QUESTION = b"\x00\x01\x02\x03"


def spoil(device: Device, slot: Slot) -> None:
    (slots.release_folder(device.state, slot.bundle) / "model").write_bytes(b"spoiled")


def remove(device: Device, slot: Slot) -> None:
    shutil.rmtree(slots.release_folder(device.state, slot.bundle))


@pytest.mark.parametrize(("damage", "code"), [(spoil, "digest-mismatch"), (remove, "bad-bundle")])
def test_an_agent_that_comes_later_is_told_how_the_committed_release_failed_and_its_apply_loads_the_repaired_one(
    scripted_device: MakeDevice, damage: Callable[[Device, Slot], None], code: str
) -> None:
    device = scripted_device()
    slot = device.add("m", 1, scripted.model(answer=1))
    device.record("m", slot)
    damage(device, slot)
    device.start()
    first = device.agent()
    for _ in range(3):
        first.expect(control.Failed)
    first.close()
    agent = device.agent()
    agent.expect(control.Greeting)
    failed = agent.expect(object)
    assert isinstance(failed, control.Failed)
    assert (failed.model, failed.bundle, failed.code) == ("m", slot.bundle, code)
    assert agent.expect(object) == control.Serving("m", 0, "", "none", "failed")
    device.add("m", 1, scripted.model(answer=1))
    assert agent.apply("m", 1) == control.Serving("m", 1, slot.bundle, "committed")
    assert device.client("m").infer(QUESTION).release == 1
    agent.close()
    assert device.agent().expect(object, lambda m: not isinstance(m, control.Greeting)) == control.Serving(
        "m", 1, slot.bundle, "committed"
    )


def test_the_failure_of_the_committed_release_is_told_later_though_the_other_slots_is_served(
    scripted_device: MakeDevice,
) -> None:
    device = scripted_device()
    old, new = (device.add("m", n, scripted.model(answer=n)) for n in (1, 2))
    device.record("m", old, new, active="b")
    spoil(device, new)
    device.start()
    until(lambda: device.serves("m") == 1, "the other slot's release")
    agent = device.agent()
    assert agent.expect(control.Failed).bundle == new.bundle
    assert agent.expect(control.Serving) == control.Serving("m", 1, old.bundle, "committed", "safe")


def test_an_apply_is_not_answered_by_the_failure_of_a_load_that_began_before_it(
    scripted_device: MakeDevice, tmp_path: Path
) -> None:
    device, flag = scripted_device(), tmp_path / "flag"
    slot = device.add("m", 1, scripted.model(load="die-later", flag=str(flag)))
    device.record("m", slot)
    device.start()
    agent = device.agent()
    agent.send(control.Apply("m"))
    agent.send(control.Measure())
    agent.expect(control.Memory)
    flag.touch()
    answer = agent.expect(object, lambda m: isinstance(m, control.Failed | control.Serving))
    assert answer == control.Serving("m", 1, slot.bundle, "committed")
