"""The story goes on only as long as every step holds."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from examples.demo import story
from examples.demo.assets import Assets
from examples.demo.fleet import Fleet
from examples.demo.processes import DemoError
from examples.demo.stage import Stage
from examples.demo.terminal import Terminal


def holds(stage: Stage) -> str:
    return "0 of 7 dropped"


def fails(stage: Stage) -> str:
    raise DemoError("edge-1 dropped a question")


def told(folder: Path, assets: Assets) -> tuple[bool, str]:
    said = io.StringIO()
    terminal = Terminal(said)
    return story.tell(Stage(terminal, Fleet(folder, terminal), assets)), said.getvalue()


def test_a_story_of_which_every_step_held_has_held(
    tmp_path: Path, assets: Assets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "STEPS", (("one", holds), ("two", holds)))
    held, said = told(tmp_path, assets)
    assert held
    assert said.count("0 of 7 dropped") == 2


def test_a_step_that_does_not_hold_ends_the_story_and_says_why(
    tmp_path: Path, assets: Assets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "STEPS", (("one", holds), ("two", fails), ("three", holds)))
    held, said = told(tmp_path, assets)
    assert not held
    assert "! This step did not hold: edge-1 dropped a question" in said
    rows = [line.split()[:3] for line in said.splitlines()[-3:]]
    assert rows == [["1", "one", "yes"], ["2", "two", "no"], ["3", "three", "-"]]
    assert said.count("0 of 7 dropped") == 1
