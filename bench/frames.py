"""A VGA frame that the client writes where the worker reads it, beside one that is sent."""

from __future__ import annotations

from collections.abc import Callable

from bench.latency import ours
from bench.measures import Measure, Reading, compared
from bench.native import cpus, pin
from bench.scene import Scene

MEASURES = (Measure("share-vga", "a VGA frame in shared memory, same core, transport, over sending it", 0.25, "x"),)


def measure(scene: Scene) -> dict[str, Reading]:
    """In both cases the frame was just written by the client; what the worker copies of it counts as invoke.

    On one core: to wake another one costs more than the transport, and the same in both cases.
    """
    model, (same, other) = scene.models.vga, cpus()
    with scene.runtime("frames") as runtime:
        server = ours(runtime, model)
        pin(server.pid, same)

        def added_us(cpu: int, **options: object) -> Callable[[], float]:
            return lambda: scene.load(server, model, scene.plan.run_s, cpu=cpu, **options).added_us.p50

        runs = {
            "shared": added_us(same, share=True),
            "sent": added_us(same),
            "shared, other": added_us(other, share=True),
            "sent, other": added_us(other),
        }
        seen = scene.interleaved(runs)
    found = compared(seen["shared"], seen["sent"], "sent", "us")
    elsewhere = compared(seen["shared, other"], seen["sent, other"], "sent", "us")
    return {"share-vga": Reading(found.value, f"{found.seen}; other core {elsewhere.seen}")}
