"""A real model and real photographs: the classifier answers what examples/demo/assets.py says, here of whole frames."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from agent.runtime.engines import open_engine
from agent.runtime.vision.pipeline import Pipeline
from examples.demo.assets import LABELS, ensure
from littoral.bundle import card, task
from littoral.wire.vision import Format, Layout, Options
from tests.agent.runtime.vision.scene import read_classes

# As examples/demo/fleet.py has it: the model was trained on (pixel - 128) / 128.
CARD = """
[[input]]
kind = "image"
mean = "128"
scale = "0.0078125"

[[output]]
decoder = "classification"
top = 1
"""

Ask = Callable[[Layout, bytes], list[tuple[int, float]]]


@pytest.fixture(scope="module")
def ask() -> Ask:
    model = open_engine("litert").load(ensure().classifier.read_bytes(), LABELS)
    interpreter = model.interpreter()
    found = task.read(card.parse(CARD), model.signatures[""])
    assert found is not None
    pipeline = Pipeline(found)

    def classes(layout: Layout, data: bytes) -> list[tuple[int, float]]:
        prepared = pipeline.prepare(layout, data)
        return read_classes(pipeline.decode(interpreter.run(prepared.data).data, prepared, Options()))

    return classes


def photograph(name: str) -> Image.Image:
    return Image.open(ensure().photos[name]).convert("RGB")


@pytest.mark.parametrize(
    ("name", "label", "score"),
    [("cat", "cat", 0.78), ("horse", "horse", 1.0), ("motorcycle", "automobile", 0.96), ("rocket", "ship", 0.82)],
)
def test_a_photograph_is_told_what_the_model_says_of_it(ask: Ask, name: str, label: str, score: float) -> None:
    picture = photograph(name)
    ((number, found),) = ask(Layout(Format.RGB24, *picture.size), picture.tobytes())
    assert LABELS[number] == label
    # Large frames are reduced by whole numbers first, so that pixels differ a little from those of the table.
    assert found == pytest.approx(score, abs=0.1)


@pytest.mark.parametrize("format", list(Format)[:-1])
def test_the_answer_is_the_same_however_the_camera_sends_the_picture(ask: Ask, format: Format) -> None:
    picture = photograph("horse")
    layout, data = Layout(format, *picture.size), picture.tobytes()
    luma, *chroma = (np.asarray(plane) for plane in picture.convert("YCbCr").split())
    halves = [np.pad(plane, ((0, plane.shape[0] % 2), (0, plane.shape[1] % 2)), "edge")[::2, ::2] for plane in chroma]
    match format:
        case Format.BGR24:
            data = picture.tobytes("raw", "BGR")
        case Format.GREY:
            data = picture.convert("L").tobytes()
        case Format.NV12:
            data = luma.tobytes() + np.stack(halves, axis=-1).tobytes()
        case Format.YUV420:
            data = luma.tobytes() + b"".join(plane.tobytes() for plane in halves)
        case Format.JPEG:
            file = io.BytesIO()
            picture.save(file, "JPEG")
            layout, data = Layout(Format.JPEG), file.getvalue()
    ((number, found),) = ask(layout, data)
    assert LABELS[number] == "horse"
    assert found == pytest.approx(1.0, abs=0.1)
