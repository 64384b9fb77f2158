"""`littoral bench`: how fast a served model answers one, two and four clients at once; or how fast a file runs here.

Each client is a process of its own, so that none of them waits for another's Python.
"""

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from littoral import client, errors
from littoral.cli import arguments
from littoral.cli.run import become_runtime

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

CLIENTS = (1, 2, 4)
PATIENCE_S = 60.0  # for the processes to start and to end


def add(commands: Any, socket: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "bench",
        parents=[socket],
        help="how fast a model answers here",
        description="Asks a served model as fast as it answers, by one, two and four clients at once, with inputs of "
        "zeros. For a file (FILE.tflite) it becomes `littoral-runtime bench`: threads by engines.",
    )
    parser.add_argument("model", metavar="MODEL", help="a served model, or a file")
    parser.add_argument("--seconds", type=arguments.seconds, default=2.0, metavar="S", help="of each measurement (2)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if "." in options.model or "/" in options.model:  # no model has such a name
        become_runtime("bench", Path(options.model), ["--seconds", options.seconds, *["--json"] * options.json])
    rows = [measure(options.model, options.socket, clients, options.seconds) for clients in CLIENTS]
    if options.json:
        print(json.dumps(rows))
        return 0
    print(f"{'CLIENTS':>7}  {'PER S':>9}  {'P50 MS':>8}  {'P95 MS':>8}  {'ENGINE MS':>9}  {'ADDED MS':>8}")
    for row in rows:
        times = (row["p50_us"], row["p95_us"], row["invoked_p50_us"], row["added_p50_us"])
        p50, p95, invoked, added = (us / 1000 for us in times)
        print(f"{row['clients']:7}  {row['per_s']:9.1f}  {p50:8.3f}  {p95:8.3f}  {invoked:9.3f}  {added:8.3f}")
    return 0


def measure(model: str, socket: str | None, clients: int, seconds: float) -> dict[str, Any]:
    """Answers a second of all clients together, and microseconds of one: round trip, in the engine, and the rest.

    Raises what Client raises.
    """
    import multiprocessing

    context = multiprocessing.get_context("spawn")  # the caller may have threads
    ends = [context.Pipe() for _ in range(clients)]
    started = [context.Process(target=_ask, args=(theirs, model, socket, seconds), daemon=True) for _, theirs in ends]
    for process in started:
        process.start()
    for _, theirs in ends:
        theirs.close()
    mine = [end for end, _ in ends]
    for end in mine:  # all are connected before the first one asks
        _take(end)
    for end in mine:
        end.send(None)
    samples = [sample for end in mine for sample in _take(end)]
    for process in started:
        process.join(PATIENCE_S)
    if not samples:
        raise errors.DeadlineError(f"{model} answered nothing in {seconds:g} s")
    rounds, invokes = sorted(taken for taken, _ in samples), sorted(invoked for _, invoked in samples)
    added = sorted(taken - invoked for taken, invoked in samples)
    return {
        "clients": clients,
        "per_s": round(len(samples) / seconds, 1),
        "p50_us": _at(rounds, 0.50),
        "p95_us": _at(rounds, 0.95),
        "invoked_p50_us": _at(invokes, 0.50),
        "added_p50_us": _at(added, 0.50),
    }


def _at(values: list[int], share: float) -> int:
    return values[min(len(values) - 1, int(share * len(values)))]


def _take(end: "Connection[Any, Any]") -> Any:
    """What a client's process says; the error that it ended in is raised here."""
    try:
        if not end.poll(PATIENCE_S):
            raise errors.DeadlineError("a client's process said nothing")
        problem, said = end.recv()
    except EOFError:
        raise errors.InternalError("a client's process ended") from None
    if problem:
        raise errors.by_code(*problem)
    return said


def _ask(end: "Connection[Any, Any]", model: str, socket: str | None, seconds: float) -> None:
    """One client, in its own process."""
    try:
        with client.Client(model, socket, name="littoral bench") as asked:
            zeros = bytes(asked.interface.input_bytes)
            asked.infer(zeros)
            end.send(((), None))
            end.recv()
            samples = []
            until = time.monotonic() + seconds
            while (began := time.monotonic()) < until:
                answer = asked.infer(zeros)
                samples.append((round((time.monotonic() - began) * 1e6), answer.invoked_us))
            end.send(((), samples))
    except errors.LittoralError as error:
        end.send(((error.code, error.cause, error.remedy), None))
