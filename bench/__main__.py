"""`./dev bench`: what runtime and delivery cost beside what they are compared with, and which targets they meet."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from agent.runtime.engines import engine_text, open_engine
from bench import counting, delivery, frames, latency, memory, models, native, starts, switches, throughput
from bench.measures import TABLE_HEAD, Result, write
from bench.runtime import ROOT
from bench.scene import QUICK, Plan, Scene

CACHE = ROOT / ".cache"
GROUPS = {
    module.__name__.partition(".")[2]: module
    for module in (latency, counting, throughput, frames, switches, memory, starts, delivery)
}


def main() -> int:
    options = parser().parse_args()
    unknown = sorted(set(options.groups) - set(GROUPS))
    if unknown:
        parser().error(f"no group has the name {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        scene = Scene(
            models=models.choose(options.models, CACHE / "bench-models"),
            plan=QUICK if options.quick else Plan(),
            folder=Path(folder),
            programs=native.compile_programs(CACHE / "bench-programs"),
            python=options.peers,
        )
        for model in scene.models:
            scene.say(f"{model.name}: {model.source}, {len(model.content):,} bytes")
        scene.say(f"engine: {engine_text(open_engine('litert'))}")
        scene.say(f"load of the machine before: {os.getloadavg()[0]:.2f}, CPUs: {len(os.sched_getaffinity(0))}")
        results = []
        print(TABLE_HEAD)
        for name in options.groups or GROUPS:
            scene.say(f"measuring {name}")
            readings = GROUPS[name].measure(scene)
            for measure in GROUPS[name].MEASURES:
                results.append(Result(measure, readings[measure.name]))
                print(results[-1].row, flush=True)
    if options.json:
        write(options.json, results)
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    made.add_argument("groups", nargs="*", metavar="GROUP", help=f"all, or some of {', '.join(GROUPS)}")
    made.add_argument("--json", type=Path, metavar="FILE", help="write {measure: {value, target, met, unit}}")
    made.add_argument("--models", type=Path, metavar="DIR", help="take the .tflite files of a folder that fit")
    made.add_argument("--quick", action="store_true", help="each thing once and briefly, to see that it works")
    made.add_argument("--peers", type=Path, required=True, metavar="PYTHON", help=argparse.SUPPRESS)
    return made


if __name__ == "__main__":
    sys.exit(main())
