"""agent/updater/view.py: what the fleet server is told of a model."""

from pathlib import Path

import pytest

from agent.updater.machine import State
from littoral.wire.messages import ModelState
from tests.agent.updater.fakes import make_release
from tests.agent.updater.running import Device


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_a_model_of_which_nothing_is_decided_is_nothing(device: Device) -> None:
    device.want(device.world.add(make_release(1)).want())
    assert device.cats.view() == ModelState()


def test_a_committed_release_is_told_with_its_evidence_and_its_ending(device: Device) -> None:
    release = device.install(1, floor=1, trusted=False)
    found = device.cats.view()
    assert (found.release, found.bundle, found.version) == (1, release.bundle, "1.0")
    assert (found.stage, found.evidence, found.floor, found.update) == ("committed", "first", 1, None)
    assert found.last is not None
    assert found.last.outcome == "committed"


def test_a_trial_has_no_evidence_and_says_how_far_it_is(device: Device) -> None:
    device.install(1)
    device.want(device.world.add(make_release(2)).want())
    device.until(State.PROBATION)
    device.turn()
    found = device.cats.view()
    assert (found.release, found.stage, found.evidence) == (2, "trial", "")
    assert found.update is not None
    assert (found.update.release, found.update.state) == (2, "probation")
    assert found.update.detail.endswith("of 5 answers")


def test_what_is_waited_for_stands_before_what_went_wrong(device: Device) -> None:
    device.install(1)
    device.want(device.world.add(make_release(2)).want())
    device.before_turn = lambda: device.world.source.asked.clear()
    device.until(State.FETCH)
    device.turn()
    progress = device.cats.view().update
    assert progress is not None
    assert progress.total_bytes == len(make_release(2).blobs["model"])
    device.world.online = False
    progress = device.cats.view().update
    assert progress is not None
    assert progress.detail == "waiting for the network"
