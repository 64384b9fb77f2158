"""agent/updater/staging.py: releases on disk."""

from pathlib import Path

import pytest

from agent import fsio, slots
from agent.slots import Slot, SlotRecord, Update
from agent.updater import staging
from littoral.bundle import chunks
from littoral.errors import DigestError, ManifestError
from tests.agent.updater.fakes import Release, make_release


def fetched(state: Path, release: Release) -> None:
    """As a complete fetch leaves it."""
    (state / "partial").mkdir(exist_ok=True)
    for role, blob in release.manifest.blobs.items():
        (state / "partial" / blob.sha256).write_bytes(release.blobs[role])


def lists_of(release: Release) -> dict[str, tuple[str, ...]]:
    size = release.manifest.chunk_bytes
    return {role: tuple(map(chunks.digest_of, chunks.split(data, size))) for role, data in release.blobs.items()}


def stage(state: Path, release: Release) -> None:
    fetched(state, release)
    staging.stage(state, release.encoded, release.manifest, release.bundle, lists_of(release))


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
    liar = Release(release.manifest, {"model": b"x" * release.manifest.blobs["model"].length})
    with pytest.raises(ManifestError):
        stage(tmp_path, liar)
    assert not staging.is_staged(tmp_path, release.bundle)
    assert list((tmp_path / "partial").iterdir()) == []


def test_a_chunk_that_the_disk_spoils_after_it_came_is_not_held_against_the_release(tmp_path: Path) -> None:
    release = make_release(1)
    fetched(tmp_path, release)
    (partial,) = (tmp_path / "partial").iterdir()
    partial.write_bytes(b"?" + partial.read_bytes()[1:])
    with pytest.raises(DigestError):
        staging.stage(tmp_path, release.encoded, release.manifest, release.bundle, lists_of(release))
    assert partial.exists()  # its other chunks need not come again


def test_a_release_whose_files_are_spoiled_goes_though_its_blobs_came_again(tmp_path: Path) -> None:
    release = make_release(1)
    stage(tmp_path, release)
    (blob,) = (tmp_path / "blobs").iterdir()
    blob.write_bytes(b"?" + blob.read_bytes()[1:])
    blob.unlink()
    blob.write_bytes(release.blobs["model"])
    staging.drop_damaged(tmp_path, release.manifest, release.bundle)
    assert not staging.is_staged(tmp_path, release.bundle)
    assert blob.exists()


def test_a_release_goes_by_rename_before_its_files_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = make_release(1)
    stage(tmp_path, release)

    def refuse(path: Path) -> None:
        raise OSError(5, "the power fails here")

    monkeypatch.setattr(fsio.FileSystem, "remove_folder", lambda self, path: refuse(path))
    with pytest.raises(OSError, match="fails here"):
        staging.collect(tmp_path, [])
    assert not slots.release_folder(tmp_path, release.bundle).exists()
    monkeypatch.undo()
    staging.collect(tmp_path, [])
    assert list((tmp_path / "releases").iterdir()) == []


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


def test_a_release_whose_name_may_not_last_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = make_release(1)
    fetched(tmp_path, release)
    rename = fsio.rename

    def rename_and_fail(source: Path, target: Path) -> None:
        rename(source, target)
        if target.parent.name == "releases" and not target.name.startswith("."):
            raise OSError(5, "the sync fails here")

    monkeypatch.setattr(fsio, "rename", rename_and_fail)
    with pytest.raises(OSError, match="fails here"):
        staging.stage(tmp_path, release.encoded, release.manifest, release.bundle, lists_of(release))
    assert not staging.is_staged(tmp_path, release.bundle)
    monkeypatch.undo()
    staging.stage(tmp_path, release.encoded, release.manifest, release.bundle, lists_of(release))
    assert staging.is_staged(tmp_path, release.bundle)
