"""agent/runtime/worker/pool.py: interpreters beyond the first are made when there is something for them to do."""

from __future__ import annotations

import select
import threading
import time
from typing import Any, cast

from agent.runtime.engine import Interpreter
from agent.runtime.worker.pool import LASTING_S, Pool
from agent.runtime.worker.runs import Inference
from littoral.errors import NoRoomError

PATIENCE_S = 30.0


class Run:
    """Runs until it may end."""

    def __init__(self, *, ends: bool = True) -> None:
        self.answered = self.done = False
        self.by: object = None
        self.may_end = threading.Event()
        if ends:
            self.may_end.set()

    def run(self, interpreter: object) -> None:
        self.by = interpreter
        assert self.may_end.wait(PATIENCE_S)


def interpreter(name: str) -> Interpreter:
    return cast("Interpreter", name)


def post(pool: Pool, *runs: Run) -> None:
    for run in runs:
        pool.post(cast("Inference", run))


def taken(pool: Pool, count: int) -> list[Any]:
    found: list[Any] = []
    while len(found) < count:
        assert select.select([pool.descriptor], [], [], PATIENCE_S)[0]
        found += pool.done()
    return found


def test_one_run_after_the_other_makes_no_second_interpreter() -> None:
    def make() -> Interpreter:
        raise AssertionError("nobody needs it")

    pool = Pool(interpreter("first"), 1, make)
    for _ in range(20):
        post(pool, Run())
        (run,) = taken(pool, 1)
        assert run.by == "first"


def test_two_that_meet_for_a_moment_make_none() -> None:
    def make() -> Interpreter:
        raise AssertionError("a canary that meets an app is no reason")

    pool = Pool(interpreter("first"), 1, make)
    for _ in range(3):
        post(pool, Run(), Run())
        assert {run.by for run in taken(pool, 2)} == {"first"}
        time.sleep(2 * LASTING_S)  # whoever would make one has looked


def test_a_run_that_has_to_wait_makes_it_and_it_goes_on() -> None:
    pool = Pool(interpreter("first"), 1, lambda: interpreter("second"))
    slow, other = Run(ends=False), Run()
    post(pool, slow, other)
    assert taken(pool, 1) == [other]
    assert (slow.by, other.by) == ("first", "second")
    further = Run()
    post(pool, further)
    assert taken(pool, 1) == [further]
    assert further.by == "second"
    slow.may_end.set()
    taken(pool, 1)


def test_one_that_cannot_be_made_leaves_the_first_to_do_all() -> None:
    def fail() -> Interpreter:
        tried.set()
        raise NoRoomError("there is none")

    tried = threading.Event()
    pool = Pool(interpreter("first"), 1, fail)
    runs = Run(ends=False), Run(), Run()
    post(pool, *runs)
    assert tried.wait(PATIENCE_S)
    runs[0].may_end.set()
    assert len(taken(pool, 3)) == 3
    assert {run.by for run in runs} == {"first"}
