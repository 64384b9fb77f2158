"""`python -m bench.fetcher TOLD`: the agent's way of fetching, its link and its modules, with one file to fetch.

TOLD is JSON: folder, host, port, file {sha256, length, digests}. It says `connected`, waits for a line, fetches, and
says how many seconds it took.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from pathlib import Path

import agent.main  # noqa: F401  what the agent holds anyway
from agent.config import Broker, Config
from agent.link.link import Link
from agent.link.source import MqttSource
from agent.updater.fetch import Fetch, File
from littoral.wire.topics import CHUNK_BYTES, Topics

TICK_S = 0.1  # as agent.main while it is busy


def wake_up(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.write(descriptor, b"\0")


def main(told: str) -> None:
    value = json.loads(told)
    folder = Path(value["folder"])
    file = File(value["file"]["sha256"], value["file"]["length"], tuple(value["file"]["digests"]))
    config = Config(state=folder, device="fetcher", broker=Broker(value["host"], value["port"], tls=False))
    woken, wake = os.pipe2(os.O_NONBLOCK)
    link = Link(config, "boot", lambda: wake_up(wake))
    source = MqttSource(link, Topics("main"), config.device)
    link.start()
    while not link.connected:
        link.poll()
        time.sleep(TICK_S / 10)
    print("connected", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    fetch = Fetch(folder, [file], CHUNK_BYTES, source, config.updates, lambda wanted, got, repeats: None)
    while not fetch.complete:
        if select.select([woken], [], [], TICK_S)[0]:
            os.read(woken, 4_096)
        for event in link.poll():
            source.heard(event)
        now = time.monotonic()
        for got in source.poll():
            if got.data is not None:
                fetch.take(got.name, got.data, now)
        fetch.tick(now, link.connected)
    print(json.dumps({"seconds": time.monotonic() - began, **fetch.tally.facts()}), flush=True)
    sys.stdin.readline()
    link.stop()


if __name__ == "__main__":
    main(sys.argv[1])
