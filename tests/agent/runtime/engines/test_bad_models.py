"""Spoiled models against the real trial child: whatever it does, the host goes on, and says by name what happened."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from agent import control
from agent.runtime.engines import modelfile
from examples.demo.assets import ensure
from littoral import errors
from littoral.tensors import Interface
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import Device, engine_under_test, interface_digests
from tests.agent.runtime.engines import samples

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(engine_under_test() != "litert", reason="models are spoiled with the schema in LiteRT's wheel"),
]

MIB = 1024 * 1024
CODES = {"", "crashed", "hung", "wrong-interface", "golden-mismatch", "not-finite", *errors.all_errors()}
MOST_GROWTH_BYTES = 4 * MIB  # of the host: names and counts of what it has seen


def declared(content: bytes) -> dict[str, str]:
    """The interface that the spoiled file itself tells, so that the trial goes on to load and run it."""
    try:
        file = modelfile.read(content)
        graph = file.graphs[0]
        inputs, outputs = (
            tuple(file.tensor(0, index, file.shape(0, index)) for index in indices)
            for indices in (graph.inputs, graph.outputs)
        )
        return interface_digests(Interface(inputs, outputs))
    except errors.ModelLoadError:
        return {}


def host_bytes(device: Device) -> int:
    assert device.process is not None
    lines = Path(f"/proc/{device.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def host_descriptors(device: Device) -> int:
    assert device.process is not None
    return len(list(Path(f"/proc/{device.process.pid}/fd").iterdir()))


def survives(make: MakeDevice, count: int) -> Counter[str]:
    """How many trials of spoiled models ended in which code, on one host that serves a good one all the time."""
    from tests.agent.runtime.engines.mutations import mutations

    assets = ensure()
    models = [assets.classifier.read_bytes(), assets.models["micro-speech"].read_bytes()]
    models += [samples.selftest(), samples.counting()]
    device = make(trial_timeout_s=10.0, memory_budget_bytes=256 * MIB)
    device.record("good", device.add("good", 1, samples.FLOAT_SAMPLE))
    device.start()
    asking, agent = device.client("good"), device.agent()
    question = samples.floats(1, 2, 3, 4)
    codes: Counter[str] = Counter()
    before: tuple[int, int] | None = None
    for number, (name, content) in enumerate(mutations(models, count)):
        slot = device.add("m", 2 + number, content or b"\0", interface=declared(content))
        agent.send(control.Try(number, "m", slot.bundle))
        told = agent.expect(control.Tried)
        assert told.code in CODES, f"{name}: {told}"
        assert asking.infer(question).data == samples.floats(2, 4, 6, 8), name
        codes[told.code] += 1
        if number == 9:
            before = host_bytes(device), host_descriptors(device)
    assert before is not None
    assert host_bytes(device) - before[0] < MOST_GROWTH_BYTES
    assert host_descriptors(device) == before[1]
    return codes


@pytest.mark.slow
def test_no_spoiled_model_hurts_the_host(real_device: MakeDevice) -> None:
    codes = survives(real_device, 40)
    assert codes["model-load"] > 5, codes  # most are refused by name, and not by a signal


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_a_thousand_spoiled_models_do_not_hurt_the_host(real_device: MakeDevice) -> None:
    codes = survives(real_device, 1_000)
    assert codes["model-load"] > 100, codes
    assert codes["crashed"] > 0, codes  # or these are no longer the models that kill
