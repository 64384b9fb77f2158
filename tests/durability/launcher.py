"""Plays a story on a real folder in a process of its own; for tests only.

    python -m tests.durability.launcher play FOLDER STORY       until it ends, or somebody kills it
    python -m tests.durability.launcher hasty FOLDER STORY      the same, and nothing is ever synced
    python -m tests.durability.launcher kill FOLDER STORY       killed at each named operation, and started again

What the device has told is kept beside its state, in FOLDER/told.json, by rename. The last form prints a line of JSON
for each kill: [operation, how-manieth, "" or what broke].
"""

import json
import os
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from agent.fsio import Disk, FileSystem
from tests.durability.device import Device, Seen
from tests.durability.explore import on
from tests.durability.story import STORIES, Story
from tests.durability.watched import WatchedDisk, Watcher

_DIGEST = re.compile("[0-9a-f]{64}")


class HastyFileSystem(FileSystem):
    """Syncs nothing: what a process wrote outlives it anyway, though no power cut."""

    def sync(self, path: Path, metadata: bool = True) -> None:
        return

    def sync_folder(self, path: Path) -> None:
        return

    def sync_all(self, folder: Path) -> None:
        return


def story_of(name: str) -> Story:
    return next(story for story in STORIES if story.name == name)


def read_told(folder: Path) -> Seen:
    """What the device in `folder` has told so far."""
    try:
        value = json.loads((folder / "told.json").read_text())
    except FileNotFoundError:
        return Seen()
    return Seen(**{**value, "serving": frozenset(value["serving"]), "spoiled": frozenset(value["spoiled"])})


def play(folder: Path, story: Story, disk: Disk, watcher: Watcher = lambda operation, path: None) -> None:
    """The rest of the story of the device in `folder`. Raises BrokenError."""
    (folder / "state").mkdir(exist_ok=True)
    with on(WatchedDisk(disk, watcher)):
        device = Device(story, read_told(folder), folder / "state", tell=lambda seen: _write_told(folder, seen))
        while device.seen.act < len(story.acts):
            device.play_act()


def point_of(operation: str, path: Path, state: Path) -> str:
    """Name of an operation: what is done, and to which kind of file."""
    return f"{operation} {_DIGEST.sub('*', str(path.relative_to(state)))}"


def points(folder: Path, story: Story) -> dict[str, int]:
    """The named operations of a story, and how often each of them happens."""
    counts: Counter[str] = Counter()
    play(folder, story, HastyFileSystem(), lambda op, path: counts.update([point_of(op, path, folder / "state")]))
    return counts


def _kill_everywhere(folder: Path, story: Story) -> None:
    """Each operation at the first and at the last time it happens."""
    (folder / "whole").mkdir()
    for point, count in points(folder / "whole", story).items():
        for number in sorted({1, count}):
            place = folder / "killed"
            place.mkdir()
            status = _in_a_child(partial(_play_until_killed, place, story, point, number))
            problem = "" if os.WIFSIGNALED(status) else "it was not killed"
            if not problem and _in_a_child(partial(play, place, story, HastyFileSystem())):
                problem = "it did not recover"
            print(json.dumps([point, number, problem]), flush=True)
            shutil.rmtree(place)


def _play_until_killed(folder: Path, story: Story, point: str, number: int) -> None:
    left = number

    def watch(operation: str, path: Path) -> None:
        nonlocal left
        left -= point_of(operation, path, folder / "state") == point
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    play(folder, story, HastyFileSystem(), watch)


def _in_a_child(work: Callable[[], None]) -> int:
    """The wait status of a process that does it."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        work()
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def _write_told(folder: Path, seen: Seen) -> None:
    value = {**asdict(seen), "serving": sorted(seen.serving), "spoiled": sorted(seen.spoiled)}
    temporary = folder / "told.json.new"
    temporary.write_text(json.dumps(value))
    temporary.replace(folder / "told.json")


if __name__ == "__main__":
    what, where, name = sys.argv[1:]
    if what == "kill":
        _kill_everywhere(Path(where), story_of(name))
    else:
        play(Path(where), story_of(name), HastyFileSystem() if what == "hasty" else FileSystem())
