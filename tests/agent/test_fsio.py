"""agent/fsio.py: the one door for durable writes."""

import os
from pathlib import Path

import pytest

from agent import fsio


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced, in order: names of files and folders."""
    seen: list[str] = []

    def note(descriptor: int) -> None:
        seen.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "fdatasync", note)
    return seen


def test_a_written_file_is_synced_before_its_folder(tmp_path: Path, synced: list[str]) -> None:
    fsio.write_file(tmp_path / "file", b"data", mode=0o600)
    assert synced == [".file.new", tmp_path.name]
    assert (tmp_path / "file").read_bytes() == b"data"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_rename_across_folders_syncs_both(tmp_path: Path, synced: list[str]) -> None:
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    (tmp_path / "from/file").write_bytes(b"data")
    fsio.rename(tmp_path / "from/file", tmp_path / "to/file")
    assert sorted(synced) == ["from", "to"]


def test_a_new_folder_is_named_durably(tmp_path: Path, synced: list[str]) -> None:
    fsio.make_folder(tmp_path / "one/two")
    assert synced == [tmp_path.name, "one"]
    fsio.make_folder(tmp_path / "one/two")
    assert len(synced) == 2


def test_a_write_into_a_file_syncs_its_data(tmp_path: Path, synced: list[str]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    fsio.write_at(path, b"ab", 4)
    assert path.read_bytes() == b"0123ab6789"
    assert synced == ["file"]


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    fsio.remove(tmp_path / "none")
    (tmp_path / "folder/in").mkdir(parents=True)
    fsio.remove(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"data")
    for _ in range(2):
        fsio.link(tmp_path / "blob", tmp_path / "named")
    assert (tmp_path / "blob").stat().st_nlink == 2
