from __future__ import annotations

import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.runtime.host.children import Child, Ended, fork

WAIT_MS = 60_000


def end_of(child: Child) -> Ended:
    poll = select.poll()
    poll.register(child.pidfd, select.POLLIN)
    assert poll.poll(WAIT_MS), "the child did not end"
    ended = child.reap()
    assert ended is not None
    return ended


def run(body: Callable[[], None], keep: set[int] | None = None, oom_score: int = 0) -> Ended:
    return end_of(fork(body, keep or set(), oom_score))


def test_a_child_that_returns_ends_with_status_0() -> None:
    ended = run(lambda: None)
    assert (ended.signal, ended.status, ended.memory) == (0, 0, False)


def test_a_child_that_raises_ends_with_a_status_and_never_returns_here() -> None:
    assert run(lambda: sys.exit(5)).status == 70


def test_a_child_that_dies_of_a_signal_says_which() -> None:
    assert run(lambda: os.kill(os.getpid(), signal.SIGSEGV)).signal == signal.SIGSEGV


def test_a_child_killed_by_us_was_not_killed_for_want_of_memory() -> None:
    child = fork(signal.pause, set(), 0)
    assert child.reap() is None
    child.kill()
    ended = end_of(child)
    assert (ended.signal, ended.memory) == (signal.SIGKILL, False)


def test_a_child_holds_no_descriptors_but_those_it_should() -> None:
    foreign, there = os.pipe()

    def body() -> None:
        held = {int(path.name) for path in Path("/proc/self/fd").iterdir()}
        # one more is the listing's own
        assert there in held
        assert foreign not in held
        assert len(held) <= 5
        os.write(there, b"right")

    assert run(body, keep={there}).status == 0
    assert os.read(foreign, 10) == b"right"
    os.close(foreign)
    os.close(there)


def test_a_child_dumps_no_core_and_has_its_out_of_memory_score() -> None:
    def body() -> None:
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
        assert int(Path("/proc/self/oom_score_adj").read_text()) == 700

    assert run(body, oom_score=700).status == 0


def test_a_child_dies_with_its_parent() -> None:
    here, there = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.close(here)
        fork(signal.pause, {there}, 0)
        os._exit(0)
    os.close(there)
    os.waitpid(middle, 0)
    poll = select.poll()
    poll.register(here, select.POLLIN)
    assert poll.poll(WAIT_MS), "the grandchild lives on"
    assert os.read(here, 1) == b""
    os.close(here)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may surely take its priority back")
def test_a_child_can_be_made_to_leave_the_cpu_to_others_and_back() -> None:
    child = fork(signal.pause, (), 0)
    child.set_nice(10)
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == 10
    child.set_nice(0)
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == 0
    child.kill()
    assert end_of(child).signal == signal.SIGKILL
