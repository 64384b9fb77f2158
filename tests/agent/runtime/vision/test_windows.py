"""Windows: a stream of samples, however it is cut, gives the windows that its hops make."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from littoral.errors import PictureError
from littoral.tensors import Tensor
from littoral.wire.vision import Format, Layout, Options
from tests.agent.runtime.vision.scene import Scene, read_classes

CARD = '[[input]]\nkind = "window"\nrate = 16000\nhop = {hop}\nchannels = {channels}\n'


def scene(
    length: int, hop: int, channels: int = 1, dtype: str = "float32", scale: float = 0.0, more: str = ""
) -> Scene:
    given = Tensor("samples", dtype, (1, length, channels), scale, 0)
    return Scene(CARD.format(hop=hop, channels=channels) + more, given=given)


@settings(deadline=None)
@given(data=st.data(), length=st.integers(1, 20), channels=st.integers(1, 3))
def test_every_window_is_the_one_its_hop_ends(data: st.DataObject, length: int, channels: int) -> None:
    hop = data.draw(st.integers(1, length))
    asked = scene(length, hop, channels)
    samples = np.arange(100 * channels, dtype=np.float32).reshape(100, channels)
    state, at, windows = b"", 0, []
    while at < len(samples):
        part = samples[at : at + data.draw(st.integers(1, hop))]
        at += len(part)
        layout = Layout(Format.SAMPLES, len(part), channels)
        state, prepared = asked.pipeline.window(state, layout, part.tobytes())
        if prepared:
            windows.append(np.frombuffer(prepared.data, np.float32).reshape(length, channels))
            assert (prepared.width, prepared.height) == (length, channels)
    wanted = [samples[start : start + length] for start in range(0, 100 - length + 1, hop)]
    assert [window.tolist() for window in windows] == [window.tolist() for window in wanted]


def test_a_connections_stream_is_bytes_that_another_worker_can_go_on_with() -> None:
    first, second = scene(4, 2), scene(4, 2)
    state, nothing = first.pipeline.window(b"", Layout(Format.SAMPLES, 2, 1), np.array([1, 2], np.float32).tobytes())
    assert nothing is None
    _, prepared = second.pipeline.window(state, Layout(Format.SAMPLES, 2, 1), np.array([3, 4], np.float32).tobytes())
    assert prepared is not None
    assert np.frombuffer(prepared.data, np.float32).tolist() == [1, 2, 3, 4]


def test_samples_stored_for_another_interface_are_not_taken_for_ours() -> None:
    other = scene(4, 2, dtype="int8", scale=0.1)
    ours = scene(4, 2, dtype="int8", scale=0.2)
    state, _ = other.pipeline.window(b"", Layout(Format.SAMPLES, 2, 1), bytes(2))
    state, prepared = ours.pipeline.window(state, Layout(Format.SAMPLES, 2, 1), bytes(2))
    assert prepared is None
    _, prepared = ours.pipeline.window(state, Layout(Format.SAMPLES, 2, 1), bytes(2))
    assert prepared is not None


def test_real_samples_are_quantized_and_stored_ones_taken_as_they_are() -> None:
    asked = scene(2, 2, dtype="int8", scale=0.5)
    _, real = asked.pipeline.window(b"", Layout(Format.SAMPLES, 2, 1), np.array([1, -100], np.float32).tobytes())
    _, as_they_are = asked.pipeline.window(b"", Layout(Format.SAMPLES, 2, 1), np.array([2, -128], np.int8).tobytes())
    assert real is not None
    assert as_they_are is not None
    assert real.data == as_they_are.data == np.array([2, -128], np.int8).tobytes()


def test_mean_and_scale_by_channel_are_for_real_samples() -> None:
    asked = scene(2, 2, 2, more='mean = ["1", "2"]\nscale = ["10", "100"]')
    samples = np.array([[1, 2], [2, 3]], np.float32)
    _, prepared = asked.pipeline.window(b"", Layout(Format.SAMPLES, 2, 2), samples.tobytes())
    assert prepared is not None
    assert np.frombuffer(prepared.data, np.float32).tolist() == [0, 0, 10, 100]


@pytest.mark.parametrize(
    ("layout", "size"),
    [
        (Layout(Format.RGB24, 2, 1), 6),
        (Layout(Format.SAMPLES, 3, 1), 12),
        (Layout(Format.SAMPLES, 0, 1), 0),
        (Layout(Format.SAMPLES, 2, 2), 16),
        (Layout(Format.SAMPLES, 2, 1), 7),
        (Layout(Format.SAMPLES, 2**32 - 1, 1), 8),
    ],
)
def test_samples_that_are_not_as_their_layout_says_are_refused(layout: Layout, size: int) -> None:
    with pytest.raises(PictureError):
        scene(4, 2).pipeline.window(b"", layout, bytes(size))


def test_a_picture_is_refused_by_a_model_that_listens() -> None:
    with pytest.raises(PictureError, match="samples"):
        scene(4, 2).pipeline.prepare(Layout(Format.RGB24, 2, 2), bytes(12))


def test_a_window_is_classified() -> None:
    asked = scene(2, 2, more='[[output]]\ndecoder = "classification"\ntop = 1')
    _, prepared = asked.pipeline.window(b"", Layout(Format.SAMPLES, 2, 1), bytes(8))
    assert prepared is not None
    assert read_classes(asked.pipeline.decode(bytes([1, 9, 3, 4]), prepared, Options())) == [(1, 9.0)]
