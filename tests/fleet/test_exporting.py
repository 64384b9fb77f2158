"""What is given out for devices without a network: which releases, and metadata whose numbers mean one thing."""

from datetime import timedelta
from pathlib import Path

import pytest

from fleet import durable, exporting, metadata
from fleet.metadata import SNAPSHOT_LIFE, TIMESTAMP_LIFE, Verified
from fleet.repo import Repository
from littoral.bundle.manifest import Manifest
from littoral.canonical import digest
from littoral.errors import BadRequestError, NotFoundError
from tests.repository import DAY, NOW, Fleet, manifest, seconds


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    fleet = Fleet(tmp_path)
    fleet.publish("person", 1)
    return fleet


def online(fleet: Fleet) -> Verified:
    return metadata.verify(fleet.repository.files())


# --- metadata -----------------------------------------------------------------------------------------------------


def test_what_is_exported_verifies_and_lives_as_long_as_was_asked_for(fleet: Fleet) -> None:
    known = metadata.verify(fleet.repository.export(30 * DAY, NOW))
    assert (known.timestamp.expires, known.snapshot.expires) == (NOW + 30 * DAY, NOW + 30 * DAY)
    assert list(known.releases("person")) == [1]
    assert known.targets.version == online(fleet).targets.version


def test_what_is_online_goes_on_above_it_and_lives_as_ever(fleet: Fleet) -> None:
    known = metadata.verify(fleet.repository.export(180 * DAY, NOW))
    after = online(fleet)
    assert after.timestamp.version > known.timestamp.version
    assert after.snapshot.version > known.snapshot.version
    assert (after.timestamp.expires, after.snapshot.expires) == (NOW + TIMESTAMP_LIFE, NOW + SNAPSHOT_LIFE)
    assert Repository(fleet.data).files() == fleet.repository.files()


def test_a_number_means_one_content_whatever_comes_in_between(fleet: Fleet) -> None:
    seen: dict[tuple[str, int], bytes] = {}

    def note(files: dict[str, bytes]) -> None:
        known = metadata.verify(files)
        for role, version in (("timestamp", known.timestamp.version), ("snapshot", known.snapshot.version)):
            assert seen.setdefault((role, version), files[known.names[role]]) == files[known.names[role]]

    for turn in range(6):
        note(fleet.repository.files())
        note(fleet.repository.export(DAY, NOW))
        note(fleet.repository.files())
        fleet.now = NOW + turn * timedelta(hours=13)
        fleet.repository.renew(fleet.now)
        fleet.publish("person", 2 + turn)
        fleet.repository = Repository(fleet.data)
    assert len(seen) >= 24


def test_nothing_is_given_out_where_the_disk_does_not_take_what_goes_on_above_it(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("read-only")

    before = fleet.repository.files()
    with monkeypatch.context() as patch:
        patch.setattr(durable, "write_file", refuse)
        with pytest.raises(OSError, match="read-only"):
            fleet.repository.export(DAY, NOW)
    assert fleet.repository.files() == before == Repository(fleet.data).files()


def test_it_is_good_until_the_first_of_its_signatures_expires(fleet: Fleet) -> None:
    listed = fleet.repository.releases()
    files = fleet.repository.export(30 * DAY, NOW)
    assert exporting.expires(files, listed) == seconds(NOW + 30 * DAY)
    files = fleet.repository.export(30 * DAY, NOW + 350 * DAY)
    assert exporting.expires(files, listed) == seconds(NOW + 365 * DAY)


def test_the_director_is_among_the_small_files(fleet: Fleet) -> None:
    name = exporting.director_of(fleet.repository.files())
    assert b'"keys"' in fleet.repository.small_targets()[name]


# --- the choice ---------------------------------------------------------------------------------------------------

LISTED = [manifest("eye", 1), manifest("eye", 3), manifest("person", 2), manifest("person", 7), manifest("zebra", 1)]


def chosen(found: list[Manifest]) -> list[tuple[str, int]]:
    return [(one.model, one.release) for one in found]


def test_the_newest_of_every_model_or_of_those_that_are_named() -> None:
    assert chosen(exporting.choose(LISTED, [], None)) == [("eye", 3), ("person", 7), ("zebra", 1)]
    assert chosen(exporting.choose(LISTED, ["zebra", "eye"], None)) == [("eye", 3), ("zebra", 1)]
    assert chosen(exporting.choose(LISTED, ["person"], 2)) == [("person", 2)]


def test_what_is_not_listed_is_named() -> None:
    with pytest.raises(NotFoundError, match="no release of boat, cat is listed"):
        exporting.choose(LISTED, ["eye", "cat", "boat"], None)
    with pytest.raises(NotFoundError, match="no release 4 of eye is listed"):
        exporting.choose(LISTED, ["eye"], 4)
    with pytest.raises(NotFoundError):
        exporting.choose([], [], None)


@pytest.mark.parametrize("models", [[], ["eye", "person"]])
def test_a_release_is_of_one_model(models: list[str]) -> None:
    with pytest.raises(BadRequestError):
        exporting.choose(LISTED, models, 1)


def test_two_exports_at_once_share_no_number(fleet: Fleet) -> None:
    first, second = (fleet.repository.export(DAY, NOW) for _ in range(2))
    assert digest(first["timestamp.json"]) != digest(second["timestamp.json"])
    versions = [metadata.verify(each).timestamp.version for each in (first, second)]
    assert versions[0] < versions[1]
