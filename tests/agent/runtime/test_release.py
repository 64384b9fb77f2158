from __future__ import annotations

from pathlib import Path

import pytest

from agent import slots
from agent.runtime import release
from littoral.errors import BundleError, CardError, DigestError, ManifestError
from tests.agent.runtime.device import SCRIPTED_HOST, Device


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path, SCRIPTED_HOST, {})


def test_a_release_is_read_with_its_blobs(device: Device) -> None:
    card = b'[[output]]\ndecoder = "classification"\n'
    slot = device.add("m", 3, b"the model", labels=b"cat\ndog\n", card=card)
    found = release.read(device.state, slot.bundle)
    assert (found.manifest.model, found.manifest.release) == ("m", 3)
    assert found.blob("model") == b"the model"
    assert found.blob("golden") == b""
    assert found.labels() == ("cat", "dog")
    assert found.card().outputs == ({"decoder": "classification"},)


def test_a_release_without_a_card_has_an_empty_one(device: Device) -> None:
    slot = device.add("m", 3, b"the model")
    assert release.read(device.state, slot.bundle).card().outputs == ()


def test_a_card_that_makes_no_sense_is_a_named_error(device: Device) -> None:
    slot = device.add("m", 3, b"the model", card=b"[nonsense]")
    with pytest.raises(CardError):
        release.read(device.state, slot.bundle).card()


def test_a_release_that_is_not_there_is_a_named_error(device: Device) -> None:
    with pytest.raises(BundleError, match="not on this device"):
        release.read(device.state, "0" * 64)


def test_a_blob_that_is_not_there_is_a_named_error(device: Device) -> None:
    slot = device.add("m", 3, b"the model")
    (slots.release_folder(device.state, slot.bundle) / "model").unlink()
    with pytest.raises(BundleError, match="model"):
        release.read(device.state, slot.bundle).blob("model")


@pytest.mark.parametrize("file", ["bundle.json", "model"])
def test_bytes_that_changed_on_the_disk_are_a_named_error(device: Device, file: str) -> None:
    slot = device.add("m", 3, b"the model")
    path = slots.release_folder(device.state, slot.bundle) / file
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(DigestError):
        release.read(device.state, slot.bundle).blob("model")


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (b"", ()),
        (b"cat", ("cat",)),
        (b"cat\ndog\n", ("cat", "dog")),
        (b"cat\r\ndog\r\n", ("cat", "dog")),
        (b"cat\n\ndog\n", ("cat", "", "dog")),
        ("käse\n\u2028\n".encode(), ("käse", "\u2028")),
    ],
)
def test_labels_are_one_a_line(data: bytes, labels: tuple[str, ...]) -> None:
    assert release.parse_labels(data) == labels


def test_labels_that_are_not_utf8_are_a_named_error() -> None:
    with pytest.raises(ManifestError, match="UTF-8"):
        release.parse_labels(b"\xff\xfe")
