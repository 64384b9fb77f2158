"""Releases that cannot be loaded, or do not fit into memory, on a real host (scripted.py has the models)."""

from __future__ import annotations

import pytest

from agent import control, slots
from agent.slots import Slot
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import PATIENCE_S, Device
from tests.agent.runtime.host.test_serving import QUESTION, on_trial

# --- loads that fail --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "code"), [({"load": "refuse"}, "model-load"), ({"load": "crash"}, "crashed"), ({"load": "hang"}, "hung")]
)
@pytest.mark.parametrize("handover", [False, True], ids=["overlap", "handover"])
def test_a_trial_that_cannot_be_loaded_leaves_the_baseline_serving(
    scripted_device: MakeDevice, how: dict[str, object], code: str, handover: bool
) -> None:
    device = scripted_device(trial_timeout_s=3.0 if code == "hung" else PATIENCE_S)
    _, new = on_trial(device, **how)
    asking, agent = device.client("m"), device.agent()
    agent.send(control.Apply("m", handover))
    failed = agent.expect(control.Failed)
    assert (failed.bundle, failed.code) == (new.bundle, code)
    serving = agent.expect(control.Serving)
    assert (serving.release, serving.reason) == (1, "failed")
    assert asking.infer(QUESTION).release == 1


def test_a_release_whose_bytes_changed_on_the_disk_is_not_loaded(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    _, new = on_trial(device)
    (slots.release_folder(device.state, new.bundle) / "model").write_bytes(scripted.model(answer=3))
    agent = device.agent()
    agent.send(control.Apply("m"))
    assert agent.expect(control.Failed).code == "digest-mismatch"
    assert agent.expect(control.Serving).release == 1


# --- memory -----------------------------------------------------------------------------------------------------

MIB = 1024 * 1024


def with_memory(device: Device, new_bytes: int) -> None:
    """Release 1 of m takes 60 MiB; release 2 was measured by its trial to take `new_bytes`."""
    old = device.add("m", 1, scripted.model(answer=1, bytes=60 * MIB))
    new = device.add("m", 2, scripted.model(answer=2))
    new = Slot(new.release, new.bundle, new.version, memory_bytes=new_bytes)
    device.record("m", old, new, active="b", trial=True)
    device.start()


def test_memory_is_measured_and_told(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    with_memory(device, 1)
    agent = device.agent()
    with device.client("m"):
        agent.send(control.Measure())
        memory = agent.expect(control.Memory)
    assert memory.models["m"] > 60 * MIB
    assert memory.budget_bytes > 0


def test_a_release_that_fits_only_without_the_old_one_is_handed_over(scripted_device: MakeDevice) -> None:
    device = scripted_device(memory_budget_bytes=110 * MIB)
    with_memory(device, 70 * MIB)
    asking, agent = device.client("m"), device.agent()
    assert asking.infer(QUESTION).release == 1
    agent.apply("m", 2)
    assert asking.infer(QUESTION).release == 2


def test_a_release_that_does_not_fit_at_all_is_refused(scripted_device: MakeDevice) -> None:
    device = scripted_device(memory_budget_bytes=100 * MIB)
    with_memory(device, 101 * MIB)
    asking, agent = device.client("m"), device.agent()
    agent.send(control.Apply("m"))
    assert agent.expect(control.Failed).code == "no-room"
    assert agent.expect(control.Serving).release == 1
    assert asking.infer(QUESTION).release == 1


def test_what_is_committed_is_served_at_start_whatever_it_takes(scripted_device: MakeDevice) -> None:
    device = scripted_device(memory_budget_bytes=1 * MIB)
    device.record("m", device.add("m", 1, scripted.model(bytes=5 * MIB)))
    device.start()
    assert device.client("m").infer(QUESTION).release == 1
