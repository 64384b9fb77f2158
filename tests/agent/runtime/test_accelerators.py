"""Exclusive accelerators: one process has one open, whatever is switched or asked; on a real host (scripted.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import control
from littoral import errors
from littoral.bundle.manifest import Needs
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import Device

QUESTION = b"\x00\x01\x02\x03"


def npu(folder: Path, models: str) -> str:
    return f"[delegates.npu]\npath = '{folder / 'npu.so'}'\nmodels = {models}\n"


def engine_of(device: Device, model: str) -> str:
    return device.client(model).welcome.engine


def test_a_switch_on_an_accelerator_unloads_the_old_release_first(scripted_device: MakeDevice, tmp_path: Path) -> None:
    device = scripted_device(tables=npu(tmp_path, "['m']"))
    old, new = (device.add("m", n, scripted.model(answer=n)) for n in (1, 2))
    device.record("m", old, new, active="b", trial=True)
    device.start()
    asking, agent = device.client("m"), device.agent()
    assert asking.infer(QUESTION).release == 1
    assert agent.apply("m", 2).stage == "trial"
    assert asking.infer(QUESTION).release == 2
    assert engine_of(device, "m") == "scripted 1 (npu)"
    with pytest.raises(errors.NoReleaseError, match="accelerator"):
        device.client("m@baseline")


def test_a_second_model_runs_on_the_cpu_while_the_first_has_the_accelerator(
    scripted_device: MakeDevice, tmp_path: Path
) -> None:
    device = scripted_device(tables=npu(tmp_path, "['a', 'b']"))
    for name in ("a", "b"):
        device.record(name, device.add(name, 1, scripted.model(answer=1)))
    device.start()
    assert [engine_of(device, name) for name in ("a", "b")] == ["scripted 1 (npu)", "scripted 1"]


def test_a_second_model_that_refuses_the_cpu_is_not_served_and_the_agent_told_why(
    scripted_device: MakeDevice, tmp_path: Path
) -> None:
    device = scripted_device(tables=npu(tmp_path, "[]"))
    needs = Needs(delegate="npu", cpu="refuse")
    for name in ("a", "b"):
        device.record(name, device.add(name, 1, scripted.model(answer=1), needs=needs))
    device.start()
    assert engine_of(device, "a") == "scripted 1 (npu)"
    failed = device.agent().expect(control.Failed)
    assert (failed.model, failed.code) == ("b", "incompatible")
    assert "a has the npu delegate open" in failed.reason
