"""agent/updater/staging.py: releases on disk."""

from pathlib import Path

import pytest

from agent import slots
from agent.slots import Slot, SlotRecord, Update
from agent.updater import staging
from littoral.errors import ManifestError
from tests.agent.updater.fakes import Release, make_release


def fetched(state: Path, release: Release) -> None:
    """As a complete fetch leaves it."""
    (state / "partial").mkdir(exist_ok=True)
    for role, blob in release.manifest.blobs.items():
        (state / "partial" / blob.sha256).write_bytes(release.blobs[role])


def stage(state: Path, release: Release) -> None:
    fetched(state, release)
    staging.stage(state, release.encoded, release.manifest, release.bundle)


def test_a_staged_release_holds_its_blobs_by_role(tmp_path: Path) -> None:
    release = make_release(1)
    stage(tmp_path, release)
    folder = slots.release_folder(tmp_path, release.bundle)
    assert (folder / "model").read_bytes() == release.blobs["model"]
    assert staging.manifest_of(tmp_path, release.bundle) == release.manifest
    assert staging.missing_blobs(tmp_path, release.manifest) == {}
    assert list((tmp_path / "partial").iterdir()) == []


def test_staging_again_after_a_power_cut_in_the_middle_ends_the_same(tmp_path: Path) -> None:
    release = make_release(1)
    half = tmp_path / "releases" / f".{release.bundle}.new"
    half.mkdir(parents=True)
    (half / "bundle.json").write_bytes(b"half")
    stage(tmp_path, release)
    assert staging.manifest_of(tmp_path, release.bundle) == release.manifest
    assert not half.exists()


def test_right_chunks_of_a_wrong_blob_are_a_senseless_manifest(tmp_path: Path) -> None:
    release = make_release(1)
    (tmp_path / "partial").mkdir()
    blob = release.manifest.blobs["model"]
    (tmp_path / "partial" / blob.sha256).write_bytes(b"x" * blob.length)
    with pytest.raises(ManifestError):
        staging.stage(tmp_path, release.encoded, release.manifest, release.bundle)
    assert not staging.is_staged(tmp_path, release.bundle)


def test_what_a_record_names_is_kept_and_the_rest_goes(tmp_path: Path) -> None:
    releases = [make_release(number) for number in (1, 2, 3)]
    for release in releases:
        stage(tmp_path, release)
    (tmp_path / "partial/left").write_bytes(b"")
    kept = SlotRecord("cats", a=Slot(1, releases[0].bundle, "1"), b=Slot(2, releases[1].bundle, "2"), active="b")
    assert staging.collect(tmp_path, [kept]) == [releases[2].bundle]
    assert len(list((tmp_path / "blobs").iterdir())) == 2
    assert list((tmp_path / "partial").iterdir()) == []


def test_while_an_update_runs_its_bytes_are_kept(tmp_path: Path) -> None:
    release = make_release(1)
    fetched(tmp_path, release)
    running = SlotRecord("cats", update=Update(1, release.bundle, 1, 1, "fetch"))
    staging.collect(tmp_path, [running])
    assert len(list((tmp_path / "partial").iterdir())) == 1
