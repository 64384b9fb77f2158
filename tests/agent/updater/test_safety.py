"""agent/updater/safety.py: when an agent has started too often."""

from pathlib import Path

import pytest

from agent import record
from agent.updater.device import DeviceMemory
from agent.updater.safety import CALM_S, LEAVE_S, MANY_STARTS, SafeMode


def start(state: Path, now: float = 0.0) -> SafeMode:
    return SafeMode(DeviceMemory(state, "main", "farm-1"), now)


def starts(state: Path) -> int:
    return DeviceMemory(state, "main", "farm-1").record.starts


def crash_loop(state: Path) -> SafeMode:
    for _ in range(MANY_STARTS - 1):
        assert not start(state).active
    return start(state)


def test_the_fifth_start_in_a_row_is_in_safe_mode(tmp_path: Path) -> None:
    safety = crash_loop(tmp_path)
    assert safety.active
    assert "safe mode" in safety.warning
    assert start(tmp_path).active


def test_an_agent_that_lasted_has_forgotten_its_starts(tmp_path: Path) -> None:
    safety = start(tmp_path, now=100.0)
    safety.tick(100.0 + CALM_S - 1)
    assert starts(tmp_path) == 1
    safety.tick(100.0 + CALM_S)
    assert starts(tmp_path) == 0
    assert safety.warning == ""


def test_safe_mode_is_left_after_an_hour_and_not_before(tmp_path: Path) -> None:
    safety = crash_loop(tmp_path)
    active = []
    for now in (LEAVE_S - 1, LEAVE_S):
        safety.tick(now)
        active.append(safety.active)
    assert active == [True, False]
    assert not start(tmp_path).active


def test_a_crash_in_safe_mode_comes_back_into_it(tmp_path: Path) -> None:
    safety = crash_loop(tmp_path)
    safety.tick(CALM_S + 1)
    assert start(tmp_path).active


def test_something_newer_ends_safe_mode_at_once(tmp_path: Path) -> None:
    safety = crash_loop(tmp_path)
    safety.heard_newer()
    assert not safety.active
    assert starts(tmp_path) == 0


def test_something_newer_forgets_no_starts_outside_of_safe_mode(tmp_path: Path) -> None:
    safety = start(tmp_path)
    safety.heard_newer()
    assert starts(tmp_path) == 1


def test_an_agent_that_is_stopped_has_not_crashed(tmp_path: Path) -> None:
    for _ in range(3 * MANY_STARTS):
        safety = start(tmp_path)
        assert not safety.active
        safety.stopped()
    crash_loop(tmp_path).stopped()
    assert start(tmp_path).active


def test_a_crash_loop_writes_no_more_than_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash_loop(tmp_path)
    monkeypatch.setattr(record, "write", lambda path, value: pytest.fail("it was written again"))
    for _ in range(100):
        assert start(tmp_path).active


def test_a_disk_that_takes_nothing_stops_no_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "read-only file system")

    monkeypatch.setattr(record, "write", refuse)
    safety = start(tmp_path)
    assert not safety.active
    safety.tick(CALM_S)
    safety.stopped()
