"""What a device does not believe: every way to break the chain from the first root, tried from a folder."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from agent.updater import clock
from agent.updater.trust import Trust
from fleet import metadata
from littoral.bundle import chunks, keys
from littoral.bundle.manifest import Blob
from littoral.canonical import digest
from littoral.errors import (
    DigestError,
    ExpiredMetadataError,
    ManifestError,
    MetadataError,
    ReplayedMetadataError,
)
from tests.agent.updater.scene import MODEL, Device, resign
from tests.repository import DAY, NOW, Fleet, FolderAsker, manifest, seconds, write_files

# --- unsigned, wrongly signed ------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["timestamp.json", "snapshot.json", "targets.json", "m-person.json"])
def test_unsigned_metadata_are_refused(fleet: Fleet, device: Device, wire: Path, file: str) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    (name,) = (path.name for path in (wire / "meta").glob(f"*{file}") if "1.targets" not in path.name)
    resign(wire, name, lambda signed: None)
    with pytest.raises(MetadataError):
        device.release(1, bundle)


@pytest.mark.parametrize("knows_its_own", [False, True])
def test_a_release_of_another_tenant_is_refused(
    fleet: Fleet, device: Device, wire: Path, tmp_path: Path, knows_its_own: bool
) -> None:
    """A tenant has keys of its own: what they sign says nothing here, whatever its name and number."""
    if knows_its_own:
        own = fleet.publish(MODEL, 1)
        fleet.write(wire)
        device.release(1, own)
    other = Fleet(tmp_path / "other", NOW + DAY)
    bundle = other.publish(MODEL, 2)
    other.write(wire)
    with pytest.raises(MetadataError):
        device.release(2, bundle, NOW + DAY)
    if knows_its_own:
        fleet.write(wire)
        device.release(1, own)


def test_metadata_signed_by_the_key_of_another_role_are_refused(fleet: Fleet, device: Device, wire: Path) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    online = fleet.repository._online
    for signer in (online.snapshot, online.director, fleet.operator.targets, keys.generate()):
        resign(wire, "timestamp.json", lambda signed: None, signer)
        with pytest.raises(MetadataError):
            device.release(1, bundle)
    resign(wire, "timestamp.json", lambda signed: None, online.timestamp)
    device.release(1, bundle)


def test_a_release_is_not_listed_by_the_online_keys_alone(
    fleet: Fleet, device: Device, wire: Path, tmp_path: Path
) -> None:
    """A stolen fleet server has snapshot, timestamp and director keys: it cannot make a release."""
    fleet.publish(MODEL, 1)
    evil = manifest(MODEL, 2, version="evil").encode()
    files, online = fleet.repository.files(), fleet.repository._online
    role: Metadata[Targets] = Metadata.from_bytes(files["1.m-person.json"])
    role.signed.version = 2
    role.signed.targets["person/2.json"] = TargetFile.from_data("person/2.json", evil, ["sha256"])
    for thief in (online.snapshot, online.timestamp, online.director):
        role.sign(thief)
        forged = {**files, "2.m-person.json": role.to_bytes()}
        names = {"targets": "2.targets.json", "m-person": "2.m-person.json"}
        fresh = metadata.freshen(forged, names, fleet.repository._verified, online, NOW)
        write_files(wire / "meta", forged | fresh)
        write_files(wire / "chunk", {digest(evil): evil})
        with pytest.raises(MetadataError, match="signed by 0/1"):
            device.release(2, digest(evil))
        device.forget()


def test_a_threshold_of_two_needs_two_different_keys(fleet: Fleet, device: Device, wire: Path) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    second = keys.generate()
    (wire / "meta" / "2.root.json").write_bytes((wire / "meta" / "1.root.json").read_bytes())

    def demand_two(root: Root) -> None:
        root.version = 2
        root.add_key(second.public_key, "timestamp")
        root.roles["timestamp"].threshold = 2

    resign(wire, "2.root.json", demand_two, fleet.operator.root)
    first = fleet.repository._online.timestamp
    for signers in ((first,), (second,), (first, first)):
        resign(wire, "timestamp.json", lambda signed: None, *signers)
        with pytest.raises(MetadataError, match="1/2"):
            device.release(1, bundle)
    resign(wire, "timestamp.json", lambda signed: None, first, second)
    device.release(1, bundle)


@pytest.mark.parametrize("signers", [["new"], ["old"], []])
def test_a_new_root_needs_the_old_ones_signature_and_its_own(
    fleet: Fleet, device: Device, wire: Path, signers: list[str]
) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    new = keys.generate()
    (wire / "meta" / "2.root.json").write_bytes((wire / "meta" / "1.root.json").read_bytes())

    def replace_key(root: Root) -> None:
        root.version = 2
        root.revoke_key(fleet.operator.root.keyid, "root")
        root.add_key(new.public_key, "root")

    by_name = {"new": new, "old": fleet.operator.root}
    resign(wire, "2.root.json", replace_key, *(by_name[name] for name in signers))
    with pytest.raises(MetadataError):
        device.release(1, bundle)
    resign(wire, "2.root.json", lambda root: None, new, fleet.operator.root)
    device.release(1, bundle)


def test_a_first_root_that_does_not_verify_by_itself_is_refused(
    fleet: Fleet, device: Device, wire: Path, tmp_path: Path
) -> None:
    other = Fleet(tmp_path / "other")
    root: Metadata[Root] = Metadata.from_bytes(fleet.repository.first_root())
    root.signatures = Metadata[Root].from_bytes(other.repository.first_root()).signatures
    for text in (root.to_bytes(), b"", b"{}", other.repository.files()["timestamp.json"]):
        with pytest.raises(MetadataError):
            Trust(device.asker, tmp_path / "known", text, seconds(NOW))


def test_the_metadata_of_another_fleet_are_refused(fleet: Fleet, device: Device, wire: Path, tmp_path: Path) -> None:
    other = Fleet(tmp_path / "other")
    bundle = other.publish(MODEL, 1)
    other.write(wire)
    with pytest.raises(MetadataError):
        device.release(1, bundle)


# --- expired -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("later", "said"), [(1.1 * DAY, "timestamp"), (8 * DAY, "snapshot"), (366 * DAY, "root")])
def test_expired_metadata_are_refused_under_their_own_name(
    fleet: Fleet, device: Device, wire: Path, later: timedelta, said: str
) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    if said == "snapshot":  # a timestamp renewed without it
        names = fleet.repository._verified.names
        snapshot = (wire / "meta" / names["snapshot"]).read_bytes()
        known, online = fleet.repository._verified, fleet.repository._online
        stamp = metadata.stamp(known.snapshot.version, snapshot, known, online, NOW + later)
        (wire / "meta" / "timestamp.json").write_bytes(stamp)
    with pytest.raises(ExpiredMetadataError, match=said):
        device.release(1, bundle, NOW + later)


def test_an_expired_role_of_one_model_stops_that_model_alone(fleet: Fleet, device: Device, wire: Path) -> None:
    old = fleet.publish(MODEL, 1)
    fleet.now = NOW + 200 * DAY
    new = fleet.publish("vehicle", 1)  # renews root and targets beside it
    later = NOW + 366 * DAY
    fleet.repository.renew(later)
    fleet.write(wire)
    device.trust(later).release("vehicle", 1, new)
    with pytest.raises(ExpiredMetadataError, match="m-person"):
        device.release(1, old, later)


def test_expiry_is_judged_by_the_time_that_was_given_and_not_by_the_systems(
    fleet: Fleet, device: Device, wire: Path
) -> None:
    """Pins the private attribute of python-tuf that carries the time."""
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    device.release(1, bundle, NOW)
    for later in (2 * DAY, 20_000 * DAY):
        with pytest.raises(ExpiredMetadataError):
            device.release(1, bundle, NOW + later)
    device.release(1, bundle, NOW)


def test_time_is_never_before_the_build_or_the_last_known_time() -> None:
    assert clock.judged_by(0.0, 0) == clock.BUILT_AT
    assert clock.judged_by(clock.BUILT_AT + 5.9, 0) == clock.BUILT_AT + 5
    assert clock.judged_by(clock.BUILT_AT + 5, clock.BUILT_AT + 9) == clock.BUILT_AT + 9


# --- replayed, mixed ---------------------------------------------------------------------------------------


def test_metadata_older_than_what_was_seen_are_a_replay(fleet: Fleet, device: Device, wire: Path) -> None:
    first = fleet.publish(MODEL, 1)
    fleet.write(wire)
    old = {path.name: path.read_bytes() for path in (wire / "meta").iterdir()}
    fleet.now = NOW + timedelta(hours=1)
    second = fleet.publish(MODEL, 2)
    fleet.write(wire)
    device.release(2, second)
    write_files(wire / "meta", old)
    with pytest.raises(ReplayedMetadataError):
        device.release(1, first)


def test_a_snapshot_that_takes_a_role_back_is_refused(fleet: Fleet, device: Device, wire: Path) -> None:
    """Even signed by the true snapshot and timestamp keys."""
    fleet.publish(MODEL, 1)
    files = fleet.repository.files()
    second = fleet.publish(MODEL, 2)
    fleet.write(wire)
    device.release(2, second)
    known, online = fleet.repository._verified, fleet.repository._online
    old_role = {**fleet.repository.files(), "1.m-person.json": files["1.m-person.json"]}
    for names in (
        {"targets": "2.targets.json", "m-person": "1.m-person.json"},
        {"targets": "2.targets.json"},
    ):
        write_files(wire / "meta", metadata.freshen(old_role, names, known, online, NOW + DAY / 2))
        with pytest.raises(MetadataError):
            device.release(2, second, NOW + DAY / 2)


def test_files_of_different_states_do_not_mix(fleet: Fleet, device: Device, wire: Path) -> None:
    first = fleet.publish(MODEL, 1)
    old = fleet.repository.files()
    fleet.now = NOW + timedelta(hours=1)
    fleet.publish(MODEL, 2)
    fleet.write(wire)
    new = fleet.repository.files()

    def named(files: dict[str, bytes], role: str) -> str:
        return next(name for name in files if name.endswith(f"{role}.json"))

    for role in ("snapshot", "m-person"):
        write_files(wire / "meta", new)
        (wire / "meta" / named(new, role)).write_bytes(old[named(old, role)])
        with pytest.raises(MetadataError):
            device.release(1, first)


# --- altered bytes -----------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_altered_byte_of_metadata_is_believed(fleet: Fleet, wire: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Altered anywhere: the answer is the same as before, or a named error of metadata."""
    if not fleet.repository.releases():
        fleet.publish(MODEL, 1)
        fleet.write(wire)
    bundle = digest(manifest(MODEL, 1).encode())
    files = fleet.repository.files()
    name = data.draw(st.sampled_from(sorted(files)))
    altered = bytearray(files[name])
    at = data.draw(st.integers(0, len(altered) - 1))
    length = data.draw(st.sampled_from([0, 1, 1, 1, 40]))
    altered[at : at + length] = data.draw(st.binary(max_size=3))
    (wire / "meta" / name).write_bytes(altered)
    fresh = tmp_path / f"known-{data.draw(st.uuids())}"
    looking = Trust(FolderAsker(wire), fresh, files["1.root.json"], seconds(NOW))
    try:
        assert digest(looking.release(MODEL, 1, bundle)[0]) == bundle
    except MetadataError:
        pass
    finally:
        (wire / "meta" / name).write_bytes(files[name])


def test_an_empty_file_is_not_an_absent_one(fleet: Fleet, device: Device, wire: Path) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    (wire / "meta" / "2.root.json").write_bytes(b"")
    with pytest.raises(MetadataError):
        device.release(1, bundle)


def test_endless_metadata_are_refused(fleet: Fleet, device: Device, wire: Path) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    (wire / "meta" / "timestamp.json").write_bytes(b" " * 16_385)
    with pytest.raises(MetadataError, match="at most 16384"):
        device.release(1, bundle)


def test_an_altered_bundle_json_is_wrong_bytes_and_says_which(fleet: Fleet, device: Device, wire: Path) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    altered = manifest(MODEL, 1).encode().replace(b'"v1"', b'"v2"')
    (wire / "chunk" / bundle).write_bytes(altered)
    with pytest.raises(DigestError) as caught:
        device.release(1, bundle)
    assert (caught.value.wanted, caught.value.got) == (bundle, digest(altered))


def test_an_altered_chunk_list_is_wrong_bytes(fleet: Fleet, device: Device, wire: Path) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    looking = device.trust()
    _, parsed = looking.release(MODEL, 1, bundle)
    blob = parsed.blobs["model"]
    (wire / "chunk" / blob.chunks).write_bytes(bytes(32 * 4))
    with pytest.raises(DigestError):
        looking.chunk_list(blob, parsed.chunk_bytes)


def test_a_signed_chunk_list_of_another_length_than_its_blob_makes_no_sense(
    fleet: Fleet, device: Device, wire: Path
) -> None:
    listed = chunks.list_of(iter([b"one", b"two"]))
    blob = Blob(digest(b"blob"), 10_000, digest(listed))
    fleet.write(wire)
    write_files(wire / "chunk", {digest(listed): listed})
    for blob_bytes in (10_000, 1000):
        with pytest.raises(ManifestError):
            device.trust().chunk_list(Blob(blob.sha256, blob_bytes, blob.chunks), 1000)
    assert len(device.trust().chunk_list(Blob(blob.sha256, 1001, blob.chunks), 1000)) == 2
    with pytest.raises(ManifestError, match="1920"):
        device.trust().chunk_list(Blob(blob.sha256, 10_000, blob.chunks), 1)
    assert device.trust().chunk_list(Blob(digest(b""), 0, digest(b"")), 1000) == ()
    write_files(wire / "chunk", {digest(b"odd"): b"odd"})
    with pytest.raises(ManifestError, match="3 bytes"):
        device.trust().chunk_list(Blob(blob.sha256, 1000, digest(b"odd")), 1000)


def test_a_signed_bundle_json_that_makes_no_sense_is_told_from_wrong_bytes(
    fleet: Fleet, device: Device, wire: Path
) -> None:
    """The operator's keys signed it: it is proven of the release, and may be blocklisted."""
    fleet.publish(MODEL, 1)
    for senseless, said in ((b"{}", "cannot be read"), (manifest("vehicle", 9).encode(), "vehicle/9.json")):
        role: Metadata[Targets] = Metadata.from_bytes(fleet.repository.files()["1.m-person.json"])
        role.signed.version = 2
        role.signed.targets["person/2.json"] = TargetFile.from_data("person/2.json", senseless, ["sha256"])
        role.sign(fleet.operator.targets)
        files = {**fleet.repository.files(), "2.m-person.json": role.to_bytes()}
        names = {"targets": "2.targets.json", "m-person": "2.m-person.json"}
        known, online = fleet.repository._verified, fleet.repository._online
        write_files(wire / "meta", files | metadata.freshen(files, names, known, online, NOW))
        write_files(wire / "chunk", {digest(senseless): senseless})
        with pytest.raises(ManifestError, match=said):
            device.release(2, digest(senseless))
        device.forget()
