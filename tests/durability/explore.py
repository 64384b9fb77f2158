"""Cuts the power at every operation of a story, and again at every operation of what comes after, and looks.

Every state of the disk that a power cut may leave is a new device, which starts, goes on to the end of its story and
has to keep every promise on the way (device.py).
"""

import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent import fsio, record
from tests.durability.around import Around
from tests.durability.device import Device, Seen
from tests.durability.disk import SimulatedDisk
from tests.durability.story import Story
from tests.durability.watched import WatchedDisk

STATE = Path("/state")
ALL_OF = 4  # as many unsynced changes are kept and lost in every combination
SINGLY = 12  # of more, as many are kept alone and lost alone
BY_CHANCE = 4


@dataclass(frozen=True, slots=True)
class Start:
    """A device to be started: its disk, what was told of it, how it came here."""

    disk: SimulatedDisk
    seen: Seen
    path: tuple[str, ...] = ()
    around: Around | None = None  # it went on: only the agent was killed


@dataclass(slots=True)
class Found:
    """states: crash states that a device was started from. bad: what broke, and how it came to it."""

    states: int = 0
    bad: list[str] = field(default_factory=list)


@contextmanager
def on(disk: fsio.Disk) -> Iterator[None]:
    """Everything durable goes to this disk."""
    before, fsio.disk = fsio.disk, disk
    try:
        yield
    finally:
        fsio.disk = before


def fresh_disk() -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_folder(STATE, 0o755)
    disk.sync_folder(Path("/"))
    return disk


def choices(unsynced: list[int], chance: random.Random) -> Iterator[frozenset[int]]:
    """Which of the unsynced changes a power cut keeps: every combination of a few; else none, all, each beginning (as
    a journal keeps them), all but one, only one, and some by chance."""
    if len(unsynced) <= ALL_OF:
        for count in range(len(unsynced) + 1):
            yield from map(frozenset, itertools.combinations(unsynced, count))
        return
    everything = frozenset(unsynced)
    some = unsynced if len(unsynced) <= SINGLY else sorted(chance.sample(unsynced, SINGLY))
    yield frozenset()
    yield everything
    for each in some:
        yield frozenset(before for before in unsynced if before < each)
        yield everything - {each}
        yield frozenset({each})
    for _ in range(BY_CHANCE):
        yield frozenset(each for each in unsynced if chance.random() < 0.5)


class Explorer:
    """One story.

    first: how many of the states are looked at that a crash may leave; all of them unless told otherwise. share: of
    these, so many are crashed again at every operation of their recovery, and `again` of what that may leave are looked
    at too. killed: only those after which the agent alone was killed.
    """

    def __init__(
        self,
        story: Story,
        seed: int = 0,
        first: int | None = None,
        share: float = 0.0,
        again: int = 0,
        killed: bool = False,
    ) -> None:
        self.found = Found()
        self._story = story
        self._chance = random.Random(seed)
        self._first = first
        self._share = share
        self._again = again
        self._killed = killed
        self._started: set[int] = set()
        self._gone_on: set[int] = set()

    def run(self) -> Found:
        """Ends at the first state that breaks a promise."""
        crashes = self._play(Start(fresh_disk(), Seen()), crashing=True)
        starts = [start for start in crashes if start.around is not None or not self._killed]
        self._chance.shuffle(starts)
        for start in starts[: self._first]:
            self.found.states += 1
            second = self._play(start, crashing=self._chance.random() < self._share)
            for each in self._chance.sample(second, min(self._again, len(second))):
                self.found.states += 1
                self._play(each, crashing=False)
            if self.found.bad:
                break
        return self.found

    def _play(self, start: Start, crashing: bool) -> list[Start]:
        """A device's life from `start` to the end of the story; gives the states that a crash may leave on the way."""
        crashes: list[Start] = []
        device: Device | None = None
        seen = start.seen

        def watch(operation: str, path: Path) -> None:
            if device is not None:
                device.wrote(operation, path)
            if crashing and not (device is not None and device.spoiling):
                now = device.seen if device is not None else seen
                where = (*start.path, f"act {now.act}, before {operation} {_short(path)}")
                crashes.extend(self._crashes(disk, now, where, device))

        disk = start.disk
        with on(WatchedDisk(disk, watch)):
            try:
                device = Device(self._story, start.seen, STATE, start.around)
                while device.seen.act < len(self._story.acts):
                    device.play_act()
                    if self._known(device, disk) and not crashing:
                        break
            except Exception as error:
                self.found.bad.append(f"{self._story.name}: {'; '.join(start.path)}: {type(error).__name__}: {error}")
        return crashes

    def _crashes(self, disk: SimulatedDisk, seen: Seen, where: tuple[str, ...], device: Device | None) -> list[Start]:
        starts = []
        if seen.act >= len(self._story.acts):
            return []
        for kept in choices(disk.unsynced(), self._chance):
            left = disk.after_power_cut(kept)
            if self._is_new(left, seen):
                starts.append(Start(left, seen, (*where, f"kept {len(kept)}"), None))
        if device is not None:
            killed = disk.copy()
            around = Around()
            around.runtime.serving = dict(device.runtime.serving)
            starts.append(Start(killed, seen, (*where, "agent killed"), around))
        return starts

    def _is_new(self, left: SimulatedDisk, seen: Seen) -> bool:
        key = hash((seen.act, seen.begun, tuple(left.files())))
        if key in self._started:
            return False
        self._started.add(key)
        return True

    def _known(self, device: Device, disk: SimulatedDisk) -> bool:
        """Whether the story was gone on with already from what the disk holds now."""
        if disk.unsynced() or device.updates.busy:
            return False
        files = tuple((path, _meaning(path, data)) for path, data in disk.files())
        key = hash((device.seen.act, files))
        known = key in self._gone_on
        self._gone_on.add(key)
        return known


def _meaning(path: str, data: bytes | None) -> object:
    """What a file says, without what only counts its writes."""
    if data is None or not path.endswith(".dat"):
        return data
    found = record.read(Path(path))
    return found and repr(found[1])


def _short(path: Path) -> str:
    return "/".join(part[:14] for part in path.parts[2:])
