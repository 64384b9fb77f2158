"""tests/durability/disk.py: the simulated disk does at a power cut what a real one may."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from agent import fsio, slots
from agent.slots import SlotRecord
from tests.durability.device import Device, Seen
from tests.durability.disk import BLOCK_BYTES, SimulatedDisk
from tests.durability.explore import STATE, fresh_disk, on
from tests.durability.story import STORIES

NOTHING: frozenset[int] = frozenset()
FILE = STATE / "file"


@pytest.fixture
def disk() -> SimulatedDisk:
    """With one durable file of two blocks."""
    disk = fresh_disk()
    disk.create(FILE, b"a" * 2 * BLOCK_BYTES, 0o644)
    disk.sync(FILE)
    disk.sync_folder(STATE)
    return disk


def contents(disk: SimulatedDisk) -> set[bytes]:
    """What the file may hold after a power cut, over all that may be kept."""
    unsynced = disk.unsynced()
    kept = [{each for n, each in enumerate(unsynced) if bits >> n & 1} for bits in range(2 ** len(unsynced))]
    return {left.read(FILE) for each in kept if _exists(left := disk.after_power_cut(each), FILE)}


def _exists(disk: SimulatedDisk, path: Path) -> bool:
    with on(disk):
        return fsio.exists(path)


def test_what_was_synced_is_never_lost(disk: SimulatedDisk) -> None:
    assert disk.unsynced() == []
    assert disk.after_power_cut(NOTHING).read(FILE) == b"a" * 2 * BLOCK_BYTES


def test_a_write_is_torn_between_blocks(disk: SimulatedDisk) -> None:
    disk.write(FILE, b"b" * BLOCK_BYTES, BLOCK_BYTES // 2)
    half = BLOCK_BYTES // 2
    old, new = b"a" * half, b"b" * half
    assert contents(disk) == {
        old + old + old + old,
        old + new + old + old,
        old + old + new + old,
        old + new + new + old,
    }


def test_a_file_written_anew_may_be_old_empty_zeros_torn_or_new(disk: SimulatedDisk) -> None:
    disk.create(FILE, b"b" * 2 * BLOCK_BYTES, 0o644)
    found = contents(disk)
    whole = 2 * BLOCK_BYTES
    mixed = b"a" * BLOCK_BYTES + b"b" * BLOCK_BYTES
    assert {b"a" * whole, b"", bytes(whole), bytes(BLOCK_BYTES) + b"b" * BLOCK_BYTES, mixed, b"b" * whole} <= found


def test_a_rename_may_be_kept_without_the_content_of_the_file(disk: SimulatedDisk) -> None:
    disk.create(STATE / "new", b"b" * BLOCK_BYTES, 0o644)
    disk.rename(STATE / "new", FILE)
    assert {b"", bytes(BLOCK_BYTES), b"a" * 2 * BLOCK_BYTES, b"b" * BLOCK_BYTES} <= contents(disk)


def test_a_rename_across_folders_may_lose_either_name(disk: SimulatedDisk) -> None:
    disk.make_folder(STATE / "folder", 0o755)
    disk.sync_folder(STATE)
    disk.rename(FILE, STATE / "folder/file")
    there, gone = disk.unsynced()
    for kept, names in (
        (NOTHING, (True, False)),
        ({there}, (True, True)),
        ({gone}, (False, False)),
        ({there, gone}, (False, True)),
    ):
        left = disk.after_power_cut(kept)
        assert (_exists(left, FILE), _exists(left, STATE / "folder/file")) == names


def test_a_removal_that_was_not_synced_may_come_back(disk: SimulatedDisk) -> None:
    disk.unlink(FILE)
    assert _exists(disk.after_power_cut(NOTHING), FILE)
    disk.sync_folder(STATE)
    assert not _exists(disk.after_power_cut(NOTHING), FILE)


def test_a_sync_that_failed_is_not_made_good_by_the_next_one(disk: SimulatedDisk) -> None:
    disk.write(FILE, b"b" * BLOCK_BYTES, 0)
    disk.lose(FILE)
    disk.write(FILE, b"c" * BLOCK_BYTES, BLOCK_BYTES)
    disk.sync(FILE)
    assert disk.read(FILE) == b"b" * BLOCK_BYTES + b"c" * BLOCK_BYTES
    assert disk.after_power_cut(NOTHING).read(FILE) == b"a" * BLOCK_BYTES + b"c" * BLOCK_BYTES


def test_a_full_disk_takes_no_new_block_and_overwrites_old_ones(disk: SimulatedDisk) -> None:
    disk.fill()
    with pytest.raises(OSError, match="space") as refused:
        disk.allocate(STATE / "new", 1)
    assert refused.value.errno == errno.ENOSPC
    disk.write(FILE, b"b", 0)


def test_a_read_only_disk_takes_nothing(disk: SimulatedDisk) -> None:
    disk.read_only = True
    attempts: tuple[Callable[[], None], ...] = (
        lambda: disk.write(FILE, b"b", 0),
        lambda: disk.unlink(FILE),
        lambda: disk.create(FILE, b"", 0),
    )
    for attempt in attempts:
        with pytest.raises(OSError, match="Read-only"):
            attempt()


def test_a_bad_block_cannot_be_read_and_the_others_can(disk: SimulatedDisk) -> None:
    disk.unreadable.add((FILE, 1))
    assert disk.read(FILE, 0, BLOCK_BYTES) == b"a" * BLOCK_BYTES
    with pytest.raises(OSError, match="Input/output"):
        disk.read(FILE)


def test_a_spoiled_file_is_spoiled_under_all_its_names(disk: SimulatedDisk) -> None:
    disk.link(FILE, STATE / "other")
    disk.spoil(FILE)
    assert disk.read(STATE / "other")[0] == ord("a") ^ 0xFF
    assert disk.links(FILE) == 2


def test_a_durable_decision_is_one_write_and_one_flush() -> None:
    disk = fresh_disk()
    with on(disk):
        path = STATE / "slots.dat"
        for number in range(3):
            slots.write(path, SlotRecord("cats", floor=number))
        flushes, blocks = disk.work.flushes, disk.work.blocks
        slots.write(path, SlotRecord("cats", floor=9))
    assert disk.work.flushes - flushes == 1
    assert (disk.work.blocks - blocks) * BLOCK_BYTES <= 2 * 4096


def test_an_update_costs_a_bounded_number_of_flushes_and_decisions() -> None:
    disk = fresh_disk()
    with on(disk):
        device = Device(STORIES[0], Seen(), STATE)
        for _ in STORIES[0].acts:
            flushes, decisions = disk.work.flushes, sum(device.seen.sequences.values())
            device.play_act()
            assert disk.work.flushes - flushes <= 40
            assert sum(device.seen.sequences.values()) - decisions <= 20
