"""What a thief of keys can do to a device, and how it is taken back: the real repository, rotated by the operator's
commands' own rules, and a device that saw what the thief made.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Snapshot, Timestamp

from agent.updater import clock
from agent.updater.device import DeviceMemory
from fleet import metadata
from fleet.keys import ONLINE_ROLES, OnlineKeys, OperatorKeys
from littoral.bundle import keys
from littoral.errors import (
    DesiredStateError,
    ExpiredMetadataError,
    MetadataError,
    OldGenerationError,
    ReplayedMetadataError,
)
from littoral.wire.messages import Desired, SignedDesired, Want, parse_desired
from tests.agent.updater.scene import MODEL, Device
from tests.repository import DAY, NOW, Fleet, rotate, seconds, write_files

FAR = 2**53 - 1


def wound_up(fleet: Fleet, online: OnlineKeys, version: int = FAR) -> dict[str, bytes]:
    """What a thief of the online keys can sign: the newest snapshot and timestamp that there can ever be."""
    files = fleet.repository.files()
    name = next(name for name in files if name.endswith(".snapshot.json"))
    snapshot: Metadata[Snapshot] = Metadata.from_bytes(files[name])
    snapshot.signed.version = version
    snapshot.signed.meta["m-person.json"].version = 1
    snapshot.sign(online.snapshot)
    data = snapshot.to_bytes()
    timestamp: Metadata[Timestamp] = Metadata.from_bytes(files["timestamp.json"])
    timestamp.signed.version, timestamp.signed.snapshot_meta.version = version, version
    timestamp.signed.snapshot_meta.length, timestamp.signed.snapshot_meta.hashes = None, None
    timestamp.sign(online.timestamp)
    return {f"{version}.snapshot.json": data, "timestamp.json": timestamp.to_bytes()}


def test_versions_wound_up_by_a_thief_of_the_online_keys_are_recovered_by_rotating_them(
    fleet: Fleet, device: Device, wire: Path
) -> None:
    first = fleet.publish(MODEL, 1)
    fleet.write(wire)
    write_files(wire / "meta", wound_up(fleet, fleet.repository._online))
    device.release(1, first)
    fleet.now = NOW + DAY / 4
    second = fleet.publish(MODEL, 2)
    fleet.write(wire)
    with pytest.raises(ReplayedMetadataError):
        device.release(2, second, fleet.now)  # the true ones look old now
    rotate(fleet, "snapshot", "timestamp")
    fleet.write(wire)
    device.release(2, second, fleet.now)
    device.release(1, first, fleet.now)


def test_a_fleet_server_whose_own_numbers_were_wound_up_begins_anew_with_new_keys(
    fleet: Fleet, device: Device, wire: Path
) -> None:
    """The thief sat on the server itself: its repository holds his numbers."""
    bundle = fleet.publish(MODEL, 1)
    fleet.repository._verified.timestamp.version = FAR
    fleet.repository._verified.snapshot.version = FAR
    rotate(fleet, *ONLINE_ROLES)
    for file, data in fleet.repository.files().items():
        if file.endswith(("snapshot.json", "timestamp.json")):
            signed = Metadata[Timestamp].from_bytes(data).signed
            assert signed.version < 2**33
    fleet.write(wire)
    device.release(1, bundle)


@pytest.mark.parametrize("role", ["snapshot", "timestamp"])
def test_a_key_that_was_replaced_signs_nothing_any_more(fleet: Fleet, device: Device, wire: Path, role: str) -> None:
    bundle = fleet.publish(MODEL, 1)
    stolen = fleet.repository._online
    rotate(fleet, role)
    fleet.write(wire)
    device.release(1, bundle)
    files, names = fleet.repository.files(), fleet.repository._verified.names
    write_files(wire / "meta", metadata.freshen(files, names, fleet.repository._verified, stolen, NOW + DAY / 4))
    with pytest.raises(MetadataError, match="signed by 0/1"):
        device.release(1, bundle, NOW + DAY / 4)


def test_the_operators_keys_are_replaced_and_a_device_that_slept_through_it_follows(
    fleet: Fleet, device: Device, wire: Path
) -> None:
    first = fleet.publish(MODEL, 1)
    fleet.write(wire)
    device.release(1, first)
    thief = fleet.operator
    for number in range(12):
        fleet.now = NOW + (number + 1) * 30 * DAY
        rotate(fleet, *(("root", "targets") if number % 2 else ("root", *ONLINE_ROLES)))
    second = fleet.publish(MODEL, 2)
    fleet.write(wire)
    trust = device.trust(fleet.now)
    trust.release(MODEL, 2, second)
    assert trust.root_version == 13
    with pytest.raises(MetadataError):
        fleet.repository.rotate(_signed_by(fleet, thief), fleet.now)


def _signed_by(fleet: Fleet, operator: OperatorKeys) -> Mapping[str, bytes]:
    """The next root and targets, by keys that were replaced."""
    files = fleet.repository.files()
    names = fleet.repository._verified.names
    made = {}
    for role, signer in (("root", operator.root), ("targets", operator.targets)):
        found: Metadata[Timestamp] = Metadata.from_bytes(files[names[role]])
        found.signed.version += 1
        found.sign(signer)
        made[f"{found.signed.version}.{role}.json"] = found.to_bytes()
    return made


# --- a stolen director key ---------------------------------------------------------------------------------


def desired(generation: int, signer: keys.Ed25519Signer) -> SignedDesired:
    value = Desired("main", "cam-1", generation, "", {MODEL: Want(1, "a" * 64)})
    signature = signer.sign(value.signed_bytes())
    return SignedDesired(value, signature.keyid, signature.signature)


def test_generations_wound_up_by_a_thief_of_the_director_key_are_recovered_by_rotating_it(
    fleet: Fleet, device: Device, wire: Path, tmp_path: Path
) -> None:
    fleet.write(wire)
    memory = DeviceMemory(tmp_path, "main", "cam-1")
    thief = fleet.repository._online.director
    stolen = desired(FAR, thief)
    assert memory.check(device.trust().desired(stolen.encode(), "main", "cam-1"))
    memory.accept(stolen)
    with pytest.raises(OldGenerationError):
        memory.check(desired(7, thief))  # the server's own word, by the same key
    rotate(fleet, "director")
    fleet.write(wire)
    ours = parse_desired(fleet.repository.sign_desired(desired(7, thief).desired))
    assert memory.check(device.trust().desired(ours.encode(), "main", "cam-1"))
    memory.accept(ours)
    with pytest.raises(DesiredStateError, match="no director key"):
        device.trust().desired(stolen.encode(), "main", "cam-1")
    write_files(wire / "meta", {"timestamp.json": (device.known / "timestamp.json").read_bytes()})
    with pytest.raises(DesiredStateError):
        device.trust().desired(desired(FAR, thief).encode(), "main", "cam-1")


# --- withdrawn, without history, clocks --------------------------------------------------------------------


def test_a_release_that_left_the_list_is_not_listed_again_by_old_metadata(
    fleet: Fleet, device: Device, wire: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A withdrawn release: gone from the model's role, and replayed by whoever kept the old role."""
    monkeypatch.setattr(metadata, "KEPT_RELEASES", 2)
    first, _ = fleet.publish(MODEL, 1), fleet.publish(MODEL, 2)
    fleet.write(wire)
    old = {path.name: path.read_bytes() for path in (wire / "meta").iterdir()}
    device.release(1, first)
    fleet.now = NOW + timedelta(hours=1)
    third = fleet.publish(MODEL, 3)
    fleet.write(wire)
    device.release(3, third)
    with pytest.raises(MetadataError, match=r"no person/1\.json"):
        device.release(1, first)
    write_files(wire / "meta", old)
    with pytest.raises(ReplayedMetadataError):
        device.release(1, first)


def test_a_device_without_history_takes_old_metadata_only_until_they_expire(
    fleet: Fleet, device: Device, wire: Path
) -> None:
    first = fleet.publish(MODEL, 1)
    fleet.write(wire)
    fleet.now = NOW + timedelta(hours=1)
    fleet.publish(MODEL, 2)  # and nobody tells the device
    device.release(1, first, NOW + DAY / 2)
    device.forget()
    device.release(1, first, NOW + DAY / 2)
    device.forget()
    with pytest.raises(ExpiredMetadataError):
        device.release(1, first, NOW + 2 * DAY)


@pytest.mark.parametrize("system", [0.0, 86_400.0, float(clock.BUILT_AT)])
def test_a_frozen_fleet_is_seen_through_under_a_clock_of_1970(
    fleet: Fleet, device: Device, wire: Path, system: float
) -> None:
    """What surely passed is known, whatever the clock says."""
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    known = seconds(NOW + 2 * DAY)
    at = datetime.fromtimestamp(clock.judged_by(system, known), NOW.tzinfo)
    with pytest.raises(ExpiredMetadataError):
        device.release(1, bundle, at)


def test_a_clock_of_2099_installs_nothing_and_is_forgotten(
    fleet: Fleet, device: Device, wire: Path, tmp_path: Path
) -> None:
    """It expires all there is; nothing of it is kept, and the true clock finds all as it was."""
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    poisoned = datetime(2099, 1, 1, tzinfo=NOW.tzinfo)
    trust = device.trust(poisoned)
    with pytest.raises(ExpiredMetadataError):
        trust.release(MODEL, 1, bundle)
    memory = DeviceMemory(tmp_path, "main", "cam-1")
    memory.learn_root(seconds(poisoned), trust.root_version)
    assert memory.record.known_time == 0
    device.release(1, bundle)


def test_a_known_time_that_is_wrong_is_taken_back_by_a_new_root_though_all_else_seems_expired(
    fleet: Fleet, device: Device, wire: Path, tmp_path: Path
) -> None:
    """Metadata that were good for long taught the device a time that has not come. It cannot judge by it any more
    whether the new ones are good; that the operator signed a root since, it can.
    """
    bundle = fleet.publish(MODEL, 1)
    memory = DeviceMemory(tmp_path, "main", "cam-1")
    memory.learn_time(seconds(NOW + 300 * DAY), root_version=1)
    rotate(fleet)
    fleet.write(wire)
    trust = Device.trust(
        device, datetime.fromtimestamp(clock.judged_by(seconds(NOW), memory.record.known_time), NOW.tzinfo)
    )
    with pytest.raises(ExpiredMetadataError):
        trust.release(MODEL, 1, bundle)
    memory.learn_root(seconds(NOW), trust.root_version)
    assert memory.record.known_time == seconds(NOW)
    device.release(1, bundle)


# --- a folder of metadata that a power cut or a bad disk left ----------------------------------------------


@pytest.mark.parametrize("spoiled", [b"", b"{", b"\x00" * 4096, None])
def test_metadata_that_the_disk_spoiled_are_fetched_anew(
    fleet: Fleet, device: Device, wire: Path, spoiled: bytes | None
) -> None:
    bundle = fleet.publish(MODEL, 1)
    rotate(fleet)
    fleet.write(wire)
    device.release(1, bundle)
    whole = {path.relative_to(device.known): path.read_bytes() for path in device.known.rglob("*.json")}
    for name in whole:
        path = device.known / name
        path.unlink() if spoiled is None else path.write_bytes(spoiled)
        device.release(1, bundle)
        assert {p.relative_to(device.known): p.read_bytes() for p in device.known.rglob("*.json")} == whole
