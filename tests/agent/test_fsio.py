"""agent/fsio.py: the one door to the disk."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent import fsio
from tests.durability.disk import SimulatedDisk


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced, in order: names of files and folders."""
    seen: list[str] = []

    def note(descriptor: int) -> None:
        seen.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "fdatasync", note)
    return seen


@pytest.fixture(params=["a file system", "the simulated disk"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on either disk: both have to do the same."""
    if request.param == "a file system":
        return tmp_path
    monkeypatch.setattr(fsio, "disk", SimulatedDisk())
    fsio.make_folder(Path("/folder"))
    return Path("/folder")


# --- what is synced ---------------------------------------------------------------------------------------------


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


def test_a_folder_whose_name_may_not_last_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        fsio.make_folder(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_write_into_a_file_syncs_its_data(tmp_path: Path, synced: list[str]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    fsio.write_at(path, b"ab", 4)
    assert path.read_bytes() == b"0123ab6789"
    assert synced == ["file"]


def test_a_removal_is_synced_once(tmp_path: Path, synced: list[str]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_bytes(b"data")
    fsio.remove(tmp_path / "folder")
    assert synced == [tmp_path.name]


def test_what_is_put_linked_and_allocated_is_not_synced(tmp_path: Path, synced: list[str]) -> None:
    fsio.allocate(tmp_path / "partial", 8_192)
    fsio.put(tmp_path / "partial", b"piece", 4_096)
    fsio.link(tmp_path / "partial", tmp_path / "named")
    assert synced == []
    fsio.sync_file(tmp_path / "partial")
    fsio.sync_folder(tmp_path)
    assert synced == ["partial", tmp_path.name]


def test_an_allocated_file_has_all_its_blocks(tmp_path: Path) -> None:
    fsio.allocate(tmp_path / "partial", 1_000_000)
    assert (tmp_path / "partial").stat().st_blocks * 512 >= 1_000_000


def test_settling_takes_in_what_another_process_wrote(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    fsio.settle(tmp_path)
    with pytest.raises(FileNotFoundError):
        fsio.settle(tmp_path / "none")


# --- the same on both disks -------------------------------------------------------------------------------------


def test_a_file_is_read_whole_in_part_and_in_pieces(folder: Path) -> None:
    fsio.write_file(folder / "file", b"0123456789")
    assert fsio.read(folder / "file") == b"0123456789"
    assert fsio.read(folder / "file", 3, 4) == b"3456"
    assert fsio.read(folder / "file", 8, 4) == b"89"
    assert fsio.read(folder / "file", 20, 4) == b""
    assert list(fsio.pieces(folder / "file", 4)) == [b"0123", b"4567", b"89"]
    assert fsio.digest_of(folder / "file") == hashlib.sha256(b"0123456789").hexdigest()
    assert fsio.size(folder / "file") == 10


def test_what_is_there_exists_and_what_is_not_does_not(folder: Path) -> None:
    fsio.write_new(folder / "file", b"")
    assert fsio.exists(folder)
    assert fsio.exists(folder / "file")
    assert not fsio.exists(folder / "none")
    assert not fsio.exists(folder / "file/below")
    with pytest.raises(FileNotFoundError):
        fsio.read(folder / "none")


def test_names_are_in_order_and_none_in_no_folder(folder: Path) -> None:
    for name in ("b", "a"):
        fsio.write_new(folder / name, b"")
    assert fsio.names(folder) == ["a", "b"]
    assert fsio.names(folder / "none") == []
    assert fsio.names(folder / "a") == []


def test_a_file_written_again_has_its_new_content_only(folder: Path) -> None:
    fsio.write_file(folder / "file", b"a long one")
    fsio.write_file(folder / "file", b"short")
    assert fsio.read(folder / "file") == b"short"
    assert fsio.names(folder) == ["file"]


def test_a_piece_is_put_where_it_belongs(folder: Path) -> None:
    fsio.allocate(folder / "file", 2_000)
    fsio.put(folder / "file", b"x" * 1_000, 700)
    assert fsio.read(folder / "file") == bytes(700) + b"x" * 1_000 + bytes(300)


def test_a_link_that_is_there_is_left_alone(folder: Path) -> None:
    fsio.write_new(folder / "blob", b"data")
    for _ in range(2):
        fsio.link(folder / "blob", folder / "named")
    assert fsio.links(folder / "blob") == 2
    fsio.remove(folder / "blob")
    assert fsio.read(folder / "named") == b"data"
    assert fsio.links(folder / "named") == 1


def test_removing_takes_whole_folders_and_minds_nothing_that_is_missing(folder: Path) -> None:
    fsio.remove(folder / "none")
    fsio.make_folder(folder / "one/two")
    fsio.write_new(folder / "one/two/file", b"data")
    fsio.remove(folder / "one")
    assert fsio.names(folder) == []


def test_a_rename_takes_the_place_of_a_file(folder: Path) -> None:
    fsio.make_folder(folder / "to")
    fsio.write_new(folder / "file", b"new")
    fsio.write_new(folder / "to/file", b"old")
    fsio.rename(folder / "file", folder / "to/file")
    assert fsio.read(folder / "to/file") == b"new"
    assert fsio.names(folder) == ["to"]


def test_a_missing_file_cannot_be_renamed_linked_written_or_synced(folder: Path) -> None:
    attempts: tuple[Callable[[], None], ...] = (
        lambda: fsio.rename(folder / "none", folder / "other"),
        lambda: fsio.link(folder / "none", folder / "other"),
        lambda: fsio.put(folder / "none", b"data", 0),
        lambda: fsio.sync_file(folder / "none"),
    )
    for attempt in attempts:
        with pytest.raises(FileNotFoundError):
            attempt()


def test_room_is_told_of_the_disk(folder: Path) -> None:
    assert fsio.free_bytes(folder) > 0
