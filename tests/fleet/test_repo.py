"""The server's repository: what it takes and renews, and that a crash leaves a whole one."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Snapshot, Timestamp

from fleet import durable, metadata
from fleet.repo import Repository, is_there
from littoral.bundle import keys
from littoral.canonical import digest
from littoral.errors import InterfaceChangeError, ManifestError, MetadataError, ReleaseNumberError
from littoral.wire.messages import Desired, Want, parse_desired
from tests.repository import DAY, NOW, Fleet, manifest


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "data")


def timestamp(files: Mapping[str, bytes]) -> Timestamp:
    return Metadata[Timestamp].from_bytes(files["timestamp.json"]).signed


def snapshot(files: Mapping[str, bytes]) -> Snapshot:
    name = f"{timestamp(files).snapshot_meta.version}.snapshot.json"
    return Metadata[Snapshot].from_bytes(files[name]).signed


def test_a_new_repository_lists_nothing_and_verifies(fleet: Fleet) -> None:
    assert is_there(fleet.data)
    files = fleet.repository.files()
    assert set(files) == {"1.root.json", "1.targets.json", "timestamp.json", f"{snapshot(files).version}.snapshot.json"}
    assert metadata.verify(files).roles == {}
    assert fleet.repository.releases() == []
    assert fleet.repository.first_root() == files["1.root.json"]


def test_it_is_the_same_after_it_was_opened_again(fleet: Fleet) -> None:
    fleet.publish("person", 1)
    fleet.publish("vehicle", 4)
    fleet.publish("person", 2)
    again = Repository(fleet.data)
    assert again.files() == fleet.repository.files()
    assert again.small_targets() == fleet.repository.small_targets()
    assert again.releases() == fleet.repository.releases()
    assert again.director_keyid == fleet.repository.director_keyid


def test_it_lists_releases_by_model_oldest_first(fleet: Fleet) -> None:
    for number in (2, 10, 11):
        fleet.publish("person", number)
    fleet.publish("vehicle", 1)
    assert [(r.model, r.release) for r in fleet.repository.releases()] == [
        ("person", 2),
        ("person", 10),
        ("person", 11),
        ("vehicle", 1),
    ]
    assert [r.release for r in fleet.repository.releases("person")] == [2, 10, 11]
    assert fleet.repository.releases("boat") == []


def test_what_is_signed_itself_is_given_by_digest(fleet: Fleet) -> None:
    bundle = fleet.publish("person", 1)
    small = fleet.repository.small_targets()
    assert all(digest(data) == name for name, data in small.items())
    assert small[bundle] == manifest("person", 1).encode()
    (director,) = (data for name, data in small.items() if name != bundle)
    assert list(keys.parse_director(director)) == [fleet.repository.director_keyid]


def test_only_current_metadata_and_every_root_are_kept(fleet: Fleet) -> None:
    fleet.publish("person", 1)
    fleet.now = NOW + 200 * DAY
    fleet.publish("person", 2)
    names = set(fleet.repository.files())
    assert {"1.root.json", "2.root.json", "3.targets.json", "2.m-person.json"} <= names
    assert "1.m-person.json" not in names
    assert {path.name for path in (fleet.data / "repository" / "metadata").iterdir()} == names


# --- accept ------------------------------------------------------------------------------------------------


def test_a_refused_release_changes_nothing(fleet: Fleet) -> None:
    fleet.publish("person", 3)
    before = fleet.repository.files()
    made = manifest("person", 4)
    signed = fleet.sign(made)
    unsorted = made.encode().replace(b'{"blobs"', b'{ "blobs"')
    for data, files, error in (
        (b"{}", signed, ManifestError),
        (unsorted, signed, ManifestError),
        (manifest("person", 3).encode(), signed, ReleaseNumberError),
        (manifest("person", 5).encode(), signed, MetadataError),
        (made.encode(), {}, MetadataError),
    ):
        with pytest.raises(error):
            fleet.repository.accept(data, files, NOW)
    changed = manifest("person", 4, interface={"shapes": "other", "labels": "l"})
    with pytest.raises(InterfaceChangeError):
        fleet.repository.accept(changed.encode(), fleet.sign(changed), NOW)
    backwards = manifest("person", 4, floor=0)
    with pytest.raises(ManifestError, match="floor"):
        fleet.repository.accept(backwards.encode(), fleet.sign(backwards), NOW)
    assert fleet.repository.files() == before
    assert Repository(fleet.data).files() == before


def test_of_two_releases_signed_at_the_same_time_the_second_has_to_be_signed_anew(fleet: Fleet) -> None:
    first, second = manifest("person", 1), manifest("vehicle", 1)
    signed_first, signed_second = fleet.sign(first), fleet.sign(second)
    fleet.repository.accept(first.encode(), signed_first, NOW)
    with pytest.raises(MetadataError, match="publish once more"):
        fleet.repository.accept(second.encode(), signed_second, NOW)
    fleet.repository.accept(second.encode(), fleet.sign(second), NOW)


def test_no_role_ever_leaves_the_snapshot(fleet: Fleet) -> None:
    seen: set[str] = set()
    for number, model in enumerate(("person", "vehicle", "person", "boat", "vehicle"), start=1):
        fleet.publish(model, number)
        listed = set(snapshot(fleet.repository.files()).meta)
        assert seen <= listed
        seen = listed
    assert seen == {"targets.json", "m-person.json", "m-vehicle.json", "m-boat.json"}


@pytest.mark.parametrize("step", ["unlink", "read_bytes"])
def test_a_release_that_failed_outside_of_the_writes_is_listed_or_can_be_taken_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    fleet.publish("person", 1)
    made = manifest("person", 2)
    signed = fleet.sign(made)

    really = getattr(Path, step)

    def fail(path: Path, *options: object, **more: object) -> Any:
        if path.suffix != ".new":  # a write's own
            raise OSError("the disk said no")
        return really(path, *options, **more)

    with monkeypatch.context() as patch, suppress(MetadataError):
        patch.setattr(Path, step, fail)
        fleet.repository.accept(made.encode(), signed, NOW)
    if made not in fleet.repository.releases("person"):
        fleet.repository.accept(made.encode(), signed, NOW)
    assert fleet.repository.releases() == Repository(fleet.data).releases() == [manifest("person", 1), made]


@pytest.mark.parametrize("fails_at", range(1, 7))
def test_a_crash_at_any_write_leaves_the_old_state_or_the_new(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    fleet.publish("person", 1)
    fleet.now = NOW + 200 * DAY  # so that root, targets, role, snapshot and timestamp are all written
    before = fleet.repository.files()
    made = manifest("person", 2)
    signed = fleet.sign(made)
    assert len(signed) == 3
    writes = 0
    really = durable.write_file

    def crash(path: Path, data: bytes, mode: int = 0o644) -> None:
        nonlocal writes
        writes += 1
        if writes == fails_at:
            raise OSError("the power went")
        really(path, data, mode)

    with monkeypatch.context() as patch:
        patch.setattr("fleet.durable.write_file", crash)
        with pytest.raises(OSError, match="power"):
            fleet.repository.accept(made.encode(), signed, fleet.now)
    again = Repository(fleet.data)
    assert {name: data for name, data in again.files().items() if not name.endswith("root.json")} == {
        name: data for name, data in before.items() if not name.endswith("root.json")
    }
    fleet.repository = again
    fleet.publish("person", 2)
    assert [r.release for r in Repository(fleet.data).releases("person")] == [1, 2]


# --- renew -------------------------------------------------------------------------------------------------


def test_nothing_is_renewed_before_half_its_life(fleet: Fleet) -> None:
    before = fleet.repository.files()
    assert not fleet.repository.renew(NOW)
    assert not fleet.repository.renew(NOW + timedelta(hours=11, minutes=59))
    assert fleet.repository.files() == before


def test_the_timestamp_is_renewed_by_itself_and_the_snapshot_with_it(fleet: Fleet) -> None:
    fleet.publish("person", 1)
    before = fleet.repository.files()
    assert fleet.repository.renew(NOW + timedelta(hours=13))
    after = fleet.repository.files()
    assert timestamp(after).version > timestamp(before).version
    assert timestamp(after).expires == NOW + timedelta(hours=37)
    assert snapshot(after) == snapshot(before)
    assert fleet.repository.renew(NOW + 4 * DAY)
    latest = fleet.repository.files()
    assert snapshot(latest).version > snapshot(before).version
    assert snapshot(latest).meta == snapshot(before).meta
    assert snapshot(latest).expires == NOW + 11 * DAY
    assert Repository(fleet.data).files() == latest


def test_versions_rise_even_where_the_clock_goes_back(fleet: Fleet) -> None:
    fleet.publish("person", 1)
    ahead = timestamp(fleet.repository.files()).version
    fleet.now = NOW - 100 * DAY
    fleet.publish("person", 2)
    assert timestamp(fleet.repository.files()).version == ahead + 1


def test_a_server_restored_from_an_old_copy_signs_numbers_that_are_new(fleet: Fleet) -> None:
    """So that its devices do not take it for a replay."""
    old = {path: path.read_bytes() for path in (fleet.data / "repository" / "metadata").iterdir()}
    for hour in range(1, 40):
        fleet.repository.renew(NOW + timedelta(hours=13 * hour))
    seen = timestamp(fleet.repository.files()).version
    for path in (fleet.data / "repository" / "metadata").iterdir():
        path.unlink()
    for path, data in old.items():
        path.write_bytes(data)
    restored = Repository(fleet.data)
    assert restored.renew(NOW + 30 * DAY)
    assert timestamp(restored.files()).version > seen


# --- desired states ----------------------------------------------------------------------------------------


def test_a_desired_state_is_signed_by_the_director_that_is_listed(fleet: Fleet) -> None:
    desired = Desired("main", "cam-1", 1, "now", {"person": Want(1, "ab" * 32), "boat": None})
    signed = parse_desired(fleet.repository.sign_desired(desired))
    assert signed.desired == desired
    director = next(data for data in fleet.repository.small_targets().values() if b'"keys"' in data)
    keys.check_desired(signed, keys.parse_director(director))


# --- damage ------------------------------------------------------------------------------------------------


def test_a_damaged_repository_is_not_opened(fleet: Fleet) -> None:
    bundle = fleet.publish("person", 1)
    folder = fleet.data / "repository"
    for path in (*(folder / "metadata").iterdir(), folder / "targets" / bundle):
        whole = path.read_bytes()
        for damaged in (b"", whole[:-1], whole.replace(b"person", b"q")):
            if damaged == whole:
                continue
            path.write_bytes(damaged)
            with pytest.raises(MetadataError):
                Repository(fleet.data)
        path.unlink()
        with pytest.raises(MetadataError):
            Repository(fleet.data)
        path.write_bytes(whole)
    Repository(fleet.data)


def test_a_folder_without_a_repository_is_not_opened(tmp_path: Path) -> None:
    assert not is_there(tmp_path)
    with pytest.raises(MetadataError):
        Repository(tmp_path)
