"""`python -m bench.light FILE`: many devices in one process that fetch one release, and do nothing else.

FILE holds JSON: devices, a list of {id, folder (ca.pem, device.pem, device.key), host, port}; digests, of the chunks.
Says `connected`, waits for a line, then `done` as soon as every device has every chunk, each checked against its name.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from littoral.bundle.chunks import is_named
from littoral.wire.topics import Topics

WINDOW = 8  # chunks
TOPICS = Topics("main")


class Light:
    """One device."""

    def __init__(self, told: dict[str, Any], digests: list[str]) -> None:
        self.up, self.done = threading.Event(), threading.Event()
        self._left = list(digests)
        self._missing = set(digests)
        folder = Path(told["folder"])
        context = ssl.create_default_context(cafile=folder / "ca.pem")
        context.load_cert_chain(folder / "device.pem", folder / "device.key")
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, told["id"], protocol=MQTTProtocolVersion.MQTTv5)
        self.client.tls_set_context(context)
        self.client.on_connect = lambda *_: self.up.set()
        self.client.on_message = self._on_message
        self.client.connect(told["host"], told["port"])
        self.client.loop_start()

    def begin(self) -> None:
        for _ in range(WINDOW):
            self._ask()

    def _ask(self) -> None:
        if self._left:
            self.client.subscribe(TOPICS.chunk(self._left.pop()), qos=0)

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        digest = message.topic.rpartition("/")[2]
        if not is_named(bytes(message.payload), digest) or digest not in self._missing:
            return
        self._missing.remove(digest)
        client.unsubscribe(message.topic)
        self._ask()
        if not self._missing:
            self.done.set()


def main(told: str) -> None:
    value = json.loads(Path(told).read_text())
    devices = [Light(device, value["digests"]) for device in value["devices"]]
    for device in devices:
        device.up.wait()
    print("connected", flush=True)
    sys.stdin.readline()
    for device in devices:
        device.begin()
    for device in devices:
        device.done.wait()
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
