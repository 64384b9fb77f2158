"""What the bench makes of models, asked of a real engine."""

import shutil
from pathlib import Path

from agent.runtime.engines import open_engine
from bench.models import Model, arena_bytes, in_folder, picture_taker, sibling
from examples.demo.assets import ensure
from fleet import modelfile


def classifier() -> Model:
    content = ensure().classifier.read_bytes()
    return Model("classifier", content, modelfile.read(content).interface, "the demo")


def answer(model: Model, question: bytes) -> bytes:
    return open_engine("litert").load(model.content, ()).interpreter().run(question).data


def test_a_sibling_has_the_same_interface_and_other_answers() -> None:
    model = classifier()
    other = sibling(model)
    question = model.questions(1)
    assert modelfile.read(other.content).interface == model.interface
    assert answer(other, question) != answer(model, question)


def test_the_vga_model_takes_a_frame_and_answers_with_its_first_pixel() -> None:
    model = picture_taker()
    question = model.questions(1)
    assert len(question) == 640 * 480 * 3
    assert answer(model, question) == question[:3]


def test_questions_are_distinct_and_the_same_each_time() -> None:
    model, size = classifier(), classifier().interface.input_bytes
    questions = model.questions(3)
    assert len({questions[size * i : size * (i + 1)] for i in range(3)}) == 3
    assert questions == model.questions(3)


def test_what_flows_through_the_vga_model_is_its_input_and_its_output() -> None:
    assert arena_bytes(picture_taker()) == 640 * 480 * 3 + 3


def test_what_flows_through_a_network_is_more_than_its_input_and_less_than_all_its_tensors() -> None:
    model = classifier()
    assert model.interface.input_bytes < arena_bytes(model) < 3 * 32 * 32 * 16 + model.interface.input_bytes


def test_the_smallest_model_that_fits_and_loads_is_taken_of_a_folder(tmp_path: Path) -> None:
    assets = ensure()
    shutil.copy(assets.models["micro-speech"], tmp_path / "speech.tflite")
    (tmp_path / "broken.tflite").write_bytes(assets.models["micro-speech"].read_bytes()[:9_000])
    found = in_folder(tmp_path)
    assert {name: model.source for name, model in found.items()} == {"tiny": "speech.tflite"}
