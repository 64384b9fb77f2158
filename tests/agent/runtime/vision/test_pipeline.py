"""The pipeline as a whole: whatever a card, a caller and a model come up with, it ends in results or a named error."""

import contextlib
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.runtime.vision.pipeline import Pipeline
from littoral.bundle import card, fields, task
from littoral.errors import CardError, PictureError
from littoral.tensors import DTYPES, Interface, Tensor
from littoral.wire.vision import Format, Layout, Options, ResultKind
from tests.agent.runtime.vision.scene import PICTURE, Scene

LITERALS = (
    *('"0"', '"0.5"', '"1"', '"-3"', '"1e30"', "-2", "0", "1", "2", "3", "8", "16", "40", "true", "false"),
    *('["boxes", "scores"]', '["boxes", "points"]', '["scores", "boxes", "objectness"]', '["a", "b"]', "[8, 16]", "[]"),
    *('"rgb"', '"bgr"', '"grey"', '"stretch"', '"letterbox"', '"crop"', '"bt601"', '"bt709"', '"video"', '"full"'),
    *('"none"', '"softmax"', '"sigmoid"', '"v5"', '"v8"', '"normalised"', '"pixels"', '"offset"', '"ltrb"', '"dfl"'),
    *('"yolox"', '"l2"', '"movenet"', '"yolo"', '"boxes"', '"a"'),
)


ROLES = ("0", "1", "2", '"boxes"', '"a"')
SHAPES: dict[str, list[list[tuple[int, ...]]]] = {
    "anchor-free": [[(1, 3, 6)], [(1, 3, 40)], [(1, 2, 9)], [(1, 3, 4), (1, 3, 2)], [(1, 3, 8), (1, 3, 1)]],
    "classification": [[(1, 3)], [(9,)]],
    "embedding": [[(1, 4)], [()]],
    "keypoints": [[(1, 1, 3, 3)], [(1, 11, 9)], [(1, 9, 11)]],
    "raw": [[(1, 2), (3,)]],
    "segmentation": [[(1, 4, 4)], [(1, 4, 4, 1)], [(1, 4, 4, 3)]],
    "ssd": [[(1, 5, 4), (1, 5), (1, 5), (1,)]],
    "yolo": [[(1, 6, 20)], [(1, 20, 7)], [(1, 7, 7)]],
}


def fits(field: fields.Field, literal: str) -> bool:
    try:
        field.read(tomllib.loads(f"value = {literal}")["value"])
    except ValueError:
        return False
    return True


@st.composite
def entries(draw: st.DrawFn, known: dict[str, fields.Field], given: str) -> str:
    """Lines of TOML for some of the known fields, now and then of a value that is none for the field."""
    lines = [given]
    for name, field in known.items():
        if name not in ("kind", "decoder", "name") and draw(st.booleans()):
            named = field.read is fields.tensor
            fitting = ROLES if named else [literal for literal in LITERALS if fits(field, literal)]
            lines.append(f"{name} = {draw(st.sampled_from(fitting if draw(st.integers(0, 19)) else LITERALS))}")
    return "\n".join(lines) + "\n"


@st.composite
def models(draw: st.DrawFn) -> tuple[str, Interface]:
    """A card, and a model that it fits more often than not."""
    kind = draw(st.sampled_from(["image", "image", "image", "window"]))
    decoder = draw(st.sampled_from(sorted(SHAPES)))
    text = "[[input]]\n" + draw(entries(fields.INPUTS[kind], f'kind = "{kind}"'))
    text += "[[output]]\n" + draw(entries(fields.OUTPUTS[decoder], f'decoder = "{decoder}"'))
    shapes = draw(st.sampled_from(SHAPES[decoder]) | st.lists(st.lists(st.integers(0, 9), max_size=4).map(tuple)))
    outputs = [
        Tensor(
            draw(st.sampled_from(["boxes", "a"])),
            draw(st.sampled_from(["float32", "int8", *sorted(DTYPES)])),
            shape,
            draw(st.sampled_from([0.0, 1e-3, 0.5, 1e30])),
            draw(st.integers(-200, 200)),
        )
        for shape in shapes
    ]
    image = Tensor(
        "in", draw(st.sampled_from(["uint8", "int8", "float32"])), (1, 8, 8, 3), draw(st.sampled_from([0.0, 0.1]))
    )
    return text, Interface((image,), tuple(outputs), draw(st.sampled_from([(), tuple("abcdefghi")])))


@settings(max_examples=400, deadline=None)
@given(model=models(), data=st.data())
def test_any_card_is_refused_by_name_or_decodes_any_output(model: tuple[str, Interface], data: st.DataObject) -> None:
    text, interface = model
    try:
        read = task.read(card.parse(text), interface)
    except CardError:
        return
    assert read is not None
    pipeline = Pipeline(read)
    if isinstance(read.input, task.Window):
        hop, channels = read.input.hop, read.input.channels
        state, prepared = b"", None
        while prepared is None:
            samples = np.zeros((hop, channels), np.float32).tobytes()
            state, prepared = pipeline.window(state, Layout(Format.SAMPLES, hop, channels), samples)
    else:
        prepared = pipeline.prepare(Layout(Format.RGB24, 5, 3), bytes(45))
    assert len(prepared.data) == interface.inputs[0].size_bytes
    outputs = np.random.default_rng(data.draw(st.integers(0, 99))).bytes(interface.output_bytes)
    options = Options(threshold=data.draw(st.none() | st.floats(0, 1)), overlap=data.draw(st.none() | st.floats(0, 1)))
    items = pipeline.decode(outputs, prepared, options)
    assert len(items.data) == items.item_bytes * items.count
    assert items.kind is read.output.kind


@settings(deadline=None)
@given(
    format=st.sampled_from(Format),
    numbers=st.tuples(*[st.sampled_from([0, 1, 2, 7, 8, 100, 16_384, 2**32 - 1])] * 8),
    content=st.binary(max_size=600),
)
def test_any_frame_is_prepared_or_refused_by_name(format: Format, numbers: tuple[int, ...], content: bytes) -> None:
    layout = Layout(format, numbers[0], numbers[1], numbers[2:5], numbers[5:8])  # type: ignore[arg-type]
    scene = Scene(PICTURE + 'resize = "letterbox"')
    with contextlib.suppress(PictureError):
        assert len(scene.pipeline.prepare(layout, memoryview(content)).data) == 8 * 8 * 3


def test_one_pipeline_serves_several_threads() -> None:
    scene = Scene(PICTURE + 'resize = "letterbox"\n[[output]]\ndecoder = "classification"\n')
    frames = [np.full((6, 9, 3), shade, np.uint8) for shade in range(64)]
    alone = [scene.prepare(frame).data for frame in frames]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda frame: scene.prepare(frame).data, frames)) == alone


def test_the_kind_of_result_is_known_without_numpy() -> None:
    code = (
        "import sys; from littoral.bundle import card, task; from littoral.tensors import Interface, Tensor;"
        f"read = task.read(card.parse({PICTURE!r}), Interface((Tensor('in', 'uint8', (1, 8, 8, 3)),), ()));"
        "print(read.output.kind.name, sorted({'numpy', 'PIL', 'decimal'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == f"{ResultKind.RAW.name} []"
