"""A new root, signed by the operator and taken by the server: renewal, and other keys in force."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from fleet import durable, keys, metadata, rotation
from fleet.keys import ONLINE_ROLES, OPERATOR_ROLES
from fleet.repo import Repository
from littoral.bundle.keys import DIRECTOR_TARGET, generate
from littoral.errors import ExpiredMetadataError, KeysError, MetadataError, ReleaseNumberError
from littoral.wire.messages import Desired, parse_desired
from tests.repository import DAY, NOW, Fleet, manifest, rotate

ROLES = (*OPERATOR_ROLES, *ONLINE_ROLES)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    made = Fleet(tmp_path / "data")
    made.publish("person", 1)
    made.publish("vehicle", 1)
    return made


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_is_rotated_has_a_new_key_alone_and_the_others_keep_theirs(fleet: Fleet, role: str) -> None:
    before = fleet.repository.keyids()
    rotate(fleet, role)
    after = fleet.repository.keyids()
    assert {name for name in ROLES if before[name] != after[name]} == {role}
    assert all(len(ids) == 1 for ids in after.values())
    again = Repository(fleet.data)
    assert again.files() == fleet.repository.files()
    assert again.keyids() == after
    assert [(one.model, one.release) for one in again.releases()] == [("person", 1), ("vehicle", 1)]
    fleet.repository = again
    fleet.publish("person", 2)
    rotate(fleet, role)
    fleet.publish("person", 3)


def test_a_desired_state_is_signed_by_the_new_directors_key_at_once(fleet: Fleet) -> None:
    rotate(fleet, "director")
    signed = parse_desired(fleet.repository.sign_desired(Desired("main", "cam", 1, "", {})))
    listed = fleet.repository._verified.targets.targets[DIRECTOR_TARGET].hashes["sha256"]
    assert signed.keyid in json.loads(fleet.repository.small_targets()[listed])["keys"]


def test_a_renewal_changes_no_key_and_gives_another_year(fleet: Fleet) -> None:
    keyids = fleet.repository.keyids()
    fleet.now = NOW + 340 * DAY
    assert len(fleet.repository.warnings(fleet.now)) == 4
    assert "targets expires on 2027-11-22" in fleet.repository.warnings(fleet.now)[1]
    rotate(fleet)
    assert fleet.repository.warnings(fleet.now) == []
    assert fleet.repository.keyids() == keyids
    assert {expires - fleet.now for expires in fleet.repository.expiries().values()} == {timedelta(days=365)}
    assert "has expired" not in "".join(fleet.repository.warnings(NOW + 800 * DAY))
    assert "root expired on" in fleet.repository.warnings(NOW + 800 * DAY)[0]


def test_a_warning_comes_thirty_days_before_and_not_earlier(fleet: Fleet) -> None:
    assert fleet.repository.warnings(NOW + 335 * DAY) == []
    assert len(fleet.repository.warnings(NOW + 335 * DAY + timedelta(seconds=1))) == 4


# --- what the operator does not sign -----------------------------------------------------------------------


@pytest.mark.parametrize("role", OPERATOR_ROLES)
def test_the_operator_signs_nothing_where_another_key_may_sign_beside_his(fleet: Fleet, role: str) -> None:
    """A server's own fleet that lists the operator's public keys too: what it lists, he would sign."""
    thief = generate()
    files = fleet.repository.files()
    forged: Metadata[Root] = Metadata.from_bytes(files["1.root.json"])
    forged.signed.add_key(thief.public_key, role)
    forged.sign(thief if role == "root" else fleet.operator.root)
    held = {**files, "1.root.json": forged.to_bytes()}
    metadata.verify(held)
    online = fleet.repository.next_keys([])
    with pytest.raises(KeysError, match="alone"):
        rotation.sign(held, fleet.operator, fleet.operator, online, NOW)
    with pytest.raises(KeysError, match="alone"):
        metadata.sign_release(held, manifest("person", 2).encode(), fleet.operator, NOW)


# --- what the server does not take -------------------------------------------------------------------------


def targets_of(change: Callable[[Targets], Any]) -> Callable[[Fleet, dict[str, bytes]], None]:
    def apply(fleet: Fleet, files: dict[str, bytes]) -> None:
        found: Metadata[Targets] = Metadata.from_bytes(files["4.targets.json"])
        change(found.signed)
        found.sign(fleet.operator.targets)
        files["4.targets.json"] = found.to_bytes()

    return apply


def another_director(targets: Targets) -> None:
    data = rotation.director_file({"director": generate().public_key})
    targets.targets[DIRECTOR_TARGET] = TargetFile.from_data(DIRECTOR_TARGET, data, ["sha256"])


def foreign_timestamp(fleet: Fleet, files: dict[str, bytes]) -> None:
    found: Metadata[Root] = Metadata.from_bytes(files["2.root.json"])
    found.signed.add_key(generate().public_key, "timestamp")
    found.sign(fleet.operator.root)
    files["2.root.json"] = found.to_bytes()


def unsigned(fleet: Fleet, files: dict[str, bytes]) -> None:
    found: Metadata[Root] = Metadata.from_bytes(files["2.root.json"])
    found.sign(generate())
    files["2.root.json"] = found.to_bytes()


def other_releases(fleet: Fleet, files: dict[str, bytes]) -> None:
    found: Metadata[Targets] = Metadata.from_bytes(fleet.repository.files()["1.m-person.json"])
    found.signed.version = 2
    found.signed.targets.clear()
    found.sign(fleet.operator.targets)
    files["2.m-person.json"] = found.to_bytes()


@pytest.mark.parametrize(
    "change",
    [
        targets_of(another_director),
        targets_of(lambda targets: targets.targets.clear()),
        targets_of(lambda targets: setattr(targets, "delegations", None)),
        targets_of(lambda targets: setattr(targets, "expires", NOW - DAY)),
        foreign_timestamp,
        unsigned,
        other_releases,
        lambda fleet, files: files.pop("2.root.json"),
        lambda fleet, files: files.update({"9.root.json": files.pop("2.root.json")}),
        lambda fleet, files: files.update({"1.m-evil.json": b"{}"}),
    ],
)
def test_a_new_root_that_changes_more_than_keys_is_refused_and_changes_nothing(
    fleet: Fleet, change: Callable[[Fleet, dict[str, bytes]], Any]
) -> None:
    before = fleet.repository.files()
    online = fleet.repository.next_keys(["snapshot"])
    files = rotation.sign(before, fleet.operator, fleet.operator, online, NOW)
    assert set(files) == {"2.root.json", "4.targets.json"}
    change(fleet, files)
    with pytest.raises(MetadataError):
        fleet.repository.rotate(files, NOW)
    assert fleet.repository.files() == Repository(fleet.data).files() == before


def test_what_was_signed_for_keys_that_are_no_longer_the_next_is_refused(fleet: Fleet) -> None:
    online = fleet.repository.next_keys(ONLINE_ROLES)
    signed = rotation.sign(fleet.repository.files(), fleet.operator, fleet.operator, online, NOW)
    fleet.repository.next_keys(ONLINE_ROLES)
    with pytest.raises(MetadataError):
        fleet.repository.rotate(signed, NOW)


@pytest.mark.parametrize("fails_at", range(1, 6))
@pytest.mark.parametrize("roles", [ONLINE_ROLES, ("targets",), ROLES])
def test_a_crash_at_any_write_of_a_rotation_leaves_the_old_keys_or_the_new(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, fails_at: int, roles: tuple[str, ...]
) -> None:
    before, operator = fleet.repository.keyids(), fleet.operator
    writes = 0
    really = durable.write_file

    def crash(path: Path, data: bytes, mode: int = 0o644) -> None:
        nonlocal writes
        writes += "repository" in path.parts
        if writes == fails_at:
            raise OSError("the power went")
        really(path, data, mode)

    with monkeypatch.context() as patch:
        patch.setattr("fleet.durable.write_file", crash)
        with pytest.raises(OSError, match="power"):
            rotate(fleet, *roles)
    fleet.repository, fleet.operator = Repository(fleet.data), operator
    assert fleet.repository.keyids() == before
    rotate(fleet, *roles)
    assert {role for role in ROLES if before[role] != fleet.repository.keyids()[role]} == set(roles)
    fleet.publish("person", 2)


def test_a_crash_before_the_new_keys_are_in_their_place_loses_none(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(keys, "adopt", lambda folder, in_force: None)
        rotate(fleet, *ONLINE_ROLES)
    again = Repository(fleet.data)
    assert again.keyids() == fleet.repository.keyids()
    assert again.renew(NOW + 2 * DAY)
    with pytest.raises(ReleaseNumberError):
        fleet.publish("person", 1, version="other")


def test_expired_metadata_can_still_be_renewed(fleet: Fleet) -> None:
    fleet.now = NOW + 500 * DAY
    online = fleet.repository.next_keys([])
    signed = rotation.sign(fleet.repository.files(), fleet.operator, fleet.operator, online, fleet.now)
    assert set(signed) == {"2.root.json", "4.targets.json", "2.m-person.json", "2.m-vehicle.json"}
    fleet.repository.rotate(signed, fleet.now)
    with pytest.raises(ExpiredMetadataError):
        fleet.repository.rotate(
            rotation.sign(fleet.repository.files(), fleet.operator, fleet.operator, online, NOW), NOW + 1000 * DAY
        )
