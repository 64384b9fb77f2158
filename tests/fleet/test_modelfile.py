"""Reading a .tflite without running it: it says what the Interpreter says, and no file harms the reader."""

import contextlib
from functools import partial
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.demo import damage
from examples.demo.assets import Assets, ensure
from fleet import modelfile
from littoral.errors import NotAModelError, UnsupportedError
from littoral.tensors import Tensor


@pytest.fixture(scope="module")
def assets() -> Assets:
    return ensure()


@pytest.fixture(scope="module")
def classifier(assets: Assets) -> bytes:
    return assets.classifier.read_bytes()


def told(details: list[dict[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(d["name"], np.dtype(d["dtype"]).name, tuple(d["shape"].tolist()), *d["quantization"]) for d in details
    )


@pytest.mark.parametrize(
    "name",
    ["classifier", "keywords-on-off", "keyword-alexa", "micro-speech", "fingerprint", "rock-paper-scissors"],
)
def test_the_interface_is_what_the_interpreter_says(assets: Assets, name: str) -> None:
    path = assets.classifier if name == "classifier" else assets.models[name]
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    interface = modelfile.read(path.read_bytes()).interface
    assert interface.inputs == told(interpreter.get_input_details())
    assert interface.outputs == told(interpreter.get_output_details())


def test_a_model_that_kills_its_loader_can_still_be_described(classifier: bytes) -> None:
    assert modelfile.read(damage.crash(classifier)) == modelfile.read(classifier)


def test_operators_are_named(classifier: bytes) -> None:
    file = modelfile.read(classifier)
    assert {"CONV_2D", "FULLY_CONNECTED", "SOFTMAX"} <= set(file.operators)
    assert file.custom_operators == file.unknown_operators == ()


def test_the_oldest_runtime_that_has_its_operators_is_read(classifier: bytes) -> None:
    assert modelfile.read(classifier).least_tflite == "1.5.0"
    for written, read in ((b"2.16.1\0", "2.16.1"), (b"\xff\0", ""), (b"", ""), (b"9" * 99, "9" * 6)):
        assert modelfile.read(edited(classifier, partial(_with_least, written=written))).least_tflite == read


def _with_least(model: Any, written: bytes) -> None:
    (entry,) = [entry for entry in model.metadata if entry.name == b"min_runtime_version"]
    model.buffers[entry.buffer].data = np.frombuffer(written, np.uint8)


def edited(model: bytes, change: Any) -> bytes:
    """The model unpacked, changed and packed anew: good for reading, not for an engine."""
    import flatbuffers

    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model))
    change(tree)
    builder = flatbuffers.Builder(len(model))
    builder.Finish(tree.Pack(builder), file_identifier=modelfile.MAGIC)
    return bytes(builder.Output())


def test_operators_that_an_engine_may_lack_are_told(classifier: bytes) -> None:
    def change(tree: Any) -> None:
        tree.operatorCodes[0].builtinCode = schema.BuiltinOperator.CUSTOM
        tree.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        tree.operatorCodes[0].customCode = b"my-op"
        tree.operatorCodes[1].builtinCode = 9999

    file = modelfile.read(edited(classifier, change))
    assert file.custom_operators == ("custom:my-op",)
    assert file.unknown_operators == ("op 9999",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: setattr(t, "type", schema.TensorType.STRING), "string"),
        (lambda t: setattr(t, "type", schema.TensorType.RESOURCE), "resource"),
        (lambda t: setattr(t, "type", 77), "type 77"),
        (lambda t: setattr(t, "shape", [1, -1, 32, 3]), "not fixed"),
        (lambda t: setattr(t.quantization, "scale", [0.5, 0.25]), "per channel"),
    ],
)
def test_an_input_that_raw_bytes_cannot_carry_is_refused_by_name(classifier: bytes, change: Any, said: str) -> None:
    def change_input(tree: Any) -> None:
        graph = tree.subgraphs[0]
        change(graph.tensors[graph.inputs[0]])

    with pytest.raises(UnsupportedError, match=said):
        modelfile.read(edited(classifier, change_input))


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: setattr(tree, "version", 2),
        lambda tree: setattr(tree, "subgraphs", []),
        lambda tree: setattr(tree.subgraphs[0], "inputs", []),
        lambda tree: setattr(tree.subgraphs[0], "outputs", [9999]),
        lambda tree: setattr(tree.subgraphs[0], "outputs", [-1]),
    ],
    ids=["version", "no-graph", "no-inputs", "no-such-tensor", "negative-tensor"],
)
def test_a_flatbuffer_without_a_usable_graph_is_no_model(classifier: bytes, change: Any) -> None:
    with pytest.raises(NotAModelError):
        modelfile.read(edited(classifier, change))


@pytest.mark.parametrize(
    "data",
    [b"", b"TFL3", b"\x1c\0\0\0TFL3", b"PK\x03\x04" + bytes(100), b"\0" * 1000, b"\xff" * 4 + b"TFL3" + b"\xff" * 99],
)
def test_a_file_that_is_no_model_is_a_named_error(data: bytes) -> None:
    with pytest.raises(NotAModelError):
        modelfile.read(data)


@pytest.mark.parametrize("kept", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_model_is_no_model(classifier: bytes, kept: float) -> None:
    with pytest.raises(NotAModelError):
        modelfile.read(classifier[: int(len(classifier) * kept)])


def test_weights_that_go_beyond_the_end_of_the_file_are_found(classifier: bytes) -> None:
    damaged = bytearray(classifier)
    model = schema.Model.GetRootAs(damaged)
    sizes = [model.Buffers(i).DataLength() for i in range(model.BuffersLength())]
    buffer = model.Buffers(sizes.index(max(sizes)))
    start = buffer._tab.Vector(buffer._tab.Offset(4))
    damaged[start - 4 : start] = (len(damaged) - start + 1).to_bytes(4, "little")
    with pytest.raises(NotAModelError):
        modelfile.read(bytes(damaged))
    damaged[start - 4 : start] = (len(damaged) - start).to_bytes(4, "little")
    modelfile.read(bytes(damaged))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_models_are_read_or_refused_by_name(classifier: bytes, data: st.DataObject) -> None:
    damaged = bytearray(classifier)
    for _ in range(data.draw(st.integers(1, 20))):
        at = data.draw(st.one_of(st.integers(0, 200), st.integers(0, len(damaged) - 1)))
        damaged[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NotAModelError, UnsupportedError):
        modelfile.read(bytes(damaged))
