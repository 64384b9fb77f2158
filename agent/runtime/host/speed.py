"""How fast a file runs on this device: each engine, several numbers of threads, several interpreters side by side.

Every measurement has a process of its own, so that none inherits the library or the threads of another, and a file that
kills its process spoils one row.
"""

import json
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.runtime import engines
from agent.runtime.engine import Interpreter
from agent.runtime.host.children import fork
from agent.runtime.trial.trial import random_input
from littoral import errors

ENGINES = ("litert", "tflite")
MOST = 4  # threads, or interpreters
ROW_BYTES = 4_096
TIMEOUT_S = 60.0  # of one measurement, beside its own time


@dataclass(frozen=True, slots=True)
class Row:
    """One way to run it. Times are of one run, as each interpreter saw it; per_s counts all together.

    problem: why there are no numbers; then they are 0.
    """

    engine: str
    threads: int
    interpreters: int
    p50_us: int = 0
    p95_us: int = 0
    per_s: float = 0.0
    problem: str = ""


def measure(file: Path, seconds: float) -> list[Row]:
    """Raises ConfigError for a file that cannot be read."""
    try:
        model = file.read_bytes()
    except OSError as error:
        raise errors.ConfigError(f"{file} cannot be read: {error.strerror}") from error
    rows = []
    for engine in ENGINES:
        for threads, interpreters in _ways(len(os.sched_getaffinity(0))):
            row = _in_child(Row(engine, threads, interpreters), model, seconds)
            rows.append(row)
            if row.problem and threads == interpreters == 1:
                break
    return rows


def as_json(rows: list[Row]) -> str:
    return json.dumps([asdict(row) for row in rows])


def as_table(rows: list[Row]) -> str:
    lines = [f"{'ENGINE':<6}  {'THREADS':>7}  {'INTERPRETERS':>12}  {'P50 MS':>8}  {'P95 MS':>8}  {'PER S':>9}"]
    for row in rows:
        numbers = row.problem or f"{row.p50_us / 1000:8.3f}  {row.p95_us / 1000:8.3f}  {row.per_s:9.1f}"
        lines.append(f"{row.engine:<6}  {row.threads:>7}  {row.interpreters:>12}  {numbers}")
    return "\n".join(lines)


def _ways(cpus: int) -> Iterator[tuple[int, int]]:
    """(threads, interpreters) up to as many CPUs as there are."""
    yield 1, 1
    for many in range(2, min(MOST, cpus) + 1):
        yield many, 1
        yield 1, many


def _in_child(row: Row, model: bytes, seconds: float) -> Row:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(seconds + TIMEOUT_S)
    child = fork(lambda: theirs.sendall(json.dumps(asdict(_run(row, model, seconds))).encode()), {theirs.fileno()}, 0)
    theirs.close()
    with ours:
        try:
            told = ours.recv(ROW_BYTES)
        except TimeoutError:
            told = b""
            child.kill()
    select.select((child.pidfd,), (), ())
    ended = child.reap()
    if told:
        return Row(**json.loads(told))
    how = f"signal {ended.signal}" if ended is not None and ended.signal else "no word"
    return Row(row.engine, row.threads, row.interpreters, problem=f"the process that ran it ended with {how}")


def _run(row: Row, model: bytes, seconds: float) -> Row:
    """In the child."""
    try:
        engine = engines.open_engine(row.engine)
        loaded = engine.load(model, (), row.threads)
        interpreters = [loaded.interpreter() for _ in range(row.interpreters)]
        question = random_input(loaded.signatures[""])
        for interpreter in interpreters:
            interpreter.run(question)
    except (errors.LittoralError, MemoryError) as error:
        cause = error.cause if isinstance(error, errors.LittoralError) else "it does not fit into memory"
        problem = " ".join(cause[: ROW_BYTES // 8].split())
        return Row(row.engine, row.threads, row.interpreters, problem=problem)
    times_us: list[int] = []
    started = time.monotonic()
    threads = [
        threading.Thread(target=_repeat, args=(interpreter, question, started + seconds, times_us))
        for interpreter in interpreters
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.monotonic() - started
    times_us.sort()
    count = len(times_us)
    p50_us, p95_us = times_us[count // 2], times_us[count * 95 // 100]
    return Row(row.engine, row.threads, row.interpreters, p50_us, p95_us, round(count / took_s, 1))


def _repeat(interpreter: Interpreter, question: bytes, until: float, times_us: list[int]) -> None:
    while True:
        started_ns = time.monotonic_ns()
        interpreter.run(question)
        ended_ns = time.monotonic_ns()
        times_us.append((ended_ns - started_ns) // 1_000)
        if ended_ns >= until * 1e9:
            return
