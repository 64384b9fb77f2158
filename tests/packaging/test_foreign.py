"""The packages of arm64 and armhf, run by qemu: they import, pass their self-test, verify, and switch releases.

Everything is really signed, by a fleet server of the amd64 packages; the device has Debian 12's Python and
cryptography.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.device import tree
from littoral import client
from littoral.errors import LittoralError
from tests.packaging import built, fleet, foreign, system
from tests.packaging.built import package
from tests.packaging.system import Ended, System

PATIENCE_S = 180.0  # of a step of some seconds on a device
ENGINES = {"arm64": "litert 2.3.0", "armhf": "tflite 2.14.0"}

lacking = system.lacking() or built.lacking("mmdebstrap") or built.foreign_machine()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(lacking), reason=lacking),
]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the server left: `device`, `stick-1`, `stick-2`."""
    server = System(tree.ensure("bookworm", tree.SERVER), tmp_path_factory.mktemp("server") / "system")
    server.install(
        *(package(name, "amd64") for name in ("littoral-agent", "littoral-fleet")), package("python3-littoral", "all")
    )
    return fleet.run(server)


@pytest.fixture(params=ENGINES)
def architecture(request: pytest.FixtureRequest) -> Iterator[str]:
    name = str(request.param)
    if reason := foreign.lacking(name):
        pytest.skip(reason)
    with foreign.runnable(name):
        yield name


@pytest.fixture
def device(architecture: str, published: Path, tmp_path: Path) -> System:
    machine = foreign.device(architecture, tmp_path / "system")
    foreign.unpack(machine, package("littoral-agent", architecture), package("python3-littoral", "all"))
    for name in ("device", "stick-1", "stick-2"):
        shutil.copytree(published / name, machine.shared / name)
    shutil.copytree(published / "stick-1", machine.shared / "altered")
    return machine


def alter(metadata: Path) -> None:
    """Makes the stick good for a hundred years, under the signature that it has."""
    timestamp = metadata / "timestamp.json"
    timestamp.write_bytes(timestamp.read_bytes().replace(b'"expires":"20', b'"expires":"21', 1))


def wait_for(what: str, condition: Callable[[], object], log: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"no {what} after {PATIENCE_S:.0f} s\n{log.read_text()[-4000:]}"
        time.sleep(0.5)


def test_a_foreign_device_verifies_tries_and_switches(device: System, architecture: str, tmp_path: Path) -> None:
    """From nothing to release 1 to release 2, by both daemons, with golden answers made on amd64."""
    socket, log = device.shared / "device/query.sock", tmp_path / "log"

    def serves(release: int) -> bool:
        try:
            return any(entry["release"] == release for entry in client.models(str(socket)))
        except LittoralError:
            return False

    def install(stick: str) -> Ended:
        config = ("--config", "/srv/device/agent.toml", "--wait")
        return device.attempt("littoral-agent", "install", f"/srv/{stick}", *config, timeout_s=PATIENCE_S)

    alter(device.shared / "altered/meta")

    daemons = " & ".join(
        f"{name} run --config /srv/device/agent.toml" for name in ("littoral-runtime", "littoral-agent")
    )
    with device.running("dash", "-c", f"{daemons} & wait", log=log):
        wait_for("socket", socket.exists, log)
        assert install("altered").status == 1
        assert not serves(1)
        for release in (1, 2):
            done = install(f"stick-{release}")
            assert done.status == 0, f"{done.output}\n{log.read_text()[-4000:]}"
            wait_for(f"release {release}", partial(serves, release), log)
        with client.Client(fleet.NAME, socket=str(socket), timeout_s=PATIENCE_S) as asked:
            inputs = {"a": np.zeros((1, 4), np.float32), "b": np.zeros((1, 8), np.int8)}
            assert asked.infer(inputs).release == 2
        (entry,) = client.models(str(socket))
        assert entry["engine"] == ENGINES[architecture]
