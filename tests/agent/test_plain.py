"""agent/plain.py: what a device is doing, said to a person."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from agent import plain
from agent.slots import Slot, SlotRecord, Update
from agent.updater.clock import BUILT_AT
from agent.updater.machine import State

NOW = BUILT_AT + 1_000_000.0
SERVED = SlotRecord("cats", a=Slot(2, "a" * 64, "2.0", 1, "low"), active="a", stage="committed")
QUIET: dict[str, Any] = {
    "detail": "",
    "code": "",
    "left_s": None,
    "fetched_bytes": 0,
    "total_bytes": 0,
    "watch": "",
}


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The device stands in Greenwich."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def updating(state: str, **changes: Any) -> SlotRecord:
    return replace(SERVED, update=Update(4, "d" * 64, 1, 9, state, since=int(NOW) - 4_000, **changes))


@pytest.mark.parametrize("state", [state.value for state in State if state is not State.IDLE])
def test_every_state_has_plain_words(state: str) -> None:
    said = plain.sentence(updating(state))
    assert said.startswith("release 2 (2.0) is served, committed with evidence low; update to release 4, attempt 1: ")
    assert not said.endswith(f"{state}: {state}")


def test_it_says_since_when_and_until_when_and_why() -> None:
    situation = QUIET | {"detail": "waiting for chunks", "code": "no-answer", "left_s": 90_061}
    situation |= {"fetched_bytes": 5, "total_bytes": 9}
    assert plain.account(updating("fetch"), situation, NOW) == [
        "in this state since 2026-11-12 12:40, for 1 h 6 min",
        "waiting for chunks (no-answer)",
        "5 of 9 bytes are here",
        "this may take 1 d 1 h more, then it is given up, and tried again later",
    ]


def test_what_may_take_any_time_says_so() -> None:
    situation = QUIET | {"detail": "outside of the window sun 02:00-05:00"}
    assert plain.account(updating("ready"), situation, NOW)[1:] == [
        "outside of the window sun 02:00-05:00",
        "it may wait for this as long as it takes",
    ]


def test_a_clock_that_was_wrong_when_it_began_says_nothing() -> None:
    early = updating("fetch")
    assert early.update is not None
    early = replace(early, update=replace(early.update, since=1_000))
    assert plain.account(early, None, NOW) == []
    assert plain.account(updating("fetch"), None, 1_000.0) == []


def test_the_watch_after_a_commit_is_told() -> None:
    situation = QUIET | {"watch": "3 of 600 s healthy, 0 of 100 answers"}
    assert plain.account(SERVED, situation, NOW) == [
        "watched on until its evidence is full: 3 of 600 s healthy, 0 of 100 answers"
    ]


def test_a_trial_whose_agent_is_away_says_what_was_written_down() -> None:
    trial = replace(updating("probation"), stage="trial", a=Slot(2, "a" * 64, "2.0", healthy_s=75, answers=9))
    assert plain.account(trial, None, NOW)[-1] == "75 s healthy and 9 answers when that was last written down"


@pytest.mark.parametrize(
    ("state", "words"), [("probation", "evidence low"), ("rollback", "counts as stuck"), ("commit", "asked again")]
)
def test_a_deadline_says_what_comes_then(state: str, words: str) -> None:
    assert words in plain.account(updating(state), QUIET | {"left_s": 60}, NOW)[-1]


def test_a_local_wish_and_a_removal_are_told() -> None:
    assert "wished for at this device" in plain.sentence(updating("plan", local=True))
    assert "it is removed" in plain.sentence(replace(SERVED, removing=True))


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3_600, "1 h"), (200_000, "2 d 7 h")]
)
def test_a_span_is_told_to_two_units(seconds: float, words: str) -> None:
    assert plain.span(seconds) == words
