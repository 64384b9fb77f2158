"""Accelerators: which one a release runs on, and a real library of one, made for the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent import control
from agent.runtime.engine import Delegate, Engine
from agent.runtime.engines import open_engine
from agent.runtime.engines.delegates import for_release
from littoral.bundle.manifest import Needs
from littoral.errors import IncompatibleError
from littoral.tensors import Interface, Tensor
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import Device, engine_under_test, interface_digests
from tests.agent.runtime.engines import samples
from tests.agent.runtime.engines.samples import floats

pytestmark = pytest.mark.engine

TPU = Delegate("edgetpu", "/usr/lib/libedgetpu.so.1")
GPU = Delegate("gpu", "/usr/lib/libgpu.so", models=("faces",))
QUESTION, ANSWER = floats(1, 2, 3, 4), floats(2, 4, 6, 8)


# --- which one --------------------------------------------------------------------------------------------------


def test_a_model_that_the_configuration_names_runs_there_unasked() -> None:
    assert for_release([TPU, GPU], Needs(), "faces") == GPU
    assert for_release([TPU, GPU], Needs(delegate="edgetpu"), "faces") == GPU
    assert for_release([TPU, GPU], Needs(), "cats") is None


def test_a_release_gets_the_kind_it_asks_for() -> None:
    assert for_release([TPU, GPU], Needs(delegate="gpu"), "cats") == GPU
    assert for_release([TPU, GPU], Needs(delegate="npu"), "cats") is None


def test_a_release_that_refuses_the_cpu_is_refused_where_there_is_no_such_delegate() -> None:
    with pytest.raises(IncompatibleError, match="npu"):
        for_release([TPU], Needs(delegate="npu", cpu="refuse"), "cats")
    chosen = for_release([TPU], Needs(delegate="edgetpu", cpu="refuse"), "cats")
    assert chosen is not None
    assert chosen.required


# --- a real library ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine() -> Engine:
    return open_engine(engine_under_test())


def text(engine: Engine, note: str) -> str:
    return f"{engine.name} {engine.version} ({note}"


@pytest.mark.parametrize(("options", "answer"), [({}, ANSWER), ({"delta": "0.5"}, floats(2.5, 4.5, 6.5, 8.5))])
def test_a_model_runs_on_the_delegate_and_says_so(
    engine: Engine, delegate_library: Path, options: dict[str, str], answer: bytes
) -> None:
    model = engine.load(samples.FLOAT_SAMPLE, (), 1, Delegate("ours", str(delegate_library), options))
    assert model.engine == text(engine, "ours)")
    for interpreter in (model.interpreter(), model.interpreter()):
        assert interpreter.run(QUESTION).data == answer


def test_a_delegate_is_opened_once_in_the_process_that_loads(
    engine: Engine, delegate_library: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    model = engine.load(samples.FLOAT_SAMPLE, (), 1, Delegate("ours", str(delegate_library), {"log": str(log)}))
    model.interpreter()
    model.interpreter()
    assert log.read_text().split("\n") == [f"{os.getpid()} created", *[f"{os.getpid()} prepared"] * 2, ""]


BROKEN = {"no such library": None, "no such device": {"fail": "no such device"}, "unfit": {"unfit": "1"}}


@pytest.fixture(params=sorted(BROKEN))
def broken(request: pytest.FixtureRequest, delegate_library: Path) -> Delegate:
    options = BROKEN[request.param]
    return Delegate("ours", "/nowhere/lib.so") if options is None else Delegate("ours", str(delegate_library), options)


def test_what_cannot_be_used_is_replaced_by_the_cpu_with_the_reason(engine: Engine, broken: Delegate) -> None:
    model = engine.load(samples.FLOAT_SAMPLE, (), 1, broken)
    assert model.engine.startswith(text(engine, "CPU: ours cannot be used: "))
    assert "\n" not in model.engine
    assert model.interpreter().run(QUESTION).data == ANSWER


def test_what_must_be_used_and_cannot_is_incompatible(engine: Engine, broken: Delegate) -> None:
    required = Delegate("ours", broken.path, broken.options, required=True)
    with pytest.raises(IncompatibleError, match="ours cannot be used"):
        engine.load(samples.FLOAT_SAMPLE, (), 1, required)


def test_a_library_that_is_no_delegate_is_told_by_name(engine: Engine) -> None:
    libc = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libc." in line)
    model = engine.load(samples.FLOAT_SAMPLE, (), 1, Delegate("ours", libc))
    assert "has no tflite_plugin_create_delegate" in model.engine


# --- in the trial -----------------------------------------------------------------------------------------------


def tried(make: MakeDevice, library: Path, options: str, needs: Needs, **more: str) -> control.Tried:
    device: Device = make()
    with (device.state / "agent.toml").open("a") as file:
        file.write(f'[delegates.ours]\npath = "{library}"\noptions = {options}\n')
        file.writelines(f"{key} = {value}\n" for key, value in more.items())
    interface = Interface((Tensor("x", "float32", (1, 4)),), (Tensor("y", "float32", (1, 4)),))
    slot = device.add("m", 2, samples.FLOAT_SAMPLE, interface=interface_digests(interface), needs=needs)
    device.start()
    return device.agent().trial("m", slot)


def test_a_trial_tells_how_far_the_delegate_is_from_the_cpu(real_device: MakeDevice, delegate_library: Path) -> None:
    told = tried(real_device, delegate_library, '{ delta = "0.5" }', Needs(delegate="ours"))
    assert (told.code, told.reason) == ("", "")
    assert 200_000 < told.facts["delegate_ppm"] < 600_000  # of answers up to 2
    assert (told.facts["threads"], told.facts["interpreters"]) == (1, 1)


def test_a_trial_on_the_cpu_says_why_it_is_not_on_the_delegate(real_device: MakeDevice, delegate_library: Path) -> None:
    told = tried(real_device, delegate_library, '{ fail = "no such device" }', Needs(delegate="ours"))
    assert told.code == ""
    assert "no such device" in told.reason
    assert "delegate_ppm" not in told.facts


def test_a_release_that_refuses_the_cpu_is_incompatible_and_nothing_is_proven(
    real_device: MakeDevice, delegate_library: Path
) -> None:
    options, needs = '{ fail = "no such device" }', Needs(delegate="ours", cpu="refuse")
    told = tried(real_device, delegate_library, options, needs, exclusive="false")
    assert (told.code, told.proven) == ("incompatible", False)


def test_a_delegate_that_another_process_may_have_open_does_not_fail_a_trial(
    real_device: MakeDevice, delegate_library: Path
) -> None:
    told = tried(real_device, delegate_library, '{ fail = "busy" }', Needs(delegate="ours", cpu="refuse"))
    assert told.code == ""
    assert "busy" in told.reason
