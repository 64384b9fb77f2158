"""What a device's memory holds of the runtime, as the kernel counts it."""

from __future__ import annotations

import time
from pathlib import Path

from bench.footprint.processes import rollup
from bench.measures import Measure, Reading
from bench.models import Model, arena_bytes
from bench.runtime import Runtime
from bench.scene import Scene, Server

MEASURES = (
    Measure("pss-host", "PSS of the host alone", 12.0, "MB"),
    Measure("pss-worker", "PSS of the only worker, 96x96 model", 6.5, "MB"),
    Measure("private-worker", "private memory of each further worker, over 3 x file + arena + 3.5 MB", 1.0, "x"),
    Measure("pss-growth", "PSS of host and worker after 500 switches, over that after 10", 1.02, "x"),
)
MB = 1e6
SETTLED_S = 1.5  # after the counters of the last answers were told
FURTHER = 3
EARLY_SWITCHES = 10
SPARE_BYTES = 3.5 * MB


def measure(scene: Scene) -> dict[str, Reading]:
    return at_rest(scene) | growth(scene)


def at_rest(scene: Scene) -> dict[str, Reading]:
    with scene.runtime("memory") as runtime:
        time.sleep(SETTLED_S)
        host = memory(runtime.host)["Pss"]
        alone = asked_worker(scene, runtime, "camera", scene.models.camera)
        worker = memory(alone)["Pss"]
        shared_host = memory(runtime.host)["Pss"]
        further = {
            f"{model.name}-{number}": (model, asked_worker(scene, runtime, f"{model.name}-{number}", model))
            for model in (scene.models.camera, scene.models.mobilenet)
            for number in range(FURTHER)
        }
        shares, seen = [], []
        for name, (model, pid) in further.items():
            found = memory(pid)
            private = found["Private_Clean"] + found["Private_Dirty"]
            shares.append(private / (3 * len(model.content) + arena_bytes(model) + SPARE_BYTES))
            seen.append(f"{name} {private / MB:.1f} MB")
    return {
        "pss-host": Reading(host / MB, f"{shared_host / MB:.1f} MB beside one worker"),
        "pss-worker": Reading(worker / MB, scene.models.camera.source),
        "private-worker": Reading(max(shares), ", ".join(seen)),
    }


def growth(scene: Scene) -> dict[str, Reading]:
    model = scene.models.camera
    with scene.runtime("growth") as runtime:
        for release in (1, 2):
            runtime.add("m", release, model, tuned=False)
        early = switched(scene, runtime, EARLY_SWITCHES)
        late = switched(scene, runtime, scene.plan.grown_switches - EARLY_SWITCHES)
    return {"pss-growth": Reading(late / early, f"{early / MB:.2f} MB, then {late / MB:.2f} MB")}


def switched(scene: Scene, runtime: Runtime, switches: int) -> float:
    """PSS of host and worker after so many switches."""
    for number in range(switches + switches % 2):
        runtime.serve("m", 1 + number % 2)
    ask(scene, runtime, "m", scene.models.camera)
    time.sleep(SETTLED_S)
    return memory(runtime.host)["Pss"] + memory(runtime.worker("m"))["Pss"]


def asked_worker(scene: Scene, runtime: Runtime, name: str, model: Model) -> int:
    """A worker that has answered, and has nothing to do."""
    runtime.add(name, 1, model, tuned=False)
    runtime.serve(name)
    ask(scene, runtime, name, model)
    time.sleep(SETTLED_S)
    return runtime.worker(name)


def ask(scene: Scene, runtime: Runtime, name: str, model: Model) -> None:
    scene.load(Server(str(runtime.device.socket), runtime.host, name), model, scene.plan.run_s)


def memory(pid: int) -> dict[str, int]:
    """Bytes by what they count as, of /proc/<pid>/smaps_rollup."""
    return rollup(Path(f"/proc/{pid}/smaps_rollup").read_text())
