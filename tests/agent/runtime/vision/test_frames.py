"""Frames: every layout read as it says, and nothing read that is not there."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agent.runtime.vision import frames
from littoral.errors import PictureError
from littoral.wire.vision import Format, Layout

RANDOM = np.random.default_rng(1)


def noise(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return RANDOM.integers(0, 256, shape, np.uint8)


def jpeg(width: int = 32, height: int = 24, mode: str = "RGB", **options: bool) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height), 200 if mode == "L" else (200, 100, 50, 0)[: len(mode)]).save(
        file, "JPEG", **options
    )
    return file.getvalue()


def test_rgb_and_bgr_are_the_same_picture_with_bytes_in_another_order() -> None:
    pixels = noise(5, 7, 3)
    (rgb,) = frames.planes(Layout(Format.RGB24, 7, 5), pixels.tobytes())
    (bgr,) = frames.planes(Layout(Format.BGR24, 7, 5), pixels[..., ::-1].tobytes())
    assert np.array_equal(np.asarray(rgb), pixels)
    assert np.array_equal(np.asarray(bgr), pixels)


def test_rows_with_a_stride_are_read_without_what_lies_between() -> None:
    wide = noise(5, 40)
    (read,) = frames.planes(Layout(Format.RGB24, 7, 5, strides=(40, 0, 0)), wide.tobytes()[: 4 * 40 + 21])
    assert np.array_equal(np.asarray(read), wide[:, :21].reshape(5, 7, 3))


def test_planes_may_lie_anywhere_in_any_order() -> None:
    luma, cb, cr = noise(6, 8), noise(3, 4), noise(3, 4)
    data = b"x" * 3 + cr.tobytes() + cb.tobytes() + b"y" * 5 + luma.tobytes()
    layout = Layout(Format.YUV420, 8, 6, offsets=(32, 15, 3))
    assert [np.asarray(plane).tolist() for plane in frames.planes(layout, data)] == [
        luma.tolist(),
        cb.tolist(),
        cr.tolist(),
    ]


def test_planes_follow_one_another_with_their_strides() -> None:
    data = noise(10 * 6 + 6 * 3 * 2)
    luma, cb, cr = frames.planes(Layout(Format.YUV420, 8, 6, strides=(10, 6, 6)), data.tobytes())
    assert np.array_equal(np.asarray(luma), data[:60].reshape(6, 10)[:, :8])
    assert np.array_equal(np.asarray(cb), data[60:78].reshape(3, 6)[:, :4])
    assert np.array_equal(np.asarray(cr), data[78:].reshape(3, 6)[:, :4])


@pytest.mark.parametrize("format", [Format.NV12, Format.YUV420])
def test_odd_sides_round_the_chroma_up(format: Format) -> None:
    layout = Layout(format, 7, 5)
    data = noise(7 * 5 + 2 * 4 * 3).tobytes()
    planes = frames.planes(layout, data)
    assert [plane.size for plane in planes] == [(7, 5)] + [(4, 3)] * (1 if format is Format.NV12 else 2)
    with pytest.raises(PictureError):
        frames.planes(layout, data[:-1])


def test_cb_and_cr_of_nv12_are_told_apart() -> None:
    chroma = noise(3, 4, 2)
    _, plane = frames.planes(Layout(Format.NV12, 8, 6), bytes(48) + chroma.tobytes())
    assert [np.asarray(plane.getchannel(band)).tolist() for band in (0, 1)] == [
        chroma[..., 0].tolist(),
        chroma[..., 1].tolist(),
    ]


@pytest.mark.parametrize("format", [Format.RGB24, Format.GREY, Format.NV12, Format.YUV420])
@settings(deadline=None)
@given(data=st.data())
def test_a_layout_is_read_within_its_bytes_or_refused(format: Format, data: st.DataObject) -> None:
    numbers = st.one_of(st.integers(0, 40), st.sampled_from([2**31, 2**32 - 1]))
    three = st.tuples(numbers, numbers, numbers)
    layout = Layout(format, data.draw(numbers), data.draw(numbers), data.draw(three), data.draw(three))
    content = bytes(data.draw(st.integers(0, 2_000)))
    try:
        read = frames.planes(layout, content)
    except PictureError:
        return
    assert sum(plane.width * plane.height for plane in read) <= 3 * len(content) + 3
    for plane in read:
        assert len(plane.tobytes()) <= len(content)


@pytest.mark.parametrize(
    ("layout", "size"),
    [
        (Layout(Format.RGB24, 4, 4), 47),
        (Layout(Format.RGB24, 4, 4, strides=(11, 0, 0)), 48),
        (Layout(Format.RGB24, 4, 4, strides=(13, 0, 0)), 50),
        (Layout(Format.RGB24, 4, 4, offsets=(1, 0, 0)), 48),
        (Layout(Format.RGB24, 0, 4), 48),
        (Layout(Format.RGB24, 16_385, 1), 100_000),
        (Layout(Format.SAMPLES, 4, 4), 64),
    ],
)
def test_a_frame_that_is_not_as_its_layout_says_is_refused(layout: Layout, size: int) -> None:
    with pytest.raises(PictureError):
        frames.planes(layout, bytes(size))


def test_the_refusal_says_how_many_bytes_there_should_be() -> None:
    with pytest.raises(PictureError, match="in 47 bytes: a row has 12, the last one ends at 48"):
        frames.planes(Layout(Format.RGB24, 4, 4), bytes(47))


# --- JPEG -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("wanted", ["RGB", "L"])
def test_a_jpeg_of_any_kind_becomes_what_is_wanted(mode: str, wanted: str) -> None:
    image = frames.open_jpeg(jpeg(mode=mode))
    assert image.size == (32, 24)
    read = frames.decode_jpeg(image, wanted, 32, 24)
    assert (read.mode, read.size) == (wanted, (32, 24))


def test_a_large_jpeg_is_decoded_smaller_but_not_below_what_is_needed() -> None:
    read = frames.decode_jpeg(frames.open_jpeg(jpeg(640, 480)), "RGB", 100, 75)
    assert read.size == (160, 120)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_ends_early_is_refused_wherever_it_ends(progressive: bool) -> None:
    whole = jpeg(progressive=progressive)
    for cut in range(len(whole) - 2):
        with pytest.raises(PictureError):
            frames.decode_jpeg(frames.open_jpeg(whole[:cut]), "RGB", 32, 24)


def test_a_jpeg_that_claims_to_be_huge_is_refused_before_it_is_decoded() -> None:
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0") + 5
    for height, width in ((65_535, 16), (16_384, 16_384), (0, 32)):
        data[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
        with pytest.raises(PictureError):
            frames.open_jpeg(bytes(data))


@settings(deadline=None)
@given(st.data())
def test_a_damaged_jpeg_is_decoded_or_refused_by_name(data: st.DataObject) -> None:
    content = bytearray(jpeg(progressive=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(2, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PictureError):
        frames.decode_jpeg(frames.open_jpeg(bytes(content)), "RGB", 16, 16)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_no_jpeg(content: bytes) -> None:
    with pytest.raises(PictureError):
        frames.decode_jpeg(frames.open_jpeg(b"\xff\xd8\xff" + content), "RGB", 16, 16)
