"""`python -m bench.fleet_host FOLDER DEVICES BYTES`: a fleet server with so many devices, and one release to fetch.

It is in FOLDER, brings mosquitto along, and writes FOLDER/told.json for bench.light. Says `ready`. At the first line it
rolls the release out to all, and says how many seconds of CPU that took, with a desired state for each device; at the
second it says how many it took since then, while devices fetched; at the third it ends.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from fleet import ca, keys, repo, store
from fleet.broker import Engine
from littoral.wire.topics import CHUNK_BYTES
from tests.fleet.parts import PASSPHRASE, Bundle, Fleet, client_context, make_bundle, now, start_fleet

SETTLED_S = 1.0
RESTING = 0.005  # seconds of CPU in that time, of threads that only look


def create(folder: Path) -> None:
    """As `littoral-fleet init` does it."""
    data = folder / "data"
    data.mkdir(parents=True)
    ca.create(data)
    repo.create(data, keys.make(folder / "keys", PASSPHRASE), now())
    (data / "admin-token").write_text(store.create(data))


def write_told(fleet: Fleet, bundle: Bundle, folder: Path, devices: int) -> None:
    told = []
    for number in range(devices):
        answer, key = fleet.enrol(f"light-{number}")
        identity = folder / f"light-{number}"
        client_context(answer, key, identity)
        broker = answer["broker"]
        told.append({"id": answer["device"], "folder": str(identity), "host": broker["host"], "port": broker["port"]})
    value = {"devices": told, "digests": sorted(bundle.chunks())}
    (folder / "told.json").write_text(json.dumps(value))


def settled() -> float:
    """Seconds of CPU as soon as this process has nothing more to do."""
    before = -1.0
    while (now := time.process_time()) - before > RESTING:
        before = now
        time.sleep(SETTLED_S)
    return now


def main(where: str, devices: str, size: str) -> None:
    folder = Path(where)
    create(folder)
    bundle = make_bundle(size=int(size), chunk_bytes=CHUNK_BYTES)
    fleet = start_fleet(folder / "data", folder / "keys", Engine.MOSQUITTO)
    try:
        fleet.publish(bundle)
        write_told(fleet, bundle, folder, int(devices))
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.process_time()
        fleet.service.start_rollout(bundle.manifest.model, 1, "all")
        rolled_out = settled()
        print(rolled_out - began, flush=True)
        sys.stdin.readline()
        print(time.process_time() - rolled_out, flush=True)
        sys.stdin.readline()
    finally:
        fleet.server.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
