"""A broker that holds one file in chunks, as the fleet server leaves it there, and whoever fetches it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bench.runtime import ROOT
from fleet.broker import find_mosquitto
from littoral import canonical
from littoral.bundle.chunks import list_of, parse_list, split
from littoral.wire.messages import encode_names
from littoral.wire.topics import Topics

TOPICS = Topics("main")
START_S = 60.0


@contextmanager
def broker(folder: Path, address: str, port: int) -> Iterator[None]:
    """mosquitto without TLS, as only bytes are counted here."""
    settings = [f"listener {port} {address}", "allow_anonymous true", "persistence false", "user root"]
    (folder / "mosquitto.conf").write_text("\n".join(settings) + "\n")
    process = subprocess.Popen(
        [find_mosquitto() or "mosquitto", "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def publish(address: str, port: int, size: int) -> dict[str, Any]:
    """Puts a file of random bytes on the broker; what a fetcher has to know of it."""
    data = random.Random(size).randbytes(size)
    pieces = list(split(data))
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "publisher", protocol=MQTTProtocolVersion.MQTTv5)
    up = threading.Event()
    client.on_connect = lambda *_: up.set()
    client.connect_async(address, port)
    client.loop_start()
    if not up.wait(START_S):
        raise RuntimeError("the broker does not answer")
    topics = {TOPICS.chunk(canonical.digest(piece)): piece for piece in pieces} | {TOPICS.index: encode_names([])}
    for info in [client.publish(topic, payload, qos=1, retain=True) for topic, payload in topics.items()]:
        info.wait_for_publish(START_S)
    client.disconnect()
    client.loop_stop()
    return {"sha256": canonical.digest(data), "length": size, "digests": parse_list(list_of(iter(pieces)))}


class Fetcher:
    """A process that fetches the file once it is told to."""

    def __init__(self, folder: Path, host: str, port: int, file: dict[str, Any]) -> None:
        folder.mkdir()
        told = json.dumps({"folder": str(folder), "host": host, "port": port, "file": file})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.fetcher", told],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._line()  # connected

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def result(self) -> dict[str, float]:
        """Waits for the end: seconds, and what its tally says."""
        found: dict[str, float] = json.loads(self._line())
        return found

    def watch(self) -> threading.Event:
        """Set as soon as it has fetched everything."""
        done = threading.Event()

        def wait() -> None:
            self.result()
            done.set()

        threading.Thread(target=wait, daemon=True).start()
        return done

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the fetcher ended")
        return line
