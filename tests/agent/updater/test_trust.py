"""What a device believes: the whole chain from the first root, verified from a folder."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Root

from agent.updater import trust
from littoral.bundle import chunks, keys
from littoral.canonical import digest
from littoral.errors import (
    DesiredStateError,
    DigestError,
    MetadataError,
    NoAnswerError,
    NotListedError,
    WrongDeviceError,
)
from littoral.wire.messages import Desired, Want, parse_desired
from tests.agent.updater.scene import MODEL, Device, resign
from tests.repository import DAY, NOW, Fleet, manifest, model_bytes

# --- what holds --------------------------------------------------------------------------------------------


def test_a_listed_release_is_verified_from_a_folder(fleet: Fleet, device: Device, wire: Path) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.publish("vehicle", 1)
    fleet.write(wire)
    data, parsed = device.trust().release(MODEL, 1, bundle)
    assert digest(data) == bundle
    assert parsed == manifest(MODEL, 1)
    pieces = device.trust().chunk_list(parsed.blobs["model"], parsed.chunk_bytes)
    assert [digest(piece) for piece in chunks.split(model_bytes(MODEL, 1), 1000)] == list(pieces)


def test_a_second_look_asks_only_for_what_may_have_changed(fleet: Fleet, device: Device, wire: Path) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    device.release(1, bundle)
    device.asker.asked.clear()
    device.release(1, bundle)
    assert device.asker.asked == ["meta/2.root.json", "meta/timestamp.json", f"chunk/{bundle}"]


def test_a_model_added_later_and_further_releases_are_found(fleet: Fleet, device: Device, wire: Path) -> None:
    first = fleet.publish(MODEL, 1)
    fleet.write(wire)
    device.release(1, first)
    fleet.publish("vehicle", 7)
    second = fleet.publish(MODEL, 2)
    fleet.write(wire)
    device.release(2, second)
    device.release(1, first)


def test_renewed_metadata_are_taken_as_time_goes_on(fleet: Fleet, device: Device, wire: Path) -> None:
    bundle = fleet.publish(MODEL, 1)
    for hours in range(0, 24 * 20, 12):
        at = NOW + timedelta(hours=hours)
        fleet.repository.renew(at)
        fleet.write(wire)
        device.release(1, bundle, at)


def test_a_root_renewed_by_publishing_is_followed(fleet: Fleet, device: Device, wire: Path) -> None:
    fleet.publish(MODEL, 1)
    fleet.write(wire)
    fleet.now = NOW + 200 * DAY
    bundle = fleet.publish(MODEL, 2)
    fleet.write(wire)
    looking = device.trust(fleet.now)
    looking.release(MODEL, 2, bundle)
    assert looking.root_version == 2
    later = NOW + 370 * DAY  # the first root has expired, the second has not
    fleet.repository.renew(later)
    fleet.write(wire)
    device.release(2, bundle, later)


def test_root_keys_of_every_known_kind_live_in_one_root(fleet: Fleet, device: Device, wire: Path) -> None:
    from tests.littoral.bundle.test_keys import ecdsa_p256, rsa_pss

    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    (wire / "meta" / "2.root.json").write_bytes((wire / "meta" / "1.root.json").read_bytes())

    def rotate(root: Root) -> None:
        root.version = 2
        for key, role in ((ecdsa_p256()[0], "root"), (rsa_pss()[0], "targets")):
            root.add_key(key, role)

    resign(wire, "2.root.json", rotate, fleet.operator.root)
    looking = device.trust()
    looking.release(MODEL, 1, bundle)
    assert looking.root_version == 2


# --- not listed, absent, no answer -------------------------------------------------------------------------


def test_a_release_that_is_not_listed_is_refused(fleet: Fleet, device: Device, wire: Path) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    for model, number, name in ((MODEL, 2, bundle), ("vehicle", 1, bundle), (MODEL, 1, "0" * 64)):
        with pytest.raises(NotListedError):
            device.trust().release(model, number, name)


def test_no_answer_is_never_taken_for_absent(fleet: Fleet, device: Device, wire: Path) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    device.release(1, bundle)
    names = [f"meta/{name}" for name in fleet.repository.files()] + ["meta/2.root.json", f"chunk/{bundle}"]
    for name in names:
        if name == "meta/1.root.json":
            continue  # a device has the first root from its enrolment
        device.forget()
        device.asker.silent = {name}
        with pytest.raises(NoAnswerError):
            device.release(1, bundle)
    device.asker.silent = set()
    device.release(1, bundle)


def test_metadata_that_are_absent_are_told_from_silence(fleet: Fleet, device: Device, wire: Path) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    (wire / "meta" / "timestamp.json").unlink()
    with pytest.raises(MetadataError, match=r"timestamp\.json does not exist"):
        device.release(1, bundle)


def test_a_chunk_that_is_absent_is_only_not_published_yet(fleet: Fleet, device: Device, wire: Path) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    (wire / "chunk" / bundle).unlink()
    with pytest.raises(NoAnswerError):
        device.release(1, bundle)


# --- desired states ----------------------------------------------------------------------------------------


def desired(fleet: Fleet, **changes: Any) -> bytes:
    fields: dict[str, Any] = {"tenant": "main", "device": "cam-1", "generation": 3, "issued": "now", **changes}
    return fleet.repository.sign_desired(Desired(models={MODEL: Want(1, "ab" * 32)}, **fields))


def test_a_desired_state_signed_by_the_director_is_believed(fleet: Fleet, device: Device, wire: Path) -> None:
    fleet.write(wire)
    signed = device.trust().desired(desired(fleet), "main", "cam-1")
    assert signed == parse_desired(desired(fleet))
    assert signed.keyid == fleet.repository.director_keyid


@pytest.mark.parametrize("changes", [{"device": "cam-2"}, {"tenant": "other"}])
def test_a_desired_state_for_another_device_or_tenant_is_refused(
    fleet: Fleet, device: Device, wire: Path, changes: dict[str, str]
) -> None:
    fleet.write(wire)
    with pytest.raises(WrongDeviceError):
        device.trust().desired(desired(fleet, **changes), "main", "cam-1")


def test_a_desired_state_without_the_directors_signature_is_refused(
    fleet: Fleet, device: Device, wire: Path, tmp_path: Path
) -> None:
    fleet.write(wire)
    other = Fleet(tmp_path / "other")
    genuine = desired(fleet)
    unsigned = json.dumps({**json.loads(genuine), "signature": ""}).encode()
    altered = genuine.replace(b'"generation":3', b'"generation":4')
    assert altered != genuine
    for data in (desired(other), unsigned, altered, b"{}", b"\xff"):
        with pytest.raises(DesiredStateError):
            device.trust().desired(data, "main", "cam-1")


def test_an_altered_director_file_signs_nothing(fleet: Fleet, device: Device, wire: Path, tmp_path: Path) -> None:
    fleet.write(wire)
    other = Fleet(tmp_path / "other")
    (name,) = (name for name, data in fleet.repository.small_targets().items() if b'"keys"' in data)
    (wire / "chunk" / name).write_bytes(keys.encode_director([other.repository._online.director.public_key]))
    with pytest.raises(DigestError):
        device.trust().desired(desired(other), "main", "cam-1")


# --- the library -------------------------------------------------------------------------------------------


def test_every_kind_of_metadata_has_a_limit_no_larger_than_one_message() -> None:
    limits = trust.LIMITS
    for limit in (
        limits.root_max_length,
        limits.timestamp_max_length,
        limits.snapshot_max_length,
        limits.targets_max_length,
    ):
        assert 0 < limit <= 61_440
