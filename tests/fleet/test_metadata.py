"""The rules of the signed metadata: what the operator signs, and what the server takes."""

from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from fleet import metadata
from fleet.metadata import KEPT_RELEASES, MAX_FILE_BYTES
from littoral.errors import (
    ExpiredMetadataError,
    InterfaceChangeError,
    KeysError,
    ManifestError,
    MetadataError,
    ReleaseNumberError,
)
from tests.repository import DAY, NOW, Fleet, manifest, operator_keys


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def offer(fleet: Fleet, made: Any, files: dict[str, bytes], now: Any = NOW) -> dict[str, str]:
    known = metadata.verify(fleet.repository.files())
    return metadata.check_extension(known, made.encode(), made, files, now)


# --- signing -----------------------------------------------------------------------------------------------


def test_the_first_release_of_a_model_makes_its_role_and_the_next_one_only_extends_it(fleet: Fleet) -> None:
    assert set(fleet.sign(manifest("person", 1))) == {"1.m-person.json", "2.targets.json"}
    fleet.publish("person", 1)
    assert set(fleet.sign(manifest("person", 2))) == {"2.m-person.json"}
    assert set(fleet.sign(manifest("vehicle", 5))) == {"1.m-vehicle.json", "3.targets.json"}


def test_a_role_may_sign_only_its_own_models_releases(fleet: Fleet) -> None:
    fleet.publish("person", 1)
    targets: Metadata[Targets] = Metadata.from_bytes(fleet.repository.files()["2.targets.json"])
    assert targets.signed.delegations is not None
    assert targets.signed.delegations.roles is not None
    role = targets.signed.delegations.roles["m-person"]
    assert role.is_delegated_path("person/2.json")
    for path in ("vehicle/1.json", "director.json", "person/a/b.json", "persons/1.json"):
        assert not role.is_delegated_path(path)


def test_root_and_targets_past_half_their_life_are_renewed_beside_a_release(fleet: Fleet) -> None:
    fleet.publish("person", 1)
    fleet.now = NOW + 180 * DAY
    assert set(fleet.sign(manifest("person", 2))) == {"2.m-person.json"}
    fleet.now = NOW + 185 * DAY
    assert set(fleet.sign(manifest("person", 2))) == {"2.m-person.json", "3.targets.json", "2.root.json"}
    fleet.publish("person", 2)
    assert set(fleet.sign(manifest("person", 3))) == {"3.m-person.json"}


def test_the_operator_signs_nothing_for_another_fleet(fleet: Fleet, tmp_path: Path) -> None:
    made = manifest("person", 1).encode()
    with pytest.raises(KeysError, match="not signed by these keys"):
        metadata.sign_release(fleet.repository.files(), made, operator_keys(), NOW)
    other = Fleet(tmp_path / "other")
    mixed = {**other.repository.files(), "1.root.json": fleet.repository.first_root()}
    with pytest.raises(MetadataError):
        metadata.sign_release(mixed, made, fleet.operator, NOW)


def test_the_operator_signs_nothing_on_metadata_that_do_not_verify(fleet: Fleet) -> None:
    fleet.publish("person", 1)
    files = fleet.repository.files()
    made = manifest("person", 2).encode()
    for name in files:
        without = {other: data for other, data in files.items() if other != name}
        altered = {**files, name: files[name].replace(b"2027", b"2030").replace(b"2026", b"2031")}
        for held in (without, altered, {**files, name: b"{}"}, {**files, name: b" " * (MAX_FILE_BYTES + 1)}):
            with pytest.raises(MetadataError):
                metadata.sign_release(held, made, fleet.operator, NOW)


def test_a_file_of_the_same_version_with_other_content_is_refused_though_the_same_key_signed_it(fleet: Fleet) -> None:
    fleet.publish("person", 1)
    files, online = fleet.repository.files(), fleet.repository._online
    signers = {"snapshot": online.snapshot, "targets": fleet.operator.targets, "m-person": fleet.operator.targets}
    for role, signer in signers.items():
        name = next(name for name in files if name.endswith(f".{role}.json"))

        def later(signed: Any) -> None:
            signed.expires += DAY

        with pytest.raises(MetadataError, match="hash"):
            metadata.verify({**files, name: resigned(files[name], later, signer)})
    metadata.verify(files)


def test_a_release_number_that_is_not_above_the_last_is_refused(fleet: Fleet) -> None:
    fleet.publish("person", 3)
    for made in (manifest("person", 1), manifest("person", 3, version="another")):
        with pytest.raises(ReleaseNumberError):
            fleet.sign(made)


def test_a_release_that_is_listed_already_needs_no_signature(fleet: Fleet) -> None:
    for number in (3, 4):
        fleet.publish("person", number)
    assert fleet.sign(manifest("person", 3)) == fleet.sign(manifest("person", 4)) == {}


def test_a_role_keeps_the_newest_releases_and_stays_one_message(fleet: Fleet) -> None:
    known = metadata.verify(fleet.repository.files())
    files = fleet.repository.files()
    online = fleet.repository._online
    listed = {
        f"person/{n}.json": TargetFile.from_data(f"person/{n}.json", b"x" * n, ["sha256"])
        for n in range(1, KEPT_RELEASES + 1)
    }
    fleet.publish("person", 1)
    files = fleet.repository.files()
    role = Metadata(Targets(version=2, expires=NOW + DAY, targets=listed))
    role.sign(fleet.operator.targets)
    files["2.m-person.json"] = role.to_bytes()
    names = {"targets": "2.targets.json", "m-person": "2.m-person.json"}
    files |= metadata.freshen(files, names, metadata.verify(fleet.repository.files()), online, NOW)
    assert known.releases("person") == {}
    signed = metadata.sign_release(files, manifest("person", 900).encode(), fleet.operator, NOW)
    following: Metadata[Targets] = Metadata.from_bytes(signed["3.m-person.json"])
    assert len(following.signed.targets) == KEPT_RELEASES
    assert "person/1.json" not in following.signed.targets
    assert {"person/2.json", "person/900.json"} <= set(following.signed.targets)
    assert len(signed["3.m-person.json"]) < MAX_FILE_BYTES


# --- what the server takes ---------------------------------------------------------------------------------


def test_what_the_operator_signed_is_taken(fleet: Fleet) -> None:
    made = manifest("person", 1)
    assert offer(fleet, made, fleet.sign(made)) == {"m-person": "1.m-person.json", "targets": "2.targets.json"}


def resigned(data: bytes, change: Any, signer: Any) -> bytes:
    found: Metadata[Any] = Metadata.from_bytes(data)
    change(found.signed)
    found.sign(signer)
    return found.to_bytes()


def test_a_release_signed_by_other_keys_is_refused(fleet: Fleet) -> None:
    fleet.publish("person", 1)
    made = manifest("person", 2)
    role = fleet.sign(made)["2.m-person.json"]
    stranger = operator_keys()
    for signer in (stranger.targets, fleet.operator.root, fleet.repository._online.snapshot):
        forged = resigned(role, lambda signed: None, signer)
        with pytest.raises(MetadataError, match="signed by 0/1"):
            offer(fleet, made, {"2.m-person.json": forged})


@pytest.mark.parametrize(
    "change",
    [
        lambda role: role.targets.pop("person/2.json"),
        lambda role: role.targets.update({"person/1.json": role.targets["person/2.json"]}),
        lambda role: role.targets.update({"person/3.json": TargetFile.from_data("person/3.json", b"", ["sha256"])}),
        lambda role: role.targets.update({"person/2.json": TargetFile.from_data("person/2.json", b"", ["sha256"])}),
        lambda role: setattr(role, "version", 3),
        lambda role: setattr(role, "version", 1),
    ],
    ids=["not-listed", "old-altered", "two-at-once", "other-bytes", "skips-a-version", "stays"],
)
def test_a_role_that_says_other_than_this_release_is_refused(fleet: Fleet, change: Any) -> None:
    """Though the operator's own key signed it."""
    fleet.publish("person", 1)
    made = manifest("person", 2)
    role = resigned(fleet.sign(made)["2.m-person.json"], change, fleet.operator.targets)
    with pytest.raises(MetadataError):
        offer(fleet, made, {"2.m-person.json": role})


@pytest.mark.parametrize(
    "change",
    [
        lambda targets: targets.delegations.roles.pop("m-vehicle"),
        lambda targets: targets.targets.pop("director.json"),
        lambda targets: setattr(targets.delegations.roles["m-person"], "paths", ["*"]),
        lambda targets: setattr(targets.delegations.roles["m-person"], "paths", ["vehicle/*.json"]),
        lambda targets: setattr(targets, "version", 4),
    ],
    ids=["drops-a-model", "drops-the-director", "signs-all", "signs-another", "skips-a-version"],
)
def test_targets_that_change_more_than_the_new_model_are_refused(fleet: Fleet, change: Any) -> None:
    fleet.publish("vehicle", 1)
    made = manifest("person", 1)
    files = fleet.sign(made)
    files["3.targets.json"] = resigned(files["3.targets.json"], change, fleet.operator.targets)
    with pytest.raises(MetadataError):
        offer(fleet, made, files)


def test_files_that_are_not_what_comes_next_are_refused(fleet: Fleet) -> None:
    fleet.publish("vehicle", 1)
    made = manifest("person", 1)
    files = fleet.sign(made)
    for strange in ("timestamp.json", "1.root.json", "3.root.json", "../x.json", "2.m-vehicle.json"):
        with pytest.raises(MetadataError, match="not what comes next"):
            offer(fleet, made, {**files, strange: files["1.m-person.json"]})
    for missing in files:
        with pytest.raises(MetadataError):
            offer(fleet, made, {name: data for name, data in files.items() if name != missing})


def test_a_root_that_the_old_one_did_not_sign_is_refused(fleet: Fleet) -> None:
    fleet.publish("person", 1)
    fleet.now = NOW + 200 * DAY
    made = manifest("person", 2)
    files = fleet.sign(made)
    stranger = operator_keys().root

    def take_over(root: Root) -> None:
        root.revoke_key(fleet.operator.root.keyid, "root")
        root.add_key(stranger.public_key, "root")

    forged = resigned(files["2.root.json"], take_over, stranger)
    with pytest.raises(MetadataError):
        offer(fleet, made, {**files, "2.root.json": forged}, fleet.now)
    offer(fleet, made, files, fleet.now)


def test_metadata_that_have_expired_on_arrival_are_refused(fleet: Fleet) -> None:
    made = manifest("person", 1)
    files = fleet.sign(made)
    with pytest.raises(ExpiredMetadataError):
        offer(fleet, made, files, NOW + 366 * DAY)


# --- successors --------------------------------------------------------------------------------------------


def test_a_floor_that_goes_back_is_refused() -> None:
    last = manifest("person", 5, floor=5)
    metadata.check_successor(last, manifest("person", 6, floor=5))
    metadata.check_successor(None, manifest("person", 6, floor=0))
    with pytest.raises(ManifestError, match="floor 4"):
        metadata.check_successor(last, manifest("person", 6, floor=4))


@pytest.mark.parametrize("part", ["shapes", "labels"])
def test_a_change_of_shapes_or_labels_has_to_be_announced(part: str) -> None:
    last = manifest("person", 1)
    changed = {**last.interface, part: "other"}
    with pytest.raises(InterfaceChangeError, match=part):
        metadata.check_successor(last, manifest("person", 2, interface=changed))
    metadata.check_successor(last, manifest("person", 2, interface=changed, interface_change=True))
