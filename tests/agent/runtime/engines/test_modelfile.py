from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.runtime.engines import modelfile
from littoral.errors import ModelLoadError
from littoral.tensors import Tensor
from tests.agent.runtime.engines import building, samples
from tests.agent.runtime.engines.building import Scalar, Vector

WHOLE = samples.two_signatures()


def test_graphs_signatures_and_tensors_are_read() -> None:
    file = modelfile.read(WHOLE)
    assert [(graph.inputs, graph.outputs) for graph in file.graphs] == [((0,), (1,)), ((0, 1), (2,))]
    assert file.signatures == (("sum", 1), ("double", 0))
    assert not file.stateful
    assert file.tensor(1, 2, (1, 2)) == Tensor("r", "float32", (1, 2))
    quantized = modelfile.read(samples.INT16_SAMPLE)
    assert quantized.tensor(0, 0, quantized.shape(0, 0)) == Tensor("x", "int16", (1, 4), 0.5, 0)


def test_a_size_left_open_reads_as_one() -> None:
    file = modelfile.read(samples.add(building.FLOAT32, open_shape=(-1, 4)))
    assert file.shape(0, 0) == (1, 4)


@pytest.mark.parametrize("content", [samples.counting(), samples.with_variable()], ids=["resource", "variable"])
def test_a_model_that_keeps_a_state_is_known_by_its_file(content: bytes) -> None:
    assert modelfile.read(content).stateful


def test_a_tensor_whose_shape_is_not_fixed_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="not fixed"):
        modelfile.read(WHOLE).tensor(0, 0, (1, -1))


def test_a_tensor_quantized_per_channel_is_refused() -> None:
    tensor = {0: Vector("i", (1, 2)), 1: Scalar("b", building.INT8), 3: "odd", 4: {2: Vector("f", (0.5, 0.25))}}
    graph = {0: [tensor], 1: Vector("i", (0,)), 2: Vector("i", (0,))}
    file = modelfile.read(building.encode({0: Scalar("I", 3), 2: [graph]}))
    with pytest.raises(ModelLoadError, match="per channel"):
        file.tensor(0, 0, (1, 2))


@pytest.mark.parametrize("length", [0, 7, 8, 12, 40, len(WHOLE) // 2])
def test_a_truncated_file_is_refused_by_name(length: int) -> None:
    with pytest.raises(ModelLoadError):
        modelfile.read(WHOLE[:length])


@pytest.mark.parametrize(
    "root",
    [
        {0: Scalar("I", 3)},
        {0: Scalar("I", 3), 2: [{0: [{}], 1: Vector("i", (0,)), 2: Vector("i", (7,))}]},
        {0: Scalar("I", 3), 2: [{0: [{}], 1: Vector("i", (-1,)), 2: Vector("i", (0,))}]},
        {
            0: Scalar("I", 3),
            2: [{0: [{}], 1: Vector("i", (0,)), 2: Vector("i", (0,))}],
            7: [{2: "k", 4: Scalar("I", 9)}],
        },
    ],
    ids=["no graph", "output out of range", "input below zero", "signature of no graph"],
)
def test_a_senseless_file_is_refused_by_name(root: dict[int, object]) -> None:
    with pytest.raises(ModelLoadError):
        modelfile.read(building.encode(root))


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(8, len(WHOLE) - 1), st.integers(0, 255)), max_size=8), st.integers(0, len(WHOLE)))
def test_no_bytes_are_read_otherwise_than_whole_or_by_a_named_error(changes: list[tuple[int, int]], end: int) -> None:
    data = bytearray(WHOLE)
    for at, value in changes:
        data[at] = value
    try:
        file = modelfile.read(bytes(data[:end]))
        for number, graph in enumerate(file.graphs):
            for index in (*graph.inputs, *graph.outputs):
                file.tensor(number, index, file.shape(number, index))
    except ModelLoadError:
        pass
