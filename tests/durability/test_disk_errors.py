"""The disk refuses one operation of a story, whichever it is, and the power is cut at one of the next."""

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.durability.device import Device, Seen
from tests.durability.disk import SimulatedDisk
from tests.durability.explore import STATE, fresh_disk, on
from tests.durability.story import STORIES, Story
from tests.durability.watched import WatchedDisk

NOTHING: frozenset[int] = frozenset()


@dataclass(slots=True)
class Refused:
    """A story whose `number`-th operation fails. `cuts` of the operations after it are cut short, each on a disk of its
    own; what a sync that failed was to cover is never made durable by a later one.
    """

    story: Story
    number: int
    cuts: int
    count: int = 0
    where: str = ""
    left: list[tuple[str, SimulatedDisk, Seen]] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)

    def play(self) -> None:
        disk = fresh_disk()
        device: Device | None = None

        def watch(operation: str, path: Path) -> None:
            if device is None or not device.spoiling:
                self._watch(disk, device.seen if device is not None else Seen(), f"{operation} {path.name[:20]}", path)

        with on(WatchedDisk(disk, watch)):
            try:
                device = Device(self.story, Seen(), STATE)
                _play_on(device)
            except Exception as error:
                self.bad.append(f"{self.where}: {type(error).__name__}: {error}")
        for where, left, seen in self.left:
            with on(left):
                try:
                    _play_on(Device(self.story, seen, STATE))
                except Exception as error:
                    self.bad.append(f"{self.where}, cut before {where}: {type(error).__name__}: {error}")

    def _watch(self, disk: SimulatedDisk, seen: Seen, what: str, path: Path) -> None:
        self.count += 1
        if self.count == self.number:
            self.where = f"act {seen.act}, {what} fails"
            if what.startswith("sync "):
                disk.lose(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        if self.number < self.count <= self.number + self.cuts:
            self.left.append((what, disk.after_power_cut(NOTHING), seen))


def broken(story: Story, every: int, cuts: int) -> list[str]:
    """What broke, over every `every`-th operation of a story."""
    found = []
    number = 1
    while True:
        refused = Refused(story, number, cuts)
        refused.play()
        found += refused.bad
        if refused.count < number:
            return found
        number += every


def _play_on(device: Device) -> None:
    while device.seen.act < len(device.story.acts):
        device.play_act()


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_an_operation_that_fails_once_breaks_no_promise(story: Story) -> None:
    assert broken(story, every=17, cuts=1) == []


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_no_operation_that_fails_once_breaks_a_promise_whenever_the_power_is_cut(story: Story) -> None:
    assert broken(story, every=1, cuts=12) == []
