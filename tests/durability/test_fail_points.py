"""A process that runs updates on a real folder is killed at each named operation, and started again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.durability.story import STORIES

ROOT = Path(__file__).parents[2]
SHORT = "a bad release"
POINTS = {  # some of those that have to be among them
    "write models/cats/slots.dat",
    "sync models/cats/slots.dat",
    "rename blobs/*",
    "link releases/.*.new/model",
    "rename releases/*",
    "unlink releases/.*.old/model",
    "rename desired.json",
    "write device.dat",
}


def killed_everywhere(folder: Path, story: str) -> list[tuple[str, int, str]]:
    command = [sys.executable, "-m", "tests.durability.launcher", "kill", str(folder), story]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_a_process_killed_at_any_named_operation_recovers(tmp_path: Path) -> None:
    kills = killed_everywhere(tmp_path, SHORT)
    assert [kill for kill in kills if kill[2]] == []
    points = {point for point, _, _ in kills}
    assert {
        "rename releases/*",
        "write models/cats/slots.dat",
        "sync models/cats/slots.dat",
        "link releases/.*.new/model",
    } <= points


@pytest.mark.long
@pytest.mark.parametrize("story", [story.name for story in STORIES if story.name != SHORT])
def test_a_process_killed_at_any_named_operation_of_any_story_recovers(story: str, tmp_path: Path) -> None:
    assert [kill for kill in killed_everywhere(tmp_path, story) if kill[2]] == []
