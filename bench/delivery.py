"""What a delivery costs: the agent's memory, the server's CPU, the updater child's memory, and time on bad links."""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from agent.updater.child_protocol import ChildReader, Plan, Request
from bench import fleet_host, link
from bench.link import Condition
from bench.measures import Measure, Reading
from bench.memory import memory
from bench.published import Fetcher, broker, publish
from bench.runtime import ROOT
from bench.scene import Scene
from fleet import mirror
from fleet.broker import Engine
from fleet.mirror import Contents
from littoral.bundle import delta
from littoral.wire.topics import CHUNK_BYTES
from tests.agent.link.loopback import free_port
from tests.fleet.parts import make_bundle, start_fleet
from tests.fleet.test_build import retrain_head

MEASURES = (
    Measure("fetch-memory", "private memory of the agent while it fetches 50 MB, at its peak, over before", 3.0, "MB"),
    Measure("server-cpu", "CPU of the fleet server while 200 devices fetch 5 MB, over that while one does", 0.05, "s"),
    Measure("link-slow", "256 kbit/s: speed of a fetch, over one TCP stream's", 0.7, "x", at_least=True),
    Measure("link-far", "300 ms round trip, 8 Mbit/s: the same", 0.7, "x", at_least=True),
    Measure("link-lossy", "20 % of the packets lost, 4 Mbit/s: the same", 0.7, "x", at_least=True),
    Measure("child-memory", "updater child, refresh and a release of 8 MB, peak", 42.0, "MB"),
    Measure("delta-head", "a retrained head: bytes that move, over the model's", 0.02, "x"),
)
MB = 1_000_000
LOOK_S = 0.01  # between two looks at a process
LINKS = {  # and the bytes to fetch over it
    "link-slow": (Condition("slow", rate=32_000, delay_s=0.02), 400_000),
    "link-far": (Condition("far", rate=MB, delay_s=0.15), 4_000_000),
    "link-lossy": (Condition("lossy", rate=500_000, delay_s=0.02, loss=0.2), 2_000_000),
}


def measure(scene: Scene) -> dict[str, Reading]:
    return {
        "fetch-memory": fetch_memory(scene),
        "server-cpu": server_cpu(scene),
        **{name: bad_link(scene, *LINKS[name]) for name in LINKS},
        "child-memory": child_memory(scene),
        "delta-head": delta_head(scene),
    }


def fetch_memory(scene: Scene) -> Reading:
    folder = scene.folder / "fetch"
    folder.mkdir()
    port = free_port()
    with broker(folder, "127.0.0.1", port):
        file = publish("127.0.0.1", port, scene.plan.fetched_bytes)
        fetcher = Fetcher(folder / "device", "127.0.0.1", port, file)
        try:
            before = private(fetcher.process.pid)
            fetcher.begin()
            done = fetcher.watch()
            peak = peak_of(fetcher.process.pid, private, lambda: not done.is_set())
        finally:
            fetcher.stop()
    shutil.rmtree(folder)
    return Reading(max(peak - before, 0) / MB, f"{before / MB:.1f} MB, then {peak / MB:.1f} MB")


def server_cpu(scene: Scene) -> Reading:
    spent = {count: _server_cpu_s(scene, count) for count in scene.plan.fleets}
    (_, first), *_, (_, last) = spent.values()
    seen = (f"{count} devices {fetch:.3f} s after {rollout:.2f} s" for count, (rollout, fetch) in spent.items())
    return Reading(max(last - first, 0.0), f"{', '.join(seen)} for the rollout itself")


def _server_cpu_s(scene: Scene, devices: int) -> tuple[float, float]:
    """For the rollout, with a signed desired state for each device; while they fetch."""
    folder = scene.folder / f"fleet-{devices}"
    server = _spawn("bench.fleet_host", str(folder), str(devices), str(scene.plan.rolled_out_bytes))
    light = None
    try:
        _answer(server)
        light = _spawn("bench.light", str(folder / "told.json"))
        _answer(light)
        _tell(server)
        rollout = float(_answer(server))
        _tell(light)
        _answer(light)
        _tell(server)
        return rollout, float(_answer(server))
    finally:
        if light is not None:
            _end(light)
        _tell(server)
        server.wait()
        _end(server)
        shutil.rmtree(folder)


def bad_link(scene: Scene, condition: Condition, size: int) -> Reading:
    folder = scene.folder / condition.name
    folder.mkdir()
    rounds = scene.plan.link_rounds
    size = size if rounds > 1 else size // 10
    told = {"folder": str(folder), "condition": asdict(condition), "size": size, "rounds": rounds}
    if lacks := link.lacking():
        raise RuntimeError(f"no bad link can be made here: {lacks}")
    command = [*link.NAMESPACE, sys.executable, "-m", "bench.lab", json.dumps(told)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    stream, fetch = statistics.median(found["tcp"]), statistics.median(found["fetch"])
    return Reading(stream / fetch, f"{size / stream / 1000:.1f} kB/s; fetch {size / fetch / 1000:.1f} kB/s")


def child_memory(scene: Scene) -> Reading:
    peaks = {size: _child_peak(scene.folder / f"child-{size}", size) for size in scene.plan.release_bytes}
    seen = ", ".join(f"{size / MB:.0f} MB: {peak / MB:.1f} MB" for size, peak in peaks.items())
    return Reading(next(iter(peaks.values())) / MB, seen)


def _child_peak(folder: Path, size: int) -> float:
    """Of the real child, which reads the metadata of a real fleet server out of a folder."""
    fleet_host.create(folder)
    bundle = make_bundle(size=size, chunk_bytes=CHUNK_BYTES)
    fleet = start_fleet(folder / "data", folder / "keys", Engine.MOSQUITTO)
    try:
        fleet.publish(bundle)
        contents = Contents.from_json(fleet.service.export([], None, 30))
        mirror.write(folder / "stick", contents, lambda digest: [fleet.service.store.blobs.read(digest)])
        root = folder / "root.json"
        root.write_bytes(fleet.repository.first_root())
    finally:
        fleet.server.shutdown()
    request = Request(
        job="plan",
        root=str(root),
        metadata_dir=str(folder / "tuf"),
        tenant="main",
        device="bench",
        model=bundle.manifest.model,
        release=1,
        bundle=bundle.digest,
        folder=str(folder / "stick"),
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "agent.updater.child", str(theirs.fileno())]
        child = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
        theirs.close()
        ours.sendall(request.encode())
        peak = peak_of(child.pid, resident, lambda: child.poll() is None)
        answer = b"".join(iter(lambda: ours.recv(65_536), b""))
    if not isinstance(ChildReader().feed(answer)[0], Plan):
        raise RuntimeError(f"the updater child did not verify it: {answer[:300]!r}")
    shutil.rmtree(folder)
    return peak


def delta_head(scene: Scene) -> Reading:
    """The last layer's weights and biases are others; every other byte is as it was."""
    model = scene.models.camera
    made = delta.make(model.content, retrain_head(model.content))
    return Reading(len(made) / len(model.content), f"{len(made):,} of {len(model.content):,} bytes; {model.source}")


# --- processes --------------------------------------------------------------------------------------------------


def private(pid: int) -> float:
    found = memory(pid)
    return found["Private_Clean"] + found["Private_Dirty"]


def resident(pid: int) -> float:
    return memory(pid)["Rss"]


def peak_of(pid: int, what: Callable[[int], float], goes_on: Callable[[], bool]) -> float:
    """The most that was seen."""
    peak = 0.0
    while goes_on():
        try:
            peak = max(peak, what(pid))
        except (OSError, KeyError, ValueError):  # it has just ended
            continue
        time.sleep(LOOK_S)
    return peak


def _spawn(module: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *words], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended")
    return line


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
