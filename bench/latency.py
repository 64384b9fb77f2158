"""What the runtime adds to an invoke: one client, one request at a time."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext

from bench.measures import Measure, Reading, compared
from bench.models import Model
from bench.native import Load, cpus, pin
from bench.runtime import Runtime
from bench.scene import Scene, Server

MEASURES = (
    Measure("latency-tiny", "added, tiny model, same core, over the C echo's", 1.5, "x"),
    Measure("latency-mobilenet", "added, MobileNet, same core, over a C echo's that walks 7 MB", 1.4, "x"),
    Measure("latency-wide", "added, 192 KB in and 61 KB out, other core", 0.20, "ms"),
    Measure("latency-wide-echo", "the same, over the C echo's", 2.0, "x"),
    Measure("latency-web-same-core", "added, tiny model, same core, over uvicorn's", 0.25, "x"),
    Measure("latency-web-other-core", "the same, other core", 0.5, "x"),
)


def measure(scene: Scene) -> dict[str, Reading]:
    models, same, other = scene.models, *cpus()
    short, long = scene.plan.run_s, scene.plan.long_run_s
    with ExitStack() as stack:

        def pinned(servers: AbstractContextManager[Server]) -> Server:
            server = stack.enter_context(servers)
            pin(server.pid, same)
            return server

        runtime = stack.enter_context(scene.runtime("latency"))
        tiny, mobilenet, wide = (
            pinned(nullcontext(ours(runtime, model))) for model in (models.tiny, models.mobilenet, models.wide)
        )
        echo, wide_echo = pinned(scene.echo(models.tiny)), pinned(scene.echo(models.wide))
        web = pinned(scene.peer("web", models.tiny))
        invoke_us = scene.load(mobilenet, models.mobilenet, short).invoked_us.p50
        walk = pinned(scene.echo(models.mobilenet, walk_us=invoke_us))

        def run(server: Server, model: Model, seconds: float, cpu: int) -> Callable[[], Load]:
            return lambda: scene.load(server, model, seconds, cpu=cpu)

        runs = {
            "tiny": run(tiny, models.tiny, short, same),
            "echo": run(echo, models.tiny, short, same),
            "web": run(web, models.tiny, short, same),
            "mobilenet": run(mobilenet, models.mobilenet, long, same),
            "walk": run(walk, models.mobilenet, long, same),
            "wide": run(wide, models.wide, long, other),
            "wide echo": run(wide_echo, models.wide, short, other),
            "tiny, other": run(tiny, models.tiny, short, other),
            "web, other": run(web, models.tiny, short, other),
            "echo, other": run(echo, models.tiny, short, other),
        }
        return readings(scene.interleaved(runs))


def ours(runtime: Runtime, model: Model) -> Server:
    """One interpreter with one thread, as a release that no trial has tuned."""
    runtime.add(model.name, 1, model, tuned=False)
    runtime.serve(model.name)
    return Server(str(runtime.device.socket), runtime.worker(model.name), model.name)


def readings(seen: Mapping[str, list[Load]]) -> dict[str, Reading]:
    added = {name: [load.added_us.p50 for load in loads] for name, loads in seen.items()}
    wide_ms = statistics.median(added["wide"]) / 1000
    invoke_us = statistics.median(load.invoked_us.p50 for load in seen["wide"])
    web_other = compared(added["tiny, other"], added["web, other"], "uvicorn", "us")
    echo_other_us = statistics.median(added["echo, other"])
    return {
        "latency-tiny": compared(added["tiny"], added["echo"], "echo", "us"),
        "latency-mobilenet": compared(added["mobilenet"], added["walk"], "echo", "us"),
        "latency-wide": Reading(wide_ms, f"invoke {invoke_us:.0f} us"),
        "latency-wide-echo": compared(added["wide"], added["wide echo"], "echo", "us"),
        "latency-web-same-core": compared(added["tiny"], added["web"], "uvicorn", "us"),
        "latency-web-other-core": Reading(web_other.value, f"{web_other.seen}; echo {echo_other_us:.4g} us"),
    }
