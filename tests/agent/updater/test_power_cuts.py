"""agent/updater/update.py: power cut before and after each write, and at each turn."""

from pathlib import Path

import pytest

from agent import record, slots
from tests.agent.updater.fakes import FakeVerdict, Release, make_release
from tests.agent.updater.running import Device


class PowerCutError(BaseException):
    """The device stops here. No except clause of the code under test may catch it."""


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.fixture
def first(device: Device) -> Release:
    """Release 1, served and committed."""
    return device.install(1)


def _check_invariants(device: Device, good: Release) -> None:
    found = slots.read(slots.path_of(device.config.state, "cats"))
    assert found is not None
    baseline = found.baseline
    assert baseline is not None
    assert (device.config.state / "releases" / baseline.bundle / "model").exists()
    serves = found.serves
    assert serves is not None
    assert found.blocks(serves.bundle, 1) is None
    serving = device.world.runtime.serving.get("cats")
    if serving is not None and serving.release:
        assert found.blocks(serving.bundle, 1) is None or found.update is not None


class CutWrite:
    """record.write until write number `cut_at`, where power is cut before or after it."""

    def __init__(self, cut_at: int, moment: str) -> None:
        self._left = cut_at
        self._moment = moment
        self._write = record.write

    def __call__(self, path: Path, value: dict[str, object]) -> None:
        self._left -= 1
        if self._left == -1 and self._moment == "before":
            raise PowerCutError
        self._write(path, value)
        if self._left == -1:
            raise PowerCutError


@pytest.mark.parametrize("verdict", ["good", "bad"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_power_cut_at_every_write_ends_as_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: str, moment: str
) -> None:
    cut_at = 0
    while True:
        device = Device(tmp_path / f"{cut_at}")
        device.config.state.mkdir()
        first = device.world.add(make_release(1))
        device.want(first.want())
        device.run()
        second = device.world.add(make_release(2, floor=2))
        if verdict == "bad":
            device.world.judge.word = FakeVerdict("late", "slow")
        was_cut = False
        with monkeypatch.context() as patched:
            patched.setattr(record, "write", CutWrite(cut_at, moment))
            device.want(second.want())
            try:
                device.run()
            except PowerCutError:
                was_cut = True
        if was_cut:
            _check_invariants(device, first)
            device.world.runtime.restart()
            device.start()
            device.run()
        _check_invariants(device, first)
        serves = device.record.serves
        assert serves is not None
        assert serves.bundle == (second if verdict == "good" else first).bundle
        assert (device.record.blocks(second.bundle, 1) is not None) == (verdict == "bad")
        assert device.record.floor == (2 if verdict == "good" else 0)
        if not was_cut:
            assert cut_at > 8  # every state was written at least once
            return
        cut_at += 1


def test_power_cut_in_every_turn_never_loses_the_baseline(device: Device, first: Release) -> None:
    second = device.world.add(make_release(2))
    device.want(second.want())
    for turn in range(40):
        device.turn(0.2)
        if turn % 2:
            device.world.runtime.restart()
            device.start()
        _check_invariants(device, first)
    assert device.record.blocks(second.bundle, 1) is None
