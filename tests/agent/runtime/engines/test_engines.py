"""Both engines, with real models and with small ones made for one thing each."""

from __future__ import annotations

import importlib
import os
import random
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from agent.runtime import engines
from agent.runtime.engine import Engine
from agent.runtime.engines import open_engine
from agent.runtime.engines.litert import LitertEngine
from agent.runtime.engines.messages import engine_messages, refusal
from examples.demo.assets import Assets, ensure
from littoral.errors import EngineError, InferenceError, ModelLoadError
from littoral.tensors import Tensor
from tests.agent.runtime import reals
from tests.agent.runtime.device import ROOT, engine_under_test
from tests.agent.runtime.engines import building, samples
from tests.agent.runtime.engines.samples import floats

pytestmark = pytest.mark.engine

MODULES = {"litert": "ai_edge_litert.interpreter", "tflite": "tflite_runtime.interpreter"}


@pytest.fixture(scope="module", params=["usual", "class"] if engine_under_test() == "litert" else ["usual"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """The engine as it is, and where that is not by the `Interpreter` class, by this class too."""
    opened = open_engine(engine_under_test())
    if request.param == "usual":
        return opened
    assert isinstance(opened, LitertEngine)
    return opened.by_class


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


# --- real models ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["classifier", "keywords-on-off", "micro-speech", "fingerprint"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_model_answers_exactly_what_the_engine_itself_answers(
    engine: Engine, assets: Assets, name: str, threads: int
) -> None:
    path = assets.classifier if name == "classifier" else assets.models[name]
    content = path.read_bytes()
    model = engine.load(content, (), threads)
    interpreter, numbers = model.interpreter(), random.Random(3)
    for _ in range(3):
        data = numbers.randbytes(model.signatures[""].input_bytes)
        result = interpreter.run(data)
        assert result.data == in_process(content, data)
        assert result.finite


def test_an_interface_tells_names_dtypes_shapes_and_quantization(engine: Engine, assets: Assets) -> None:
    model = engine.load(assets.classifier.read_bytes(), assets.labels)
    interface = model.signatures[""]
    assert interface.inputs == (Tensor("input_1_int8", "int8", (1, 32, 32, 3), 1 / 128, 0),)
    assert interface.outputs == (Tensor("Identity_int8", "int8", (1, 10), 1 / 256, -128),)
    assert interface.labels == assets.labels
    assert not model.stateful


def test_a_float_model_runs(engine: Engine, assets: Assets) -> None:
    model = reals.Loaded(engine.load(assets.models["rock-paper-scissors"].read_bytes(), ()))
    assert model.interface.inputs[0].dtype == "float32"
    result = model.run(np.full(84 * 84, 0.5, "float32").tobytes())
    assert result.finite
    assert abs(float(np.frombuffer(result.data, "float32").sum()) - 1) < 0.05


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: memoryview(b"head" + data)[4:]])
def test_inputs_are_taken_from_any_buffer(engine: Engine, kind: Any) -> None:
    interpreter = engine.load(samples.FLOAT_SAMPLE, ()).interpreter()
    assert interpreter.run(kind(floats(1, 2, 3, 4))).data == floats(2, 4, 6, 8)


def test_bytes_of_another_size_are_a_named_error_and_the_next_run_is_right(engine: Engine, assets: Assets) -> None:
    model = reals.Loaded(engine.load(assets.classifier.read_bytes(), ()))
    data = random.Random(4).randbytes(model.interface.input_bytes)
    before = model.run(data)
    for wrong in (data[:-1], data + b"\0", b""):
        with pytest.raises(InferenceError, match="takes 3072"):
            model.run(wrong)
    assert model.run(data) == before


def test_two_models_live_beside_each_other(engine: Engine, assets: Assets) -> None:
    one = reals.Loaded(engine.load(assets.classifier.read_bytes(), ()))
    data = random.Random(4).randbytes(one.interface.input_bytes)
    alone = one.run(data)
    other = reals.Loaded(engine.load(assets.models["micro-speech"].read_bytes(), ()))
    other.run(bytes(other.interface.input_bytes))
    assert one.run(data) == alone


def test_interpreters_of_one_model_answer_alike_after_the_model_is_let_go(engine: Engine, assets: Assets) -> None:
    model = engine.load(assets.classifier.read_bytes(), ())
    data = random.Random(4).randbytes(model.signatures[""].input_bytes)
    first, second = model.interpreter(), model.interpreter()
    del model
    assert first is not second
    answer = first.run(data)
    del first
    assert second.run(data) == answer


# --- one thing each ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "given", "answer"),
    [
        (samples.FLOAT_SAMPLE, floats(1, 2, 3, 4), floats(2, 4, 6, 8)),
        (samples.INT16_SAMPLE, struct.pack("<4h", 1, -2, 300, 4000), struct.pack("<4h", 2, -4, 600, 8000)),
        (samples.INT64_SAMPLE, struct.pack("<4q", 1, -2, 3, 2**40), struct.pack("<4q", 2, -4, 6, 2**41)),
        (samples.HALF_SAMPLE, struct.pack("<4e", 1, -2, 0.5, 4), floats(1, -2, 0.5, 4)),
        (samples.convert(building.BOOL, building.FLOAT32), b"\1\0\1\0", floats(1, 0, 1, 0)),
        (samples.convert(building.FLOAT32, building.BOOL), floats(0, 2, 0, -1), b"\0\1\0\1"),
        (samples.add(building.FLOAT32, open_shape=(-1, 4)), floats(1, 2, 3, 4), floats(2, 4, 6, 8)),
        (samples.two_by_two(), floats(1, 2, 3, 4, 5), floats(2, 4, 6, 8, 10)),
    ],
    ids=["float32", "int16", "int64", "float16", "from bool", "to bool", "open batch", "two inputs and outputs"],
)
def test_every_kind_of_tensor_is_carried(engine: Engine, content: bytes, given: bytes, answer: bytes) -> None:
    assert engine.load(content, ()).interpreter().run(given).data == answer


def test_signatures_are_told_by_key_and_the_first_graph_comes_first(engine: Engine) -> None:
    model = engine.load(samples.two_signatures(), ())
    assert list(model.signatures) == ["double", "sum", ""]
    assert model.signatures[""] == model.signatures["double"]
    assert [tensor.name for tensor in model.signatures["sum"].inputs] == ["p", "q"]
    assert list(engine.load(samples.FLOAT_SAMPLE, ()).signatures) == [""]


def test_each_signature_runs_its_own_graph_in_any_order(engine: Engine) -> None:
    interpreter = engine.load(samples.two_signatures(), ()).interpreter()
    for _ in range(2):
        assert interpreter.run(floats(1, 2, 3, 4)).data == floats(2, 4, 6, 8)
        assert interpreter.run(floats(1, 2, 30, 40), "sum").data == floats(31, 42)
        assert interpreter.run(floats(1, 2, 3, 4), "double").data == floats(2, 4, 6, 8)
    with pytest.raises(InferenceError):
        interpreter.run(floats(1, 2, 3, 4, 5), "sum")


def test_each_interpreter_of_a_stateful_model_has_its_own_state_from_the_beginning(engine: Engine) -> None:
    model = engine.load(samples.counting(), ())
    assert model.stateful
    one, other = model.interpreter(), model.interpreter()
    assert one.run(floats(1, 2, 3, 4)).data == floats(1, 2, 3, 4)
    assert one.run(floats(1, 1, 1, 1)).data == floats(2, 3, 4, 5)
    assert other.run(floats(1, 1, 1, 1)).data == floats(1, 1, 1, 1)
    assert one.run(floats(0, 0, 0, 0)).data == floats(2, 3, 4, 5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_finite_number_in_an_output_is_found(engine: Engine, value: float) -> None:
    for content in (samples.FLOAT_SAMPLE, samples.TO_HALF_SAMPLE):
        interpreter = engine.load(content, ()).interpreter()
        assert interpreter.run(floats(1, 2, 3, 4)).finite
        assert not interpreter.run(floats(1, 2, 3, value)).finite
        assert interpreter.run(floats(1, 2, 3, 4)).finite


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x1c\0\0\0TFL3" + bytes(100)])
def test_bytes_that_are_no_model_are_refused_by_name(engine: Engine, content: bytes) -> None:
    with pytest.raises(ModelLoadError):
        engine.load(content, ())


def test_a_model_of_an_operator_that_does_not_exist_is_refused_with_the_engines_own_words(engine: Engine) -> None:
    with pytest.raises(ModelLoadError, match=rf"{engine.name} refuses the model.*(custom|op)"):
        engine.load(samples.unknown_operator(), ())


@pytest.mark.parametrize("shape", [(1,) * 9, (2**16, 2**16), (2**31 - 1, 2**31 - 1), (0, 4), (-5, 4), ()])
def test_a_shape_that_nobody_has_is_run_or_refused_by_name(engine: Engine, shape: tuple[int, ...]) -> None:
    try:
        model = engine.load(samples.add(building.FLOAT32, shape=shape), ())
        size = model.signatures[""].input_bytes
        assert len(model.interpreter().run(bytes(size)).data) == size
    except (ModelLoadError, MemoryError):
        pass


def test_strings_are_refused_by_name(engine: Engine) -> None:
    with pytest.raises(ModelLoadError, match="'y' holds strings"):
        engine.load(samples.convert(building.FLOAT32, building.STRING), ())


# --- opening ----------------------------------------------------------------------------------------------------


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


def test_the_engine_and_its_version_are_told() -> None:
    engine = open_engine(engine_under_test())
    assert engines.engine_text(engine) == f"{engine_under_test()} {engine.version}"
    assert engine.load(samples.FLOAT_SAMPLE, ()).engine == engines.engine_text(engine)
    assert engine.version[0].isdigit()


def test_what_the_library_says_is_caught_and_stderr_is_as_before() -> None:
    before = os.fstat(2)
    with engine_messages() as messages:
        os.write(2, b"ERROR: said in C\nINFO: chatter\n")
        assert refusal("litert", "refused", messages()) == "litert refuses the model: refused said in C"
    assert os.fstat(2) == before


def test_a_device_that_hides_its_processor_is_called_degraded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engines.degraded() == ""
    monkeypatch.setattr(os, "access", lambda path, mode: path != "/proc/cpuinfo")
    assert "/proc/cpuinfo" in engines.degraded()
