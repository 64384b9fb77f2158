"""The host as a whole, with a real engine and real models."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent import control
from examples.demo.assets import Assets, ensure
from littoral import client
from tests.agent.runtime import reals
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import PATIENCE_S, ROOT, Device, engine_under_test, until

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def assets() -> Assets:
    return ensure()


@pytest.fixture
def device(real_device: MakeDevice, assets: Assets) -> Device:
    """A device that serves two real models."""
    made = real_device()
    labels = "\n".join(assets.labels).encode()
    made.record("classifier", made.add("classifier", 1, assets.classifier.read_bytes(), labels=labels))
    made.record("keywords", made.add("keywords", 7, assets.models["keywords-on-off"].read_bytes()))
    made.start()
    return made


def test_models_answer_side_by_side_exactly_as_in_this_process(device: Device, assets: Assets) -> None:
    models = {"classifier": assets.classifier, "keywords": assets.models["keywords-on-off"]}
    numbers = random.Random(6)
    for name, path in models.items():
        loaded = reals.load(path.read_bytes())
        asking = device.client(name)
        for _ in range(10):
            question = numbers.randbytes(loaded.interface.input_bytes)
            assert asking.infer(question).data == loaded.run(question).data


def test_a_client_is_told_the_labels_and_the_engine(device: Device, assets: Assets) -> None:
    asking = device.client("classifier")
    assert asking.labels == assets.labels
    assert asking.welcome.engine.startswith(engine_under_test())


def test_each_worker_is_a_process_of_its_own_that_holds_one_model(device: Device) -> None:
    device.client("classifier")
    device.client("keywords")
    agent = device.agent()
    workers = {agent.expect_counts(name, errors=0).worker for name in ("classifier", "keywords")}
    assert len(workers) == 2
    agent.send(control.Measure())
    memory = agent.expect(control.Memory)
    assert set(memory.models) == {"classifier", "keywords"}
    assert all(0 < taken < memory.budget_bytes for taken in memory.models.values())
    assert device.process is not None
    assert len(list(Path(f"/proc/{device.process.pid}/task").iterdir())) == 1


def workers_of(device: Device) -> list[int]:
    assert device.process is not None
    text = Path(f"/proc/{device.process.pid}/task/{device.process.pid}/children").read_text()
    return [int(pid) for pid in text.split()]


def test_a_host_that_is_asked_to_end_takes_its_workers_and_sockets_with_it(device: Device) -> None:
    device.client("classifier")
    workers = workers_of(device)
    assert workers
    device.stop()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the workers to end")
    assert not device.socket.exists()
    assert not (device.state / "control.sock").exists()


def test_workers_die_with_their_host_and_the_next_host_takes_over_its_sockets(device: Device) -> None:
    asking = device.client("classifier")
    question = bytes(asking.interface.input_bytes)
    before = asking.infer(question).data
    workers = workers_of(device)
    assert device.process is not None
    device.process.send_signal(signal.SIGKILL)
    device.process.wait(PATIENCE_S)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the workers to end")
    assert device.socket.exists()
    device.start()
    assert asking.infer(question).data == before  # the client reconnects by itself


def test_a_second_host_for_the_same_folder_is_refused(device: Device) -> None:
    command = [sys.executable, "-m", "agent.runtime.cli", "run", "--config", str(device.state / "agent.toml")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.returncode == 1
    assert "another process listens" in ran.stderr
    assert len(client.models(device.socket)) == 2
