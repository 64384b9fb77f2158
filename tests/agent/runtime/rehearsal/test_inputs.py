"""Kept inputs as another model's own, and changes of their pixels, whatever the tensor."""

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from agent.runtime.rehearsal.inputs import Inputs, Pixels
from agent.runtime.rehearsal.probes import CHANGES
from agent.runtime.ring import Kept, Kind
from littoral.bundle import card, task
from littoral.bundle.task import Task
from littoral.tensors import Interface, Tensor

SIDE = 8
PICTURE: npt.NDArray[np.uint8] = np.random.default_rng(2).integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.uint8)
OUT = (Tensor("out", "uint8", (1, 3)),)


def interface(dtype: str, scale: float = 0.0, zero: int = 0, shape: tuple[int, ...] = (1, SIDE, SIDE, 3)) -> Interface:
    return Interface((Tensor("in", dtype, shape, scale, zero),), OUT)


def carded(model: Interface, text: str = "") -> Task:
    read = task.read(card.parse(f'[[input]]\nkind = "image"\n{text}'), model)
    assert read is not None
    return read


def tensors(data: bytes) -> Kept:
    return Kept(Kind.TENSORS, 0, 0, 0, bytes(16), bytes(64), data)


def stored(kind: str) -> bytes:
    """The picture as an input of this kind holds it."""
    real = PICTURE.astype(np.float32)
    match kind:
        case "uint8":
            return PICTURE.tobytes()
        case "int8":
            return (PICTURE.astype(np.int16) - 128).astype(np.int8).tobytes()
        case "unit":
            return (real / 255).tobytes()
        case "signed":
            return (real / 127.5 - 1).astype(np.float32).tobytes()
        case "planar":
            return np.moveaxis(real / 255, -1, 1).astype(np.float32).tobytes()
        case _:
            return real.tobytes()


CASES = {
    "uint8": (interface("uint8"), None),
    "int8": (interface("int8", 1 / 128), None),
    "unit": (interface("float32"), None),
    "signed": (interface("float32"), None),
    "pixels": (interface("float32"), None),
    "planar": (interface("float32", shape=(1, 3, SIDE, SIDE)), None),
}


def pixels_of(kind: str, data: bytes) -> npt.NDArray[np.floating]:
    """What an input of this kind shows, as pixels [SIDE, SIDE, 3]."""
    match kind:
        case "uint8":
            return np.frombuffer(data, np.uint8).reshape(SIDE, SIDE, 3).astype(np.float32)
        case "int8":
            return np.frombuffer(data, np.int8).reshape(SIDE, SIDE, 3).astype(np.float32) + 128
        case "unit":
            return np.frombuffer(data, np.float32).reshape(SIDE, SIDE, 3) * 255
        case "signed":
            return (np.frombuffer(data, np.float32).reshape(SIDE, SIDE, 3) + 1) * np.float32(127.5)
        case "planar":
            return np.moveaxis(np.frombuffer(data, np.float32).reshape(3, SIDE, SIDE), 0, -1) * 255
        case _:
            return np.frombuffer(data, np.float32).reshape(SIDE, SIDE, 3)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", CASES)
def test_a_change_is_one_of_pixels_whatever_the_input_is_stored_as(kind: str, change: str) -> None:
    model, read = CASES[kind]
    data = stored(kind)
    changed = Pixels(model.inputs[0], read, [data]).change(data, change)
    assert changed is not None
    wanted = np.clip(CHANGES[change](PICTURE[0].astype(np.float32)), 0, 255)
    assert np.abs(pixels_of(kind, changed) - wanted).max() <= 1.01


def test_the_card_says_what_a_value_is_of_a_pixel() -> None:
    model = interface("float32")
    read = carded(model, 'mean = ["100", "110", "120"]\nscale = ["0.02", "0.03", "0.04"]\n')
    means, scales = np.array([100, 110, 120], np.float32), np.array([0.02, 0.03, 0.04], np.float32)
    data = ((PICTURE - means) * scales).astype(np.float32).tobytes()
    changed = Pixels(model.inputs[0], read, [data]).change(data, "double")
    assert changed is not None
    found = np.frombuffer(changed, np.float32).reshape(SIDE, SIDE, 3) / scales + means
    assert np.abs(found - np.clip(PICTURE[0].astype(np.float32) * 2, 0, 255)).max() < 0.1


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_a_card_says_so_of_a_quantized_input_too(kind: str) -> None:
    model = interface(kind, 1 / 255, -128 if kind == "int8" else 0)
    read = carded(model, 'scale = "0.00392156862745"\n')
    changed = Pixels(model.inputs[0], read, [stored(kind)]).change(stored(kind), "halve")
    assert changed is not None
    assert np.abs(pixels_of(kind, changed) - PICTURE[0].astype(np.float32) / 2).max() <= 1.01


def test_what_has_no_colours_has_none_to_exchange() -> None:
    grey = interface("uint8", shape=(1, SIDE, SIDE, 1))
    data = PICTURE[..., :1].tobytes()
    pixels = Pixels(grey.inputs[0], None, [data])
    assert pixels.change(data, "exchange") is None
    changed = pixels.change(data, "halve")
    assert changed is not None
    assert np.abs(np.frombuffer(changed, np.uint8) - PICTURE[..., 0].ravel() / 2).max() <= 1
    sound = Tensor("in", "int8", (1, 490))
    assert Pixels(sound, None, [bytes(490)]).change(bytes(490), "exchange") is None


def test_inputs_beyond_the_first_stay_as_they_are() -> None:
    tensor = Tensor("in", "uint8", (1, SIDE, SIDE, 3))
    changed = Pixels(tensor, None, [stored("uint8")]).change(stored("uint8") + b"more", "halve")
    assert changed is not None
    assert changed.endswith(b"more")


# --- another model's input ----------------------------------------------------------------------------------------


def test_tensors_of_the_same_inputs_are_shown_as_they_are() -> None:
    model = interface("int8", 1 / 128)
    assert Inputs(model, None, model).of(tensors(stored("int8"))) == (stored("int8"), None)


def test_tensors_are_quantized_anew() -> None:
    was, now = interface("uint8", 1 / 255, 0), interface("int8", 1 / 255, -128)
    assert Inputs(now, None, was).of(tensors(stored("uint8"))) == (stored("int8"), None)
    prepared = Inputs(interface("float32"), None, was).of(tensors(stored("uint8")))
    assert prepared is not None
    assert np.abs(np.frombuffer(prepared[0], np.float32).reshape(PICTURE.shape) - PICTURE / 255).max() < 1e-6


def test_tensors_of_another_shape_or_size_are_not_shown() -> None:
    larger = interface("uint8", shape=(1, 9, 9, 3))
    assert Inputs(larger, None, interface("uint8")).of(tensors(stored("uint8"))) is None
    assert Inputs(interface("uint8"), None, interface("uint8")).of(tensors(b"short")) is None


def test_a_picture_is_shown_in_the_models_own_size() -> None:
    held = io.BytesIO()
    Image.new("RGB", (64, 32), (200, 100, 50)).save(held, "JPEG", quality=95)
    kept = Kept(Kind.PICTURE, 0, 0, 0, bytes(16), bytes(64), held.getvalue())
    for shape in ((1, 16, 16, 3), (1, 5, 7, 3)):
        model = interface("uint8", shape=shape)
        prepared = Inputs(model, carded(model), model).of(kept)
        assert prepared is not None
        data, placement = prepared
        assert np.abs(np.frombuffer(data, np.uint8).reshape(shape)[0, 2, 2] - np.array([200.0, 100, 50])).max() < 4
        assert placement is not None
        assert (placement.width, placement.height) == (64, 32)


def test_a_picture_cannot_be_shown_to_a_model_whose_card_says_nothing_of_pictures() -> None:
    model = interface("uint8")
    assert Inputs(model, None, model).of(Kept(Kind.PICTURE, 0, 0, 0, bytes(16), bytes(64), b"jpeg")) is None
