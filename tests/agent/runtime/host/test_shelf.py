"""Where models and releases come from, and when their bytes are compared with their digests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.runtime.host.shelf import StateShelf
from agent.slots import Slot
from littoral import canonical
from littoral.errors import DigestError
from tests.agent.runtime.device import SCRIPTED_HOST, Device

GOOD, SPOILT = b"a good model", b"a bad  model"


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path, SCRIPTED_HOST, {})


@pytest.fixture
def slot(device: Device) -> Slot:
    slot = device.add("m", 3, GOOD, labels=b"cat\n")
    device.record("m", slot)
    return slot


def test_a_state_folder_has_the_models_that_have_a_record(device: Device, slot: Slot) -> None:
    shelf = StateShelf(device.state)
    assert shelf.models() == ["m"]
    record = shelf.record("m")
    assert record is not None
    assert record.serves == slot
    assert shelf.record("other") is None


def test_bytes_that_were_loaded_once_are_not_compared_again(
    device: Device, slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = StateShelf(device.state)
    assert shelf.release(slot.bundle).blob("model") == GOOD
    shelf.loaded(slot.bundle)
    again = shelf.release(slot.bundle)
    with monkeypatch.context() as patched:
        patched.setattr(canonical, "digest", lambda data: pytest.fail("it was compared"))
        assert (again.blob("model"), again.labels()) == (GOOD, ("cat",))


@pytest.mark.parametrize("replaced", [False, True], ids=["written", "replaced"])
def test_a_file_that_changed_is_compared_again(device: Device, slot: Slot, replaced: bool) -> None:
    shelf = StateShelf(device.state)
    path = shelf.release(slot.bundle).folder / "model"
    before = path.stat()
    shelf.loaded(slot.bundle)
    if replaced:
        (path.parent / "new").write_bytes(SPOILT)
        (path.parent / "new").rename(path)
    else:
        path.write_bytes(SPOILT)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DigestError):
        shelf.release(slot.bundle).blob("model")


def test_a_release_that_never_was_loaded_is_compared_each_time(device: Device, slot: Slot) -> None:
    shelf = StateShelf(device.state)
    assert shelf.release(slot.bundle).blob("model") == GOOD
    (device.state / "releases" / slot.bundle / "model").write_bytes(SPOILT)
    with pytest.raises(DigestError):
        shelf.release(slot.bundle).blob("model")
