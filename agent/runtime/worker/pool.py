"""Interpreters that run side by side, each in a thread of its own, for models that take long.

The worker's loop posts runs and takes back those that are done; it alone talks to clients.
"""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from queue import SimpleQueue

from agent.runtime.engine import Interpreter
from agent.runtime.worker.pace import rest_ns
from agent.runtime.worker.runs import Inference

SWITCH_S = 0.0005  # between Python threads: one that prepares a picture must not hold up the loop for 5 ms
AHEAD = 1  # runs posted beyond the interpreters, so that none is idle until the loop has looked


class Pool:
    """`descriptor` becomes readable when a run is done. The threads live as long as the process.

    rest_percent: of each run's time, that its thread rests after it.
    """

    def __init__(self, interpreters: Sequence[Interpreter]) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.running = 0
        self.rest_percent = 0
        self._hurry = threading.Event()
        self._most = len(interpreters) + AHEAD
        self._posted: SimpleQueue[Inference] = SimpleQueue()
        self._done: deque[Inference] = deque()
        sys.setswitchinterval(SWITCH_S)
        for interpreter in interpreters:
            threading.Thread(target=self._work, args=(interpreter,), daemon=True).start()

    @property
    def full(self) -> bool:
        return self.running >= self._most

    def post(self, run: Inference) -> None:
        self.running += 1
        self._posted.put(run)

    def done(self) -> list[Inference]:
        """Those that are done since it was asked last, in the order of their ends."""
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            return []
        found = []
        while self._done:
            found.append(self._done.popleft())
        self.running -= len(found)
        return found

    def finish(self) -> list[Inference]:
        """Waits for all that run, and gives them. Nobody rests any more."""
        self._hurry.set()
        os.set_blocking(self.descriptor, True)
        found = []
        while self.running:
            found += self.done()
        return found

    def _work(self, interpreter: Interpreter) -> None:
        while True:
            run = self._posted.get()
            began_ns = time.monotonic_ns()
            run.run(interpreter)
            run_ns = time.monotonic_ns() - began_ns
            self._done.append(run)
            os.eventfd_write(self.descriptor, 1)
            if self.rest_percent:
                self._hurry.wait(rest_ns(run_ns, self.rest_percent) / 1e9)
