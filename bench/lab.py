"""`python -m bench.lab TOLD`, in a network namespace of its own: fetching over a bad link, beside one TCP stream.

TOLD is JSON: folder, condition (fields of bench.link.Condition), size (bytes), rounds. Says {tcp: [s, ...], fetch:
[s, ...]}. Both take the same link one after the other.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from bench import link
from bench.published import Fetcher, broker, publish

MQTT_PORT, TCP_PORT = 1883, 1884  # low ones: a link tells the ways by them


def main(told: str) -> None:
    value = json.loads(told)
    folder, size = Path(value["folder"]), value["size"]
    descriptor = link.open_link()
    found: dict[str, list[float]] = {"tcp": [], "fetch": []}
    with broker(folder, "0.0.0.0", MQTT_PORT):
        file = publish("127.0.0.1", MQTT_PORT, size)
        for number in range(value["rounds"]):
            carrier = os.fork()
            if not carrier:
                link.carry(descriptor, link.Condition(**value["condition"]), number)
            try:
                found["tcp"].append(stream_s(size))
                found["fetch"].append(fetch_s(folder / str(number), file))
            finally:
                os.kill(carrier, signal.SIGKILL)
                os.waitpid(carrier, 0)
    print(json.dumps(found))


def fetch_s(folder: Path, file: dict[str, object]) -> float:
    fetcher = Fetcher(folder, link.FAR, MQTT_PORT, file)
    try:
        fetcher.begin()
        return fetcher.result()["seconds"]
    finally:
        fetcher.stop()
        shutil.rmtree(folder)


def stream_s(size: int) -> float:
    """Seconds that one TCP connection takes for as many bytes, from its first byte asked for to its last."""
    with socket.create_server((link.NEAR, TCP_PORT)) as server:
        threading.Thread(target=send, args=(server, size), daemon=True).start()
        with socket.create_connection((link.FAR, TCP_PORT)) as stream:
            began = time.monotonic()
            stream.sendall(b"?")
            left = size
            while left and (data := stream.recv(65_536)):
                left -= len(data)
    if left:
        raise RuntimeError(f"the stream ended {left} bytes early")
    return time.monotonic() - began


def send(server: socket.socket, size: int) -> None:
    stream, _ = server.accept()
    with stream:
        stream.recv(1)
        stream.sendall(bytes(size))


if __name__ == "__main__":
    main(sys.argv[1])
