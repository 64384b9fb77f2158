"""Networks as files, asked of the real engine."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from agent.runtime.engines import open_engine
from bench.health import network, tflite
from bench.health.network import Architecture, Convolution, Floats, Network
from bench.health.photographs import Pixels
from bench.health.tflite import CENTRED, UNIT
from tests.bench.health.conftest import SIDE, coloured


def asked(content: bytes, pixels: Pixels) -> Floats:
    run = open_engine("litert").load(content, ()).interpreter().run
    raw = [np.frombuffer(run((each ^ 128).tobytes()).data, np.int8) for each in pixels]
    return (np.array(raw).astype(np.float32) + np.float32(128)) / np.float32(256)


def test_a_quantized_network_answers_as_it_does_in_numpy(net: Network, model: bytes) -> None:
    pixels, _ = coloured(50, seed=2)
    there = network.answers(net, UNIT.floats(pixels))
    assert np.abs(asked(model, pixels) - there).mean() < 0.02


def test_a_network_of_floats_answers_as_it_does_in_numpy(net: Network) -> None:
    shown = UNIT.floats(coloured(10, seed=2)[0])
    run = open_engine("litert").load(tflite.floating(net), ()).interpreter().run
    found = np.array([np.frombuffer(run(each.tobytes()).data, np.float32) for each in shown])
    assert found == pytest.approx(network.answers(net, shown), abs=1e-4)


def test_one_that_ends_in_sigmoid_is_a_table_of_one_place() -> None:
    net = network.initial(Architecture((SIDE, SIDE, 3), (Convolution(4),), 6, ending="sigmoid"), 0)
    pixels, _ = coloured(10)
    content = tflite.quantized(net, CENTRED.floats(pixels), CENTRED, per_channel=True)
    (output,) = open_engine("litert").load(content, ()).signatures[""].outputs
    assert output.shape == (1, 6, 1)
    assert np.abs(asked(content, pixels) - network.answers(net, CENTRED.floats(pixels))).mean() < 0.02


def test_all_data_lie_at_multiples_of_16_bytes(model: bytes) -> None:
    root = schema.Model.GetRootAs(model)
    whole = np.frombuffer(model, np.uint8).__array_interface__["data"][0]
    for index in range(root.BuffersLength()):
        data = root.Buffers(index).DataAsNumpy()
        if not isinstance(data, int):
            assert (data.__array_interface__["data"][0] - whole) % 16 == 0
