"""Interpreters that run side by side, each in a thread of its own: for models that take long, and for a trial, whose
worker must not wait for a model that may hang.

The worker's loop posts runs and takes back those that are done; it alone talks to clients. The threads are Python's
bare ones: `threading` and `queue` would stay in a worker that needs them for the time of a trial.
"""

import _thread
import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable

from agent.runtime.engine import Interpreter
from agent.runtime.worker.pace import rest_ns
from agent.runtime.worker.runs import Inference
from littoral.errors import LittoralError

SWITCH_S = 0.0005  # between Python threads: one that prepares a picture must not hold up the loop for 5 ms
LASTING_S = 0.02  # a run that waits no longer than this, or than LASTING_RUNS, met another one by chance
LASTING_RUNS = 4
AHEAD = 1  # runs posted beyond the interpreters, so that none is idle until the loop has looked


class Pool:
    """`descriptor` becomes readable when a run is done. `runs`: posted and not taken back, the oldest first. The
    threads live as long as the process, or until `close`. rest_percent: of each run's time, that its thread rests after
    it; hurry() ends all rests.

    further: how many interpreters may be made beside the first, each by a thread of its own, as soon as a run has to
    wait for some time. So a model that one client asks takes the memory of one, even where a canary meets it at times.
    """

    def __init__(
        self, interpreter: Interpreter, further: int = 0, make: Callable[[], Interpreter] | None = None
    ) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.interpreters = 1 + further
        self.runs: list[Inference] = []
        self.rest_percent = 0
        self._hurry = os.eventfd(0, os.EFD_CLOEXEC)
        self._posted: deque[Inference | None] = deque()
        self._posts = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_CLOEXEC)
        self._done: deque[Inference] = deque()
        sys.setswitchinterval(SWITCH_S)
        self._threads = 1
        self._run_s = 0.0  # of the last run
        self._make = make
        _thread.start_new_thread(self._work, (interpreter,))

    @property
    def full(self) -> bool:
        return len(self.runs) >= self.interpreters + AHEAD

    def post(self, run: Inference) -> None:
        self.runs.append(run)
        if len(self.runs) > self._threads < self.interpreters:
            self._threads += 1
            _thread.start_new_thread(self._begin, ())
        self._post(run)

    def done(self) -> list[Inference]:
        """Those that are done since it was asked last, in the order of their ends."""
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            return []
        found = []
        while self._done:
            found.append(self._done.popleft())
            self.runs.remove(found[-1])
        return found

    def hurry(self) -> None:
        """Nobody rests any more."""
        os.eventfd_write(self._hurry, 1)

    def close(self) -> None:
        """Ends the thread of a pool of one, in which nothing runs."""
        assert self.interpreters == 1
        assert not self.runs
        self._post(None)

    def _post(self, run: Inference | None) -> None:
        self._posted.append(run)
        os.eventfd_write(self._posts, 1)

    def _next(self) -> Inference | None:
        os.eventfd_read(self._posts)
        return self._posted.popleft()

    def _begin(self) -> None:
        assert self._make is not None
        time.sleep(max(LASTING_S, LASTING_RUNS * self._run_s))
        if not select.select([self._posts], [], [], 0)[0]:
            self._threads -= 1
            return
        try:
            interpreter = self._make()
        except (LittoralError, MemoryError):
            self.interpreters -= 1  # there is no room now: the others do its part
            return
        self._work(interpreter)

    def _work(self, interpreter: Interpreter) -> None:
        while (run := self._next()) is not None:
            began_ns = time.monotonic_ns()
            if not run.answered:
                run.run(interpreter)
            run_ns = time.monotonic_ns() - began_ns
            self._run_s = run_ns / 1e9
            run.done = True
            self._done.append(run)
            os.eventfd_write(self.descriptor, 1)
            if self.rest_percent:
                select.select([self._hurry], [], [], rest_ns(run_ns, self.rest_percent) / 1e9)
        os.close(self.descriptor)  # here, where it was written to last
        os.close(self._posts)
        os.close(self._hurry)
