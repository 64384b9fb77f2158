"""How soon a model answers: after its worker is forked, and after its worker was killed while clients asked."""

from __future__ import annotations

import os
import signal
import statistics
import time
from contextlib import closing

from agent import control
from bench.measures import Measure, Reading
from bench.models import Model
from bench.runtime import Runtime
from bench.scene import Scene, Server
from littoral.wire import query
from tests.agent.runtime.device import PATIENCE_S, Raw

MEASURES = (
    Measure("start", "fork to first answer, host warm, 96x96, p50", 12.0, "ms"),
    Measure("killed-camera", "worker killed under load to first answer, 96x96, at worst", 30.0, "ms"),
    Measure("killed-mobilenet", "the same, MobileNet", 120.0, "ms"),
)
CLIENTS = 4
LOOK_AGAIN_S = 0.0002  # far below what a load takes


def measure(scene: Scene) -> dict[str, Reading]:
    camera, mobilenet = scene.models.camera, scene.models.mobilenet
    return {
        "start": starts(scene, camera),
        "killed-camera": kills(scene, camera),
        "killed-mobilenet": kills(scene, mobilenet),
    }


def starts(scene: Scene, model: Model) -> Reading:
    """The client waits for the model while it is loaded, and asks at once."""
    data = model.questions(1)
    with scene.runtime("starts", watched=True) as runtime:
        runtime.add("m", 1, model, tuned=False)
        runtime.serve("m")
        took_ms = []
        for _ in range(scene.plan.starts):
            runtime.agent.send(control.Unload("m"))
            runtime.agent.expect(control.Serving, lambda serving: serving.release == 0)
            before = len(runtime.stamps())
            runtime.agent.send(control.Apply("m"))
            forked_ns = fork_after(runtime, before)
            with closing(Raw(runtime.device.socket)) as client:
                interface = client.hello("m").interface.digest
                client.send(*query.infer(query.Infer(interface, data), 1))
                client.frame(query.Kind.ANSWER)
                answered_ns = time.monotonic_ns()
            runtime.agent.expect(control.Serving, lambda serving: serving.release == 1)
            took_ms.append((answered_ns - forked_ns) / 1e6)
    return Reading(statistics.median(took_ms), f"{min(took_ms):.1f} to {max(took_ms):.1f} ms, {len(took_ms)} times")


def fork_after(runtime: Runtime, before: int) -> int:
    """When the next worker was forked. A client that came earlier would be told that nothing is served."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        for stamp in runtime.stamps()[before:]:
            if stamp.what == "fork":
                return stamp.at_ns
        time.sleep(LOOK_AGAIN_S)
    raise RuntimeError("no worker was forked")


def kills(scene: Scene, model: Model) -> Reading:
    with scene.runtime(f"kills-{model.name}") as runtime:
        runtime.add("m", 1, model, tuned=False)
        took_ms = [killed(scene, runtime, model) for _ in range(scene.plan.kills)]
    return Reading(max(took_ms), f"median {statistics.median(took_ms):.1f} ms of {len(took_ms)}")


def killed(scene: Scene, runtime: Runtime, model: Model) -> float:
    """Milliseconds from the kill to the first answer on a new connection."""
    runtime.serve("m")  # and forget the death before: after a second one within a minute the host waits, on purpose
    pid = runtime.worker("m")
    clients = scene.clients(Server(str(runtime.device.socket), pid), model, clients=CLIENTS, reconnect=True)
    time.sleep(scene.plan.run_s)
    killed_ns = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    time.sleep(2 * scene.plan.run_s)
    seen = clients.stop()
    if seen.wrong or not seen.reconnects:
        raise RuntimeError(f"after a kill: {seen.problem or 'no client was answered again'}")
    return (min(seen.reconnects) - killed_ns) / 1e6
