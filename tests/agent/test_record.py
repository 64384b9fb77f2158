"""agent/record.py: the two-copy record."""

from pathlib import Path

import pytest

from agent import fsio, record
from littoral.errors import RecordError
from tests.durability.disk import BLOCK_BYTES, SimulatedDisk
from tests.durability.watched import WatchedDisk

SIMULATED = Path("/slots.dat")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "slots.dat"


def test_a_missing_record_is_none(path: Path) -> None:
    assert record.read(path) is None


def test_the_newest_write_is_read_back(path: Path) -> None:
    for number in range(5):
        record.write(path, {"number": number})
        assert record.read(path) == (number + 1, {"number": number})


def test_the_file_never_changes_its_length(path: Path) -> None:
    for number in range(3):
        record.write(path, {"text": "x" * 1000 * number})
        assert path.stat().st_size == 2 * record.COPY_BYTES


def test_a_torn_write_leaves_the_value_before_it(path: Path) -> None:
    record.write(path, {"number": 1})
    record.write(path, {"number": 2})
    before = path.read_bytes()
    record.write(path, {"number": 3})
    after = path.read_bytes()
    differs = [at for at in range(len(before)) if before[at] != after[at]]
    for torn_at in (differs[0] + 1, (differs[0] + differs[-1]) // 2, differs[-1]):
        path.write_bytes(after[:torn_at] + before[torn_at:])
        assert record.read(path) == (2, {"number": 2})


def test_a_bad_block_under_the_older_copy_is_no_loss(path: Path) -> None:
    record.write(path, {"number": 1})
    record.write(path, {"number": 2})
    data = bytearray(path.read_bytes())
    data[100:120] = bytes(20)
    path.write_bytes(data)
    assert record.read(path) == (2, {"number": 2})


def test_two_lost_copies_are_a_named_error_and_can_be_written_over(path: Path) -> None:
    path.write_bytes(b"\xff" * 2 * record.COPY_BYTES)
    with pytest.raises(RecordError):
        record.read(path)
    record.write(path, {"number": 7})
    found = record.read(path)
    assert found is not None
    assert found[1] == {"number": 7}


def test_a_value_that_does_not_fit_is_refused_and_changes_nothing(path: Path) -> None:
    record.write(path, {"number": 1})
    with pytest.raises(ValueError, match="at most"):
        record.write(path, {"text": "x" * record.COPY_BYTES})
    assert record.read(path) == (1, {"number": 1})


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SimulatedDisk:
    """A simulated disk with a record of two decisions at SIMULATED."""
    disk = SimulatedDisk()
    monkeypatch.setattr(fsio, "disk", disk)
    for number in (1, 2):
        record.write(SIMULATED, {"number": number})
    return disk


@pytest.mark.parametrize("copy", [0, 1])
def test_a_copy_that_the_disk_cannot_read_any_more_is_no_loss_of_the_other(disk: SimulatedDisk, copy: int) -> None:
    disk.unreadable.add((SIMULATED, copy * record.COPY_BYTES // BLOCK_BYTES))
    assert record.read(SIMULATED) == (2 - copy, {"number": 2 - copy})


def test_a_write_whose_sync_failed_does_not_count_and_the_next_one_takes_its_place(disk: SimulatedDisk) -> None:
    def fail(operation: str, path: Path) -> None:
        if operation == "sync":
            disk.lose(path)
            raise OSError(5, "Input/output error")

    fsio.disk = WatchedDisk(disk, fail)
    with pytest.raises(OSError, match="Input/output"):
        record.write(SIMULATED, {"number": 3})
    assert record.read(SIMULATED) == (2, {"number": 2})
    fsio.disk = disk
    record.write(SIMULATED, {"number": 4})
    fsio.disk = disk.after_power_cut(frozenset())
    assert record.read(SIMULATED) == (3, {"number": 4})


def test_a_first_write_whose_name_may_not_last_leaves_nothing(disk: SimulatedDisk) -> None:
    def fail(operation: str, path: Path) -> None:
        if operation == "sync_folder":
            raise OSError(5, "Input/output error")

    fsio.disk = WatchedDisk(disk, fail)
    with pytest.raises(OSError, match="Input/output"):
        record.write(Path("/new.dat"), {"number": 1})
    fsio.disk = disk
    assert record.read(Path("/new.dat")) is None
