"""`littoral top`: how much each model is asked, how fast it answers, and why it is loaded; anew each second."""

import argparse
import json
import math
import shutil
import sys
import time
from typing import Any

from littoral import client
from littoral.cli import arguments
from littoral.cli.text import size_text

HOME_AND_CLEAR = "\x1b[H\x1b[J"
# Column heads by field, in the order of the table; the later in ORDER, the sooner it is left out on a narrow terminal.
HEADS = {
    "model": "MODEL",
    "release": "RELEASE",
    "stage": "STAGE",
    "why": "WHY",
    "per_s": "PER S",
    "p50_us": "P50 MS",
    "p95_us": "P95 MS",
    "queued_us": "QUEUED MS",
    "waiting": "WAIT",
    "subscribers": "SUBS",
    "errors": "ERRORS",
    "busy": "BUSY",
    "votes": "VOTES",
    "votes_bad": "BAD",
    "memory_bytes": "PSS",
}
ORDER = (
    *("model", "per_s", "p95_us", "memory_bytes", "why", "p50_us", "errors", "busy", "waiting", "release"),
    *("queued_us", "stage", "votes_bad", "votes", "subscribers"),
)
WORDS = ("model", "stage", "why")  # aligned at their beginning


def add(commands: Any, socket: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "top",
        parents=[socket],
        help="how much each model is asked, and how fast it answers",
        description="Prints a table of the models each second until Ctrl-C: answers a second, time in the engine and "
        "in the queue, requests that wait, errors, refusals and votes of apps (all, bad ones) in that second, memory "
        "(PSS), and why it is loaded.",
    )
    parser.add_argument(
        "--interval", type=arguments.seconds, default=1.0, metavar="S", help="seconds between two tables (1)"
    )
    parser.add_argument("--once", action="store_true", help="one table of one interval")
    parser.add_argument("--json", action="store_true", help="print JSON, one list of models a line")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    before, began = client.stats(options.socket), time.monotonic()
    live = sys.stdout.isatty() and not (options.once or options.json)
    while True:
        time.sleep(options.interval)
        after, now = client.stats(options.socket), time.monotonic()
        rows = measure(client.models(options.socket), before, after, now - began)
        before, began = after, now
        if options.json:
            print(json.dumps(rows), flush=True)
        else:
            columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
            print((HOME_AND_CLEAR if live else "") + "\n".join(table(rows, columns)), flush=True)
        if options.once:
            return 0


def measure(
    listed: list[dict[str, Any]], before: dict[str, Any], after: dict[str, Any], seconds: float
) -> list[dict[str, Any]]:
    """What each listed model did between two STATS; zeros for one that is not loaded. Percentiles are None without
    answers.
    """
    return [_row(entry, before.get(entry["model"]), after.get(entry["model"]), seconds) for entry in listed]


def _row(
    entry: dict[str, Any], before: dict[str, Any] | None, after: dict[str, Any] | None, seconds: float
) -> dict[str, Any]:
    now = after or {}
    if before is not None and before.get("worker") != now.get("worker"):
        before = None  # another process counts from nothing

    def grown(name: str) -> int:
        return int(now.get(name, 0)) - int(before.get(name, 0) if before else 0)

    was = before["histogram"] if before else [0] * len(now.get("histogram", ()))
    histogram = [a - b for a, b in zip(now.get("histogram", ()), was, strict=True)]
    answers = grown("answers")
    return {
        "model": entry["model"],
        "release": entry["release"],
        "stage": entry["stage"],
        "why": entry.get("why") or entry["reason"],
        "per_s": round(answers / seconds, 1),
        "p50_us": percentile(histogram, 0.50),
        "p95_us": percentile(histogram, 0.95),
        "queued_us": round(grown("queued_us") / answers) if answers else None,
        "waiting": now.get("waiting", 0),
        "subscribers": now.get("subscribers", 0),
        "errors": grown("errors"),
        "busy": grown("busy"),
        "votes": grown("votes"),
        "votes_bad": grown("votes_bad"),
        "memory_bytes": now.get("memory_bytes") or entry.get("memory_bytes") or 0,
    }


def percentile(histogram: list[int], share: float) -> int | None:
    """Microseconds below which `share` of the answers lie: bucket i holds 2^i to 2^(i+1), and evenly by ratio."""
    todo = share * sum(histogram)
    for exponent, count in enumerate(histogram):
        if count and count >= todo:
            return round(math.pow(2, exponent + todo / count))
        todo -= count
    return None


def table(rows: list[dict[str, Any]], columns: int) -> list[str]:
    """As wide as `columns`; 0: as wide as it needs."""
    cells = [{name: _cell(name, row[name]) for name in HEADS} for row in rows]
    widths = {name: max(len(head), *(len(c[name]) for c in cells), 0) for name, head in HEADS.items()}
    shown = list(HEADS)
    for name in reversed(ORDER[1:]):
        if columns and sum(widths[name] + 2 for name in shown) - 2 > columns:
            shown.remove(name)
    lines = [
        "  ".join(f"{line[name]:{'<' if name in WORDS else '>'}{widths[name]}}" for name in shown).rstrip()
        for line in ({name: HEADS[name] for name in HEADS}, *cells)
    ]
    return [line[: columns or None] for line in lines] if rows else ["no model"]


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name.endswith("_us"):
        return f"{value / 1000:.2f}"
    if name == "memory_bytes":
        return size_text(value) if value else "-"
    return str(value)
