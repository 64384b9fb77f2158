"""Preparation: a frame as the model's input, against the plain arithmetic of what the card says."""

import io
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image

from littoral.errors import PictureError
from littoral.tensors import Tensor
from littoral.wire.vision import Format, Layout
from tests.agent.runtime.vision.scene import PICTURE, Array, Scene, image_input

RANDOM = np.random.default_rng(2)
PIXELS: Array = RANDOM.integers(0, 256, (8, 8, 3), np.uint8)


def smooth(width: int, height: int, channels: int = 3) -> Array:
    """A picture without fine detail, so that the way of resizing hardly matters."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    waves = [128 + 100 * np.sin(3 * x * (n + 1) + 2 * y + n) for n in range(channels)]
    return np.stack(waves, axis=-1).round().astype(np.uint8)


@pytest.mark.parametrize(("format", "shown"), [(Format.RGB24, PIXELS), (Format.BGR24, PIXELS[..., ::-1])])
def test_a_frame_of_the_inputs_size_passes_unchanged(format: Format, shown: Array) -> None:
    assert np.array_equal(Scene(PICTURE).input(shown, format)[0], PIXELS)


def test_colour_bgr_turns_the_channels_round() -> None:
    assert np.array_equal(Scene(PICTURE + 'colour = "bgr"').input(PIXELS)[0], PIXELS[..., ::-1])


def test_an_input_with_the_channels_first_gets_them_first() -> None:
    planar = Tensor("image", "uint8", (1, 3, 8, 8))
    assert np.array_equal(Scene(PICTURE, given=planar).input(PIXELS)[0], PIXELS.transpose(2, 0, 1))


def test_a_grey_input_may_have_its_channel_first() -> None:
    given = Tensor("image", "uint8", (1, 1, 8, 8))
    assert np.array_equal(
        Scene(PICTURE + 'colour = "grey"', given=given).input(PIXELS[..., 0], Format.GREY)[0, 0], PIXELS[..., 0]
    )


def test_a_grey_model_sees_the_luma_of_a_colour_frame() -> None:
    seen = Scene(PICTURE + 'colour = "grey"', given=image_input(channels=1)).input(PIXELS)[0, ..., 0]
    assert np.abs(seen - PIXELS @ np.array([0.299, 0.587, 0.114])).max() <= 1


def test_a_colour_model_sees_a_grey_frame_in_all_channels() -> None:
    grey = PIXELS[..., 0]
    assert np.array_equal(Scene(PICTURE).input(grey, Format.GREY)[0], np.stack([grey] * 3, axis=-1))


# --- resizing ---------------------------------------------------------------------------------------------------


def test_a_letterbox_stands_in_the_middle_of_its_fill() -> None:
    scene = Scene(PICTURE + 'resize = "letterbox"\nfill = 114', given=image_input(20, 20))
    seen = scene.input(np.full((10, 40, 3), 200, np.uint8))[0]
    assert (seen[:7] == 114).all()
    assert (seen[7:12] == 200).all()
    assert (seen[12:] == 114).all()


def test_a_crop_sees_the_middle() -> None:
    frame = np.zeros((10, 30, 3), np.uint8)
    frame[:, 10:20] = 200
    seen = Scene(PICTURE + 'resize = "crop"', given=image_input(5, 5)).input(frame)[0]
    assert (seen[:, 1:4] == 200).all()
    assert (seen > 150).all()  # at its edges the filter reaches into what lies beside


def test_a_stretched_frame_loses_its_shape_and_nothing_else() -> None:
    frame = np.zeros((10, 40, 3), np.uint8)
    frame[:, :20] = 200
    seen = Scene(PICTURE, given=image_input(10, 10)).input(frame)[0]
    assert (seen[:, :4] == 200).all()
    assert (seen[:, 6:] == 0).all()


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("size", [(640, 480), (481, 641), (1921, 1081), (100, 50), (31, 17)])
def test_resizing_is_bilinear_over_all_pixels_that_are_dropped(resize: str, size: tuple[int, int]) -> None:
    frame = smooth(*size)
    scene = Scene(PICTURE + f'resize = "{resize}"', given=image_input(96, 64))
    placed = scene.prepare(frame).placement
    inner = (placed.inner_width, placed.inner_height)
    wanted = np.asarray(Image.fromarray(frame).resize(inner, Image.Resampling.BILINEAR, placed.box), int)
    seen = scene.input(frame)[0].astype(int)
    seen = seen[placed.top : placed.top + inner[1], placed.left : placed.left + inner[0]]
    assert np.abs(seen - wanted).max() <= 4
    assert np.abs(seen - wanted).mean() < 1


# --- colours ----------------------------------------------------------------------------------------------------


def to_rgb(blocks: Array, kr: float, kb: float, video: bool) -> Array:
    """ITU-R BT.601 and BT.709, as they are written there."""
    y, cb, cr = (blocks[..., n].astype(float) for n in range(3))
    luma = (y - 16) / 219 if video else y / 255
    blue, red = ((c - 128) / (224 if video else 255) for c in (cb, cr))
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    g = (luma - kr * r - kb * b) / (1 - kr - kb)
    return np.clip(np.stack([r, g, b], axis=-1) * 255, 0, 255)


@pytest.mark.parametrize(("matrix", "kr", "kb"), [("bt601", 0.299, 0.114), ("bt709", 0.2126, 0.0722)])
@pytest.mark.parametrize("levels", ["video", "full"])
@pytest.mark.parametrize("format", [Format.NV12, Format.YUV420])
def test_yuv_becomes_rgb_as_the_card_says(matrix: str, kr: float, kb: float, levels: str, format: Format) -> None:
    blocks = RANDOM.integers(0, 256, (4, 4, 3)).astype(np.uint8)  # of 2 x 2 pixels: chroma is exact in their middle
    y, cb, cr = (blocks[..., n].repeat(8, axis=0).repeat(8, axis=1) for n in range(3))
    chroma = [c[::2, ::2] for c in (cb, cr)]
    data = y.tobytes() + (
        np.stack(chroma, axis=-1).tobytes() if format is Format.NV12 else b"".join(c.tobytes() for c in chroma)
    )
    scene = Scene(PICTURE + f'matrix = "{matrix}"\nrange = "{levels}"', given=image_input(32, 32))
    prepared = scene.pipeline.prepare(Layout(format, 32, 32), data)
    seen = np.frombuffer(prepared.data, np.uint8).reshape(32, 32, 3)[4::8, 4::8].astype(int)
    wanted = to_rgb(blocks, kr, kb, levels == "video")
    assert np.abs(seen - wanted).max() <= 1


@pytest.mark.parametrize(("levels", "wanted"), [("video", [0, 0, 128, 255, 255]), ("full", [0, 16, 126, 235, 255])])
def test_a_grey_model_sees_the_luma_of_yuv_at_its_full_range(levels: str, wanted: list[int]) -> None:
    luma = np.array([[0, 16, 126, 235, 255]], np.uint8)
    scene = Scene(PICTURE + f'colour = "grey"\nrange = "{levels}"', given=image_input(5, 1, 1))
    prepared = scene.pipeline.prepare(Layout(Format.NV12, 5, 1), luma.tobytes() + bytes(6))
    assert list(prepared.data) == wanted


@pytest.mark.parametrize("format", [Format.NV12, Format.YUV420])
def test_chroma_of_odd_frames_lies_over_its_own_pixels(format: Format) -> None:
    picture = smooth(203, 101)
    y, cb, cr = Image.fromarray(picture).convert("YCbCr").split()
    width, height = 102, 51
    even = [np.pad(np.asarray(c, int), ((0, 1), (0, 1)), "edge") for c in (cb, cr)]
    halves = [c.reshape(height, 2, width, 2).mean(axis=(1, 3)).round().astype(np.uint8) for c in even]
    data = y.tobytes() + (
        np.stack(halves, axis=-1).tobytes() if format is Format.NV12 else b"".join(c.tobytes() for c in halves)
    )
    scene = Scene(PICTURE + 'range = "full"', given=image_input(50, 25))
    seen = np.frombuffer(scene.pipeline.prepare(Layout(format, 203, 101), data).data, np.uint8).reshape(25, 50, 3)
    assert np.abs(seen.astype(int) - scene.input(picture)[0].astype(int)).max() <= 4


@pytest.mark.parametrize("size", [(96, 64), (640, 480), (641, 479), (97, 1030)])
@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("colour", ["rgb", "grey"])
def test_a_jpeg_is_seen_as_its_pixels_would_be(size: tuple[int, int], resize: str, colour: str) -> None:
    picture = smooth(*size)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95)
    given = image_input(96, 64, 1 if colour == "grey" else 3)
    scene = Scene(PICTURE + f'resize = "{resize}"\ncolour = "{colour}"', given=given)
    seen = scene.pipeline.prepare(Layout(Format.JPEG), file.getvalue())
    wanted = scene.prepare(picture)
    assert (seen.width, seen.height, seen.placement) == (*size, wanted.placement)
    difference = np.abs(
        np.frombuffer(seen.data, np.uint8).astype(int) - np.frombuffer(wanted.data, np.uint8).astype(int)
    )
    assert difference.mean() < 2


# --- scaling and quantizing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "scale", "wanted"),
    [
        ("uint8", 1 / 255, PIXELS),
        ("int8", 1 / 128, PIXELS.astype(int) - 128),
        ("int8", 0.0, PIXELS.astype(int) - 128),
        ("float32", 0.0, PIXELS / np.float32(255)),
        ("float16", 0.0, (PIXELS / 255).astype(np.float16)),
        ("int16", 1 / 32_768, np.rint(PIXELS / 255 * 32_768).clip(max=32_767)),
        ("int32", 0.0, PIXELS),
    ],
)
def test_a_card_without_mean_and_scale_takes_pixels_the_usual_way(dtype: str, scale: float, wanted: Any) -> None:
    assert Scene(PICTURE, given=image_input(dtype=dtype, scale=scale)).input(PIXELS)[0] == pytest.approx(
        np.asarray(wanted, dtype), rel=1e-6
    )


def test_mean_and_scale_come_before_the_tensors_own_quantization() -> None:
    scene = Scene(PICTURE + 'mean = "128"\nscale = "0.0078125"', given=image_input(dtype="int8", scale=1 / 128))
    assert np.array_equal(scene.input(PIXELS)[0], PIXELS.astype(int) - 128)


def test_mean_and_scale_may_differ_by_channel_in_the_models_order() -> None:
    card = PICTURE + 'colour = "bgr"\nmean = ["10", "20", "30"]\nscale = ["1", "0.5", "0.25"]'
    seen = Scene(card, given=image_input(dtype="float32")).input(PIXELS)[0]
    wanted = (PIXELS[..., ::-1] - np.array([10.0, 20, 30])) * np.array([1, 0.5, 0.25])
    assert seen == pytest.approx(wanted, rel=1e-6)


def test_mean_and_scale_by_channel_reach_planes_too() -> None:
    given = Tensor("image", "float32", (1, 3, 8, 8))
    seen = Scene(PICTURE + 'mean = ["10", "20", "30"]', given=given).input(PIXELS)[0]
    assert seen == pytest.approx((PIXELS - np.array([10.0, 20, 30])).transpose(2, 0, 1), rel=1e-6)


def test_what_the_input_cannot_store_is_cut_at_its_range() -> None:
    scene = Scene(PICTURE + 'scale = "1"', given=image_input(dtype="int8", scale=1.0))
    assert np.array_equal(scene.input(PIXELS)[0], PIXELS.clip(max=127))


# --- what is no picture -----------------------------------------------------------------------------------------


def test_samples_are_refused_by_a_model_that_looks_at_pictures() -> None:
    scene = Scene(PICTURE)
    with pytest.raises(PictureError, match="SAMPLES"):
        scene.pipeline.prepare(Layout(Format.SAMPLES, 4, 1), bytes(16))
    with pytest.raises(PictureError, match="pictures"):
        scene.pipeline.window(b"", Layout(Format.SAMPLES, 4, 1), bytes(16))


def test_a_frame_that_changes_while_it_is_read_does_no_harm() -> None:
    shared = bytearray(64 * 64 * 3)
    stop = threading.Event()

    def scribble() -> None:
        while not stop.is_set():
            shared[:] = RANDOM.bytes(len(shared))

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        for format in (Format.RGB24, Format.NV12, Format.YUV420, Format.GREY):
            scene = Scene(PICTURE)
            for _ in range(20):
                assert len(scene.pipeline.prepare(Layout(format, 64, 64), memoryview(shared)).data) == 8 * 8 * 3
    finally:
        stop.set()
        writer.join()
