"""`python -m bench.peers.interpreters MODEL QUESTIONS COUNT SECONDS`: interpreters within one process, a thread each,
and no socket. Prints how many answers they gave in a second."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from bench.peers.runner import Runner


def work(runner: Runner, question: bytes, end: float, answers: list[int]) -> None:
    count = 0
    while time.monotonic() < end:
        runner.run(question)
        count += 1
    answers.append(count)


if __name__ == "__main__":
    model, questions, count, seconds = sys.argv[1], Path(sys.argv[2]).read_bytes(), int(sys.argv[3]), float(sys.argv[4])
    runners = [Runner(model) for _ in range(count)]
    parts = [questions[r.input_bytes * i : r.input_bytes * (i + 1)] for i, r in enumerate(runners)]
    for runner, part in zip(runners, parts, strict=True):
        runner.run(part)
    answers: list[int] = []
    start = time.monotonic()
    threads = [
        threading.Thread(target=work, args=(runner, part, start + seconds, answers))
        for runner, part in zip(runners, parts, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sum(answers) / (time.monotonic() - start))
