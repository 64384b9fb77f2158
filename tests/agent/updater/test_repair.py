"""agent/updater/repair.py: when spoiled files come again; and whole updates in which they do."""

from pathlib import Path

import pytest

from agent import control, fsio
from agent.slots import Slot
from agent.updater.machine import State
from agent.updater.repair import AGAIN_S, LAST_S, Repair
from tests.agent.updater.fakes import FakeVerdict, make_release
from tests.agent.updater.running import Device

BUNDLE = "a" * 64
SLOT = Slot(1, BUNDLE, "1.0")


def failed(bundle: str = BUNDLE, code: str = "digest-mismatch") -> control.Failed:
    return control.Failed("cats", bundle, code, "not what it was")


def test_what_is_served_and_spoiled_is_due_at_once_and_then_with_growing_pauses() -> None:
    repair = Repair()
    repair.notice(failed(), SLOT)
    now, pauses = 0.0, []
    for _ in range(14):
        assert repair.due(now)
        repair.begun(now)
        began = now
        while not repair.due(now):
            now += AGAIN_S
        pauses.append(now - began)
    assert pauses[:3] == [AGAIN_S, 2 * AGAIN_S, 4 * AGAIN_S]
    assert pauses[-1] == LAST_S


@pytest.mark.parametrize(
    ("message", "serves"),
    [(failed(code="no-room"), SLOT), (failed("b" * 64), SLOT), (failed(), None)],
    ids=["for want of memory", "another release", "nothing is served"],
)
def test_nothing_else_is_repaired(message: control.Message, serves: Slot | None) -> None:
    repair = Repair()
    repair.notice(message, serves)
    assert not repair.due(0.0)


def test_what_serves_again_is_not_repaired() -> None:
    repair = Repair()
    repair.notice(failed(), SLOT)
    repair.notice(control.Serving("cats", 1, BUNDLE, "committed"), SLOT)
    assert not repair.due(0.0)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def answering(device: Device) -> int:
    """The release that the runtime serves."""
    return device.world.runtime.serving["cats"].release


def spoil(device: Device, bundle: str) -> None:
    """The disk spoils the model of a release, and the runtime, asked for it, finds out."""
    (device.config.state / "releases" / bundle / "model").write_bytes(b"spoiled")
    device.world.runtime.serving["cats"] = control.Serving("cats", 0, "", "none", "failed")
    device.world.runtime.said.append(failed(bundle))


def test_a_repair_that_the_disk_refuses_is_tried_again(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    first = device.install(1)
    spoil(device, first.bundle)
    with monkeypatch.context() as patch:

        def refuse(path: Path, length: int) -> None:
            raise OSError(5, "Input/output error")

        patch.setattr(fsio, "allocate", refuse)
        device.run(10)
        assert answering(device) == 0
    device.run(int(AGAIN_S) + 10)
    assert answering(device) == 1
    assert (device.config.state / "releases" / first.bundle / "model").read_bytes() == first.blobs["model"]


def test_a_spoiled_baseline_comes_again_though_a_bad_trial_is_stuck_before_it(device: Device) -> None:
    first = device.install(1)
    device.want(device.world.add(make_release(2)).want())
    device.until(State.PROBATION)
    device.world.runtime.cannot_load = {first.bundle}
    device.world.judge.word = FakeVerdict("constant", "the same to everything")
    device.until(State.STUCK)
    device.world.runtime.cannot_load.clear()
    device.world.judge.word = None
    (device.config.state / "releases" / first.bundle / "model").write_bytes(b"spoiled")
    device.world.runtime.said.append(failed(first.bundle))
    device.run(10)
    assert answering(device) == 1
    assert (device.config.state / "releases" / first.bundle / "model").read_bytes() == first.blobs["model"]


@pytest.mark.parametrize("when", [State.IDLE, State.SELF_TEST])
def test_a_trial_waits_until_the_baseline_that_the_disk_spoiled_has_come_again(device: Device, when: State) -> None:
    first = device.install(1)
    second = device.world.add(make_release(2))
    path = device.config.state / "releases" / first.bundle / "model"
    if when is not State.IDLE:
        device.want(second.want())
        device.until(when)
    path.write_bytes(b"spoiled")  # the runtime, which has loaded it long ago, knows nothing of it
    device.want(second.want())
    device.until(State.PROBATION)
    assert path.read_bytes() == first.blobs["model"]
    assert answering(device) == 2
    assert ("cancelled" in device.world.kinds()) == (when is not State.IDLE)


def test_a_trial_begins_all_the_same_where_the_baseline_cannot_come_again(device: Device) -> None:
    first = device.install(1)
    second = device.world.add(make_release(2))
    (device.config.state / "releases" / first.bundle / "model").write_bytes(b"spoiled")
    del device.world.planner.releases[first.bundle]
    device.want(second.want())
    device.until(State.PROBATION)
    assert answering(device) == 2


def test_what_the_runtime_says_right_after_a_switch_is_heard(device: Device) -> None:
    device.install(1)
    second = device.world.add(make_release(2))
    device.want(second.want())
    device.until(State.PROBATION)
    device.world.runtime.said.append(control.Died("cats", 2, second.bundle, "trial", 9, 0, memory=True))
    device.turn()
    assert device.ending == ("refused", "resources")


def test_a_removed_model_is_asked_no_more(device: Device) -> None:
    device.install(1, trusted=False)
    device.turn()
    assert device.world.canary.watched == {"cats": 1}
    device.want(None)
    device.run(5)
    assert device.world.canary.watched == {}
