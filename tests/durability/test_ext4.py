"""The same on a real ext4: copied at arbitrary instants, each copy mounted anew and gone on from."""

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import fsio, slots
from agent.slots import SlotRecord
from tests.durability import launcher
from tests.durability.device import Device, Seen
from tests.durability.ext4 import Ext4, why_not
from tests.durability.story import STORIES, Story

ROOT = Path(__file__).parents[2]
DECISIONS = 50
pytestmark = pytest.mark.root


@pytest.fixture
def disk(tmp_path: Path) -> Ext4:
    reason = why_not(tmp_path)
    if reason:
        pytest.skip(reason)
    disk = Ext4(tmp_path / "disk.img", tmp_path / "disk")
    disk.make()
    return disk


def test_a_durable_decision_is_at_most_two_block_writes_and_one_flush(disk: Ext4) -> None:
    with disk.mounted() as folder:
        path = folder / "slots.dat"
        for number in range(3):
            slots.write(path, SlotRecord("cats", floor=number))
        fsio.settle(folder)
        before = disk.traffic()
        for number in range(DECISIONS):
            slots.write(path, SlotRecord("cats", floor=number))
        after = disk.traffic()
    assert after.flushes - before.flushes <= DECISIONS + 2  # two: of the journal, which may end a turn of its own
    assert after.written_bytes - before.written_bytes <= 2 * 4096 * DECISIONS


@pytest.mark.parametrize("story", STORIES[:1], ids=lambda story: story.name)
def test_an_ext4_copied_at_any_instant_is_gone_on_from(story: Story, disk: Ext4, tmp_path: Path) -> None:
    assert broken_copies(story, disk, tmp_path, plays=1, most=25) == []


def test_the_copies_show_it_when_nothing_is_synced(disk: Ext4, tmp_path: Path) -> None:
    assert broken_copies(STORIES[0], disk, tmp_path, plays=1, most=10, how="hasty") != []


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_an_ext4_copied_at_any_of_many_instants_is_gone_on_from(story: Story, disk: Ext4, tmp_path: Path) -> None:
    assert broken_copies(story, disk, tmp_path, plays=8, most=300) == []


def broken_copies(story: Story, disk: Ext4, folder: Path, plays: int, most: int, how: str = "play") -> list[str]:
    """What was found on the copies that broke a promise."""
    copies: list[tuple[Seen, bytes]] = []
    for _ in range(plays):
        disk.make()
        copies += _copies(story, disk, folder, how)
    random.Random(0).shuffle(copies)
    assert len(copies) >= plays
    return [problem for seen, copy in copies[:most] if (problem := _problem(story, seen, copy, folder))]


def _copies(story: Story, disk: Ext4, folder: Path, how: str) -> Iterator[tuple[Seen, bytes]]:
    """(what was told by then, the disk) at as many instants of a story as there is time for."""
    with disk.mounted() as mounted:
        (mounted / "state").mkdir()
        fsio.settle(mounted)
        told = folder / "told"
        shutil.rmtree(told, ignore_errors=True)
        told.mkdir()
        (told / "state").symlink_to(mounted / "state")
        command = [sys.executable, "-m", "tests.durability.launcher", how, str(told), story.name]
        with subprocess.Popen(command, cwd=ROOT) as process:
            while process.poll() is None:
                if not (told / "told.json").exists():
                    time.sleep(0.001)
                    continue
                seen = launcher.read_told(told)
                copy = disk.copy()
                after = launcher.read_told(told)
                if (after.act, after.begun, after.spoiled) == (seen.act, seen.begun, seen.spoiled):
                    yield seen, copy  # else nobody knows what was wanted of it at that moment
            assert process.returncode == 0


def _problem(story: Story, seen: Seen, copy: bytes, folder: Path) -> str:
    left = Ext4(folder / "copy.img", folder / "copy")
    left.image.write_bytes(copy)
    with left.mounted() as mounted:
        try:
            device = Device(story, seen, mounted / "state")
            while device.seen.act < len(story.acts):
                device.play_act()
        except Exception as error:
            return f"act {seen.act}: {type(error).__name__}: {error}"
    return ""
