"""One run of a health check, whatever it does: real scripts in real processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.health.process import MARK, MAX_TEXT_BYTES, MEMORY_BYTES, CheckProcess, first_line
from tests.agent.runtime.device import until

LONGEST_S = 60.0

Start = Callable[..., CheckProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a script; ended with the test."""
    started: list[CheckProcess] = []

    def make(script: str, timeout_s: float = LONGEST_S, **environment: str) -> CheckProcess:
        path = tmp_path / f"check-{len(started)}"
        path.write_text(script)
        path.chmod(0o755)
        known = {"PATH": os.environ["PATH"], "HERE": str(tmp_path), MARK: tmp_path.name}
        started.append(CheckProcess(path, known | environment, time.monotonic(), timeout_s))
        return started[-1]

    yield make
    for each in started:
        if not each.gone():
            each.end()


def ended(process: CheckProcess) -> int:
    """Its status, asked as the agent's loop does."""
    found: list[int] = []

    def over() -> bool:
        status = process.poll(time.monotonic())
        found.extend([] if status is None else [status])
        return bool(found)

    until(over, "the end of a check")
    until(process.gone, "the kernel to be rid of it")
    return found[0]


def lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def pid_in(path: Path) -> int:
    """The number that a script wrote there."""
    until(lambda: path.exists() and path.read_text().endswith("\n"), f"{path.name}")
    return int(path.read_text())


@pytest.mark.parametrize("status", [0, 1, 2, 75, 255])
def test_its_status_is_that_of_the_script(start: Start, status: int) -> None:
    assert ended(start(f"#!/bin/sh\nexit {status}\n")) == status


def test_the_first_line_that_says_something_is_kept(start: Start) -> None:
    process = start("#!/bin/sh\necho; echo '  the lamp is off' >&2; echo more; exit 1\n")
    assert (ended(process), process.text) == (1, "the lamp is off")


def test_a_script_that_says_nothing_is_told_by_how_it_ended(start: Start) -> None:
    silent = start("#!/bin/sh\nexit 3\n")
    assert (ended(silent), silent.text) == (3, "status 3")
    killed = start("#!/bin/sh\nkill -SEGV $$\n")
    assert (ended(killed), killed.text) == (-signal.SIGSEGV, f"it was ended by signal {signal.SIGSEGV.value}")


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (b"", ""),
        (b"\n \t\r\n", ""),
        (b"\x1b[31mred\x1b[0m\x07", "[31mred[0m"),
        (b"caf\xe9\n", "caf�"),
        ("left\u202eright".encode(), "leftright"),
        (b"y" * 4_096, "y" * (MAX_TEXT_BYTES - 3) + "…"),
        ("é".encode() * 200, "é" * 98 + "…"),
    ],
)
def test_the_text_is_short_and_holds_no_control_characters(output: bytes, text: str) -> None:
    assert first_line(output) == text
    assert len(text.encode()) <= MAX_TEXT_BYTES


def test_one_that_hangs_and_ignores_sigterm_is_ended_with_all_its_group(start: Start, tmp_path: Path) -> None:
    script = '#!/bin/sh\ntrap "" TERM HUP INT\nsleep 1000 &\necho $! > "$HERE/child"\nwait\nsleep 1000\n'
    process = start(script)
    child = pid_in(tmp_path / "child")
    assert process.poll(time.monotonic()) is None
    status = process.poll(time.monotonic() + LONGEST_S)
    assert (status, process.text) == (-signal.SIGKILL, f"it took over {LONGEST_S:g} s and was ended")
    until(process.gone, "its end")
    until(lambda: not lives(child), "the end of its child")


def test_a_child_that_forked_away_and_holds_its_output_keeps_nobody_waiting(start: Start, tmp_path: Path) -> None:
    daemon = """#!/usr/bin/env python3
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open(os.environ["HERE"] + "/child", "w") as file:
            print(os.getpid(), file=file)
        time.sleep(1000)
    os._exit(0)
while not os.path.exists(os.environ["HERE"] + "/child") or not os.path.getsize(os.environ["HERE"] + "/child"):
    pass
print("started", flush=True)
os._exit(0)
"""
    process = start(daemon)
    assert (ended(process), process.text) == (0, "started")
    child = pid_in(tmp_path / "child")
    until(lambda: not lives(child), "the end of what it left behind")


def test_what_it_leaves_in_its_group_ends_with_it(start: Start, tmp_path: Path) -> None:
    process = start('#!/bin/sh\nsleep 1000 &\necho $! > "$HERE/child"\nexit 1\n')
    assert ended(process) == 1
    child = pid_in(tmp_path / "child")
    until(lambda: not lives(child), "the end of its child")


def test_other_processes_are_left_alone(start: Start, tmp_path: Path) -> None:
    other = start("#!/bin/sh\nexec sleep 1000\n", **{MARK: "another agent's"})
    assert ended(start("#!/bin/sh\nexit 0\n")) == 0
    assert other.poll(time.monotonic()) is None


def test_megabytes_of_output_are_read_and_thrown_away(start: Start) -> None:
    process = start("#!/bin/sh\necho first\nhead -c 20000000 /dev/zero\nexit 1\n")
    assert (ended(process), process.text) == (1, "first")


def test_output_without_an_end_is_read_a_part_at_a_time(start: Start) -> None:
    process = start("#!/bin/sh\nexec yes\n")
    until(lambda: process.poll(time.monotonic()) is not None or process._head, "some output")
    assert process.poll(time.monotonic()) is None
    assert process.poll(time.monotonic() + LONGEST_S) == -signal.SIGKILL
    until(process.gone, "its end")


def test_memory_has_a_limit(start: Start) -> None:
    eats = f"try: held = bytearray({2 * MEMORY_BYTES})\nexcept MemoryError: print('no'); exit(75)\n"
    process = start(f"#!/usr/bin/env python3\n{eats}")
    assert (ended(process), process.text) == (75, "no")


def test_it_has_a_session_of_its_own_no_input_and_is_the_first_to_go_when_memory_ends(start: Start) -> None:
    process = start("#!/bin/sh\nread line || echo $(ps -o sid= -p $$) $$ $(cat /proc/$$/oom_score_adj) $PWD\n")
    assert ended(process) == 0
    session, pid, score, folder = process.text.split()
    assert (session, score, folder) == (pid, "1000", "/")


def test_a_script_whose_interpreter_is_not_there_says_so(start: Start) -> None:
    process = start("#!/nowhere/python\n")
    assert ended(process) in (126, 127)
    assert "not found" in process.text
