"""Both engines, with real models."""

from __future__ import annotations

import importlib
import os
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from agent.runtime import engines
from agent.runtime.engines import Engine, engine_messages, open_engine
from examples.demo.assets import Assets, ensure
from littoral.errors import EngineError, InferenceError, ModelLoadError
from littoral.tensors import Tensor
from tests.agent.runtime.device import ROOT, engine_under_test

pytestmark = pytest.mark.engine

MODULES = {"litert": "ai_edge_litert.interpreter", "tflite": "tflite_runtime.interpreter"}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return open_engine(engine_under_test())


@pytest.fixture(scope="module")
def assets() -> Assets:
    return ensure()


def in_process(model: bytes, data: bytes) -> bytes:
    """What the engine's own class answers, with no part of Littoral between."""
    interpreter: Any = importlib.import_module(MODULES[engine_under_test()]).Interpreter(
        model_content=model, num_threads=1
    )
    interpreter.allocate_tensors()
    at = 0
    for details in interpreter.get_input_details():
        size = int(np.prod(details["shape"])) * np.dtype(details["dtype"]).itemsize
        array = np.frombuffer(data[at : at + size], details["dtype"]).reshape(details["shape"])
        interpreter.set_tensor(details["index"], array)
        at += size
    interpreter.invoke()
    return b"".join(interpreter.get_tensor(d["index"]).tobytes() for d in interpreter.get_output_details())


@pytest.mark.parametrize("name", ["classifier", "keywords-on-off", "micro-speech", "fingerprint"])
def test_a_model_answers_exactly_what_the_engine_itself_answers(engine: Engine, assets: Assets, name: str) -> None:
    path = assets.classifier if name == "classifier" else assets.models[name]
    model = path.read_bytes()
    loaded = engine.load(model, ())
    numbers = random.Random(3)
    for _ in range(3):
        data = numbers.randbytes(loaded.interface.input_bytes)
        result = loaded.run(data)
        assert result.data == in_process(model, data)
        assert result.finite


def test_an_interface_tells_names_dtypes_shapes_and_quantization(engine: Engine, assets: Assets) -> None:
    interface = engine.load(assets.classifier.read_bytes(), assets.labels).interface
    assert interface.inputs == (Tensor("input_1_int8", "int8", (1, 32, 32, 3), 1 / 128, 0),)
    assert interface.outputs == (Tensor("Identity_int8", "int8", (1, 10), 1 / 256, -128),)
    assert interface.labels == assets.labels


def test_a_float_model_runs(engine: Engine, assets: Assets) -> None:
    loaded = engine.load(assets.models["rock-paper-scissors"].read_bytes(), ())
    assert loaded.interface.inputs[0].dtype == "float32"
    result = loaded.run(np.full(84 * 84, 0.5, "float32").tobytes())
    assert result.finite
    assert abs(float(np.frombuffer(result.data, "float32").sum()) - 1) < 0.05


def test_a_view_of_a_larger_buffer_will_do(engine: Engine, assets: Assets) -> None:
    loaded = engine.load(assets.classifier.read_bytes(), ())
    data = random.Random(4).randbytes(loaded.interface.input_bytes)
    assert loaded.run(memoryview(b"head" + data)[4:]) == loaded.run(data)


def test_bytes_of_another_size_are_a_named_error_and_the_next_run_is_right(engine: Engine, assets: Assets) -> None:
    loaded = engine.load(assets.classifier.read_bytes(), ())
    data = random.Random(4).randbytes(loaded.interface.input_bytes)
    before = loaded.run(data)
    with pytest.raises(InferenceError):
        loaded.run(data[:-1])
    assert loaded.run(data) == before


def test_two_models_live_beside_each_other(engine: Engine, assets: Assets) -> None:
    one = engine.load(assets.classifier.read_bytes(), ())
    data = random.Random(4).randbytes(one.interface.input_bytes)
    alone = one.run(data)
    other = engine.load(assets.models["micro-speech"].read_bytes(), ())
    other.run(bytes(other.interface.input_bytes))
    assert one.run(data) == alone


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x1c\0\0\0TFL3" + bytes(100)])
def test_bytes_that_are_no_model_are_refused_by_name(engine: Engine, content: bytes) -> None:
    if content[4:8] == b"TFL3" and engine.name == "tflite":
        pytest.skip("tflite-runtime may be killed by it: that is what the trial child is for")
    with pytest.raises(ModelLoadError, match=f"{engine.name} refuses the model"):
        engine.load(content, ())


def test_an_unknown_engine_is_a_named_error() -> None:
    with pytest.raises(EngineError, match="'cuda'"):
        open_engine("cuda")


def test_auto_opens_what_is_installed() -> None:
    assert open_engine("auto").name == engine_under_test()


def test_an_engine_that_is_not_installed_is_a_named_error() -> None:
    (other,) = set(MODULES) - {engine_under_test()}
    with pytest.raises(EngineError, match=other):
        open_engine(other)


def test_a_process_that_has_opened_an_engine_has_one_thread_and_may_fork() -> None:
    code = (
        "import os; from agent.runtime.engines import open_engine; "
        f"open_engine({engine_under_test()!r}); print(len(os.listdir('/proc/self/task')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "1"


def test_the_engine_and_its_version_are_told(engine: Engine) -> None:
    assert engines.engine_text(engine).split(" ")[0] == engine_under_test()
    assert engine.version[0].isdigit()


def test_what_the_library_says_is_caught_and_stderr_is_as_before() -> None:
    before = os.fstat(2)
    with engine_messages() as messages:
        os.write(2, b"ERROR: said in C\n")
        assert messages() == "ERROR: said in C\n"
    assert os.fstat(2) == before


@pytest.mark.parametrize(
    ("dtype", "scales", "match"),
    [(np.bytes_, [], "strings"), (np.complex64, [], "complex64"), (np.int8, [0.5, 0.25], "per channel")],
)
def test_tensors_that_raw_bytes_cannot_carry_are_refused_by_name(dtype: Any, scales: list[float], match: str) -> None:
    details = {
        "name": "odd",
        "dtype": dtype,
        "shape": [1],
        "quantization": (0.0, 0),
        "quantization_parameters": {"scales": scales},
    }
    with pytest.raises(ModelLoadError, match=match):
        engines._tensor(details, "input")


def test_a_device_that_hides_its_processor_is_called_degraded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engines.degraded() == ""
    monkeypatch.setattr(os, "access", lambda path, mode: path != "/proc/cpuinfo")
    assert "/proc/cpuinfo" in engines.degraded()
