"""The runtime's host as it is, but for one thing: it writes down when it forks a worker, when it tells one to drain,
and when all that one gave back is handed over. The file that BENCH_STAMPS names then holds lines of monotonic
nanoseconds, what, process id.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from agent.runtime.cli import main
from agent.runtime.host.serving import Model
from agent.runtime.host.workers import Worker


def watch(stamps: TextIO) -> None:
    def write(at_ns: int, what: str, worker: Worker) -> None:
        stamps.write(f"{at_ns} {what} {worker.pid}\n")

    make, drain, drained = Worker.__init__, Worker.drain, Model.worker_drained

    def made(worker: Worker, *arguments: Any, **named: Any) -> None:
        at_ns = time.monotonic_ns()
        make(worker, *arguments, **named)
        write(at_ns, "fork", worker)

    def drains(worker: Worker, within_s: float) -> None:
        write(time.monotonic_ns(), "drain", worker)
        drain(worker, within_s)

    def gave_all(model: Model, worker: Worker) -> None:
        drained(model, worker)
        write(time.monotonic_ns(), "drained", worker)

    changed = ((Worker, "__init__", made), (Worker, "drain", drains), (Model, "worker_drained", gave_all))
    for cls, name, method in changed:
        setattr(cls, name, method)


if __name__ == "__main__":
    with Path(os.environ["BENCH_STAMPS"]).open("a", buffering=1) as stamps:
        watch(stamps)
        sys.exit(main())
