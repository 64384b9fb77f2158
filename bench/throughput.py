"""How many answers four clients get, and what each costs."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable
from contextlib import ExitStack

from bench.latency import ours
from bench.measures import Measure, Reading, compared
from bench.native import cpu_ns
from bench.runtime import ROOT
from bench.scene import Scene, Server

MEASURES = (
    Measure("throughput-web", "4 clients, tiny model, over uvicorn's", 5.0, "x", at_least=True),
    Measure("throughput-threads", "the same, over a thread per connection in Python", 1.5, "x", at_least=True),
    Measure("throughput-echo", "the same, over the C echo's", 0.4, "x", at_least=True),
    Measure("cpu-per-request", "CPU of the worker per request, 4 clients, tiny model", 20.0, "us"),
    Measure(
        "throughput-mobilenet", "4 clients, MobileNet, over two interpreters in one process", 0.95, "x", at_least=True
    ),
)
CLIENTS = 4


def measure(scene: Scene) -> dict[str, Reading]:
    return tiny(scene) | mobilenet(scene)


def tiny(scene: Scene) -> dict[str, Reading]:
    """Everything runs where the kernel puts it, as on a device."""
    model = scene.models.tiny
    with ExitStack() as stack:
        server = ours(stack.enter_context(scene.runtime("throughput")), model)
        echo = stack.enter_context(scene.echo(model))
        web, threads = (stack.enter_context(scene.peer(module, model)) for module in ("web", "threads"))

        def run(server: Server) -> Callable[[], tuple[float, float]]:
            """Answers per second, and CPU microseconds of each."""

            def once() -> tuple[float, float]:
                before_ns = cpu_ns(server.pid)
                seen = scene.load(server, model, scene.plan.run_s, clients=CLIENTS)
                return seen.per_s, (cpu_ns(server.pid) - before_ns) / 1000 / seen.answered

            return once

        seen = scene.interleaved({"ours": run(server), "echo": run(echo), "web": run(web), "threads": run(threads)})
    per_s = {name: [one for one, _ in rounds] for name, rounds in seen.items()}
    cpu_us = {name: statistics.median(one for _, one in rounds) for name, rounds in seen.items()}
    return {
        "throughput-web": compared(per_s["ours"], per_s["web"], "uvicorn", "1/s"),
        "throughput-threads": compared(per_s["ours"], per_s["threads"], "threads", "1/s"),
        "throughput-echo": compared(per_s["ours"], per_s["echo"], "echo", "1/s"),
        "cpu-per-request": Reading(cpu_us["ours"], f"echo {cpu_us['echo']:.1f} us, threads {cpu_us['threads']:.1f} us"),
    }


def mobilenet(scene: Scene) -> dict[str, Reading]:
    """As its trial tuned it, on all CPUs, against what an application gets that does nothing but invoke."""
    model, seconds = scene.models.mobilenet, scene.plan.long_run_s
    arguments = (str(scene.file(model)), str(scene.questions(model)), "2", str(seconds))
    command = [str(scene.python), "-m", "bench.peers.interpreters", *arguments]

    def in_process() -> float:
        done = subprocess.run(command, cwd=ROOT, check=True, text=True, capture_output=True)
        return float(done.stdout)

    with scene.runtime("throughput-2") as runtime:
        runtime.add("m", 1, model, tuned=True)
        runtime.serve("m")
        server = Server(str(runtime.device.socket), runtime.worker("m"))

        def served() -> float:
            return scene.load(server, model, seconds, clients=CLIENTS).per_s

        seen = scene.interleaved({"ours": served, "in process": in_process})
    slot = runtime.slots["m", 1]
    found = compared(seen["ours"], seen["in process"], "in process", "1/s")
    tuned = f"tuned: {slot.interpreters} interpreters of {slot.threads} threads"
    return {"throughput-mobilenet": Reading(found.value, f"{found.seen}; {tuned}")}
