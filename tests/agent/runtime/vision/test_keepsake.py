"""Frames that are kept: small, whole, and the same picture whatever they came as."""

import io

import numpy as np
import pytest
from PIL import Image

from agent.runtime.vision.keepsake import MOST_SIDE, keep, sketch
from agent.runtime.vision.preparation import Preparation
from littoral.bundle import card, task
from littoral.bundle.task import Picture
from littoral.tensors import Interface, Tensor
from littoral.wire.vision import Format, Layout

WIDTH, HEIGHT = 1280, 720
GREYS = np.random.default_rng(4).integers(0, 256, (8, 8)).astype(np.uint8)
IMAGE = Image.fromarray(np.kron(GREYS, np.ones((HEIGHT // 8, WIDTH // 8), np.uint8))).convert("RGB")


def preparation(colour: str = "rgb") -> Preparation:
    channels = 1 if colour == "grey" else 3
    interface = Interface((Tensor("in", "uint8", (1, 96, 96, channels)),), (Tensor("out", "uint8", (1, 2)),))
    read = task.read(card.parse(f'[[input]]\nkind = "image"\ncolour = "{colour}"\n'), interface)
    assert read is not None
    assert isinstance(read.input, Picture)
    return Preparation(read.input)


def frame(form: Format) -> tuple[Layout, bytes]:
    match form:
        case Format.JPEG:
            held = io.BytesIO()
            IMAGE.save(held, "JPEG", quality=95)
            return Layout(form), held.getvalue()
        case Format.GREY:
            return Layout(form, WIDTH, HEIGHT), IMAGE.convert("L").tobytes()
        case Format.NV12:
            luma = np.rint(np.asarray(IMAGE.convert("L"), np.float64) * 219 / 255 + 16).astype(np.uint8)
            return Layout(form, WIDTH, HEIGHT), luma.tobytes() + b"\x80" * (WIDTH * HEIGHT // 2)
        case _:
            return Layout(form, WIDTH, HEIGHT), IMAGE.tobytes()


@pytest.mark.parametrize("form", [Format.RGB24, Format.BGR24, Format.GREY, Format.NV12, Format.JPEG])
@pytest.mark.parametrize("colour", ["rgb", "bgr", "grey"])
def test_a_frame_is_kept_small_with_its_sketch(form: Format, colour: str) -> None:
    layout, data = frame(form)
    jpeg = keep(preparation(colour), layout, data)
    with Image.open(io.BytesIO(jpeg)) as kept:
        assert kept.size == (MOST_SIDE, MOST_SIDE * HEIGHT // WIDTH)
        assert kept.mode == ("L" if colour == "grey" else "RGB")
    assert len(jpeg) < 60_000
    found = np.frombuffer(sketch(preparation(colour), layout, data), np.uint8).reshape(8, 8)
    assert np.abs(found.astype(int) - GREYS).mean() < 8


def test_colours_stay_what_they_are() -> None:
    red = Image.new("RGB", (640, 480), (200, 30, 10))
    jpeg = keep(preparation(), Layout(Format.BGR24, 640, 480), red.tobytes("raw", "BGR"))
    with Image.open(io.BytesIO(jpeg)) as kept:
        pixel = kept.getpixel((50, 50))
    assert isinstance(pixel, tuple)
    assert max(abs(a - b) for a, b in zip(pixel, (200, 30, 10), strict=True)) < 6


def test_a_small_frame_is_not_made_larger() -> None:
    jpeg = keep(preparation(), Layout(Format.GREY, 64, 48), bytes(64 * 48))
    with Image.open(io.BytesIO(jpeg)) as kept:
        assert kept.size == (64, 48)
