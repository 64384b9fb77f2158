"""`./dev bench health`: what the comparison of a release with its baseline sees, on real pictures and many rings.

Trains small models, spoils them, and has the agent's own measures and gate judge each release on rings of inputs as
cameras would fill them. docs/health.md tells the method and the numbers of a full run.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "health"


def main() -> int:
    options = parser().parse_args()
    # Before numpy is loaded: each CPU works on something of its own.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from bench.health import report, study

    plan = study.FULL if options.full else study.Plan()
    tallies = []
    for tally in study.run(plan, CACHE, tuple(options.names), options.models):
        tallies.append(tally)
        print(report.line(tally), file=sys.stderr, flush=True)
    print(report.text(tallies))
    if options.json:
        report.write(options.json, tallies)
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="./dev bench health", description=(__doc__ or "").split("\n")[0])
    made.add_argument("names", nargs="*", metavar="MODEL", help="only these")
    made.add_argument("--models", type=Path, metavar="DIR", help="spoil the classifiers of a folder too")
    made.add_argument("--full", action="store_true", help="10,000 rings for what is good, 500 for each fault")
    made.add_argument("--json", type=Path, metavar="FILE", help="write every count")
    return made


if __name__ == "__main__":
    sys.exit(main())
