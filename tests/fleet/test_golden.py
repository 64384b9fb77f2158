"""Golden vectors: from .npz to raw bytes, and the child that runs a model for them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from examples.demo import assets, damage
from fleet import golden, modelfile
from littoral.bundle import card as cards
from littoral.errors import CardError, GoldenError, ModelLoadError
from littoral.tensors import Interface, Tensor

TWO = Interface(
    (Tensor("image", "uint8", (1, 2, 3)), Tensor("gain", "float32", (2,))), (Tensor("score", "int16", (1, 2)),)
)
IMAGE = np.arange(12, dtype=np.uint8).reshape(2, 1, 2, 3)
GAIN = np.arange(4, dtype=np.float32).reshape(2, 2)
SCORE = np.array([[1, -2], [300, -400]], np.int16)


def save(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


def test_the_blob_holds_per_case_all_inputs_then_all_outputs_little_endian(tmp_path: Path) -> None:
    file = save(tmp_path / "g.npz", {"gain": GAIN, "image": IMAGE, "score": SCORE})
    vectors = golden.given(file, TWO)
    assert vectors.cases == 2
    assert vectors.measured is None
    expected = b"".join(IMAGE[n].tobytes() + GAIN[n].tobytes() + SCORE[n].astype("<i2").tobytes() for n in (0, 1))
    assert vectors.blob == expected
    assert (
        golden.given(save(tmp_path / "b.npz", {"gain": GAIN.astype(">f4"), "image": IMAGE, "score": SCORE}), TWO)
        == vectors
    )


def test_a_batch_axis_of_one_may_be_left_out_and_so_may_the_case_axis(tmp_path: Path) -> None:
    whole = golden.given(save(tmp_path / "a.npz", {"image": IMAGE, "gain": GAIN, "score": SCORE}), TWO)
    flat = golden.given(save(tmp_path / "b.npz", {"image": IMAGE[:, 0], "gain": GAIN, "score": SCORE}), TWO)
    assert flat == whole
    one = golden.given(save(tmp_path / "c.npz", {"image": IMAGE[0], "gain": GAIN[0], "score": SCORE[:1]}), TWO)
    assert (one.cases, one.blob) == (1, whole.blob[: len(one.blob)])


def test_names_with_their_side_are_always_taken_and_needed_where_both_sides_share_one(tmp_path: Path) -> None:
    same = Interface((Tensor("x", "int8", (2,)),), (Tensor("x", "int8", (1,)),))
    asked, answer = np.array([[1, 2]], np.int8), np.array([[3]], np.int8)
    found = golden.given(save(tmp_path / "a.npz", {"inputs/x": asked, "outputs/x": answer}), same)
    assert found.blob == b"\1\2\3"
    with pytest.raises(GoldenError, match="inputs/x"):
        golden.given(save(tmp_path / "b.npz", {"x": asked}), same)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": None}, "no array for 'image'"),
        ({"score": None}, "no array for 'score'"),
        ({"extra": GAIN}, "extra"),
        ({"image": IMAGE.astype(np.int8)}, "int8"),
        ({"image": IMAGE[:, :, :1]}, "shape"),
        ({"image": IMAGE[:0]}, "shape"),
        ({"gain": GAIN[:1]}, "image: 2, gain: 1"),
        ({"score": SCORE[:1]}, "2 cases of inputs, 1 of outputs"),
    ],
)
def test_arrays_that_do_not_fit_the_model_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    arrays = {"image": IMAGE, "gain": GAIN, "score": SCORE, **changes}
    file = save(tmp_path / "g.npz", {name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(GoldenError, match=said):
        golden.given(file, TWO)


def test_a_file_that_is_no_npz_is_refused_and_nothing_in_it_is_run(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no")
    np.save(tmp_path / "one.npy", IMAGE)
    np.savez(tmp_path / "pickled.npz", image=np.array([print], dtype=object))
    for name in ("text.npz", "one.npy", "pickled.npz", "absent.npz"):
        with pytest.raises(GoldenError):
            golden.given(tmp_path / name, TWO)


# --- labelled by people ------------------------------------------------------------------------------------------

NAMED = Interface(TWO.inputs, TWO.outputs, ("cat", "dog"))
ASKED = {"image": IMAGE, "gain": GAIN}


def labelled_blob(*classes: int) -> bytes:
    return b"".join(IMAGE[n].tobytes() + GAIN[n].tobytes() + bytes([each, 0, 0, 0]) for n, each in enumerate(classes))


@pytest.mark.parametrize(
    "labels", [np.array([1, 0]), np.array([1, 0], np.uint8), np.array([1, 0], ">i8"), np.array(["dog", "cat"])]
)
def test_the_blob_of_labelled_cases_holds_all_inputs_and_the_class(tmp_path: Path, labels: Any) -> None:
    found = golden.given(save(tmp_path / "g.npz", {**ASKED, "labels": labels}), NAMED)
    assert found == golden.Vectors(2, labelled_blob(1, 0), "labelled")


def test_names_are_of_labels_and_numbers_of_places_in_the_output(tmp_path: Path) -> None:
    """Where the first class is a background that has no label."""
    card = cards.parse('[[output]]\ndecoder = "classification"\noffset = -1\n')
    names = save(tmp_path / "names.npz", {**ASKED, "labels": np.array(["cat", "cat"])})
    numbers = save(tmp_path / "numbers.npz", {**ASKED, "labels": np.array([1, 1])})
    assert golden.given(names, NAMED, card) == golden.given(numbers, NAMED, card)
    assert golden.given(names, NAMED, card).blob == labelled_blob(1, 1)
    with pytest.raises(GoldenError, match="of class 2; the model's classes are 0 to 1"):
        golden.given(save(tmp_path / "dog.npz", {**ASKED, "labels": np.array(["dog", "cat"])}), NAMED, card)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": np.array([0, 2])}, "class 2; the model's classes are 0 to 1"),
        ({"labels": np.array([-1, 0])}, "class -1"),
        ({"labels": np.array([0])}, "2 cases of inputs, 1 labels"),
        ({"labels": np.array([[0, 1]])}, "shape"),
        ({"labels": np.array([0.0, 1.0])}, "float64"),
        ({"labels": np.array([True, False])}, "bool"),
        ({"labels": np.array(["cat", "fish"])}, "'fish', which stands 0 times"),
        ({"labels": np.array([0, 1]), "score": SCORE}, "both labels and score"),
        ({"labels": np.array([0, 1]), "image": None}, "no array for 'image'"),
    ],
)
def test_labels_that_do_not_fit_the_model_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    arrays = {name: array for name, array in {**ASKED, **changes}.items() if array is not None}
    with pytest.raises(GoldenError, match=said):
        golden.given(save(tmp_path / "g.npz", arrays), NAMED)


def test_names_are_refused_where_they_could_mean_nothing_or_two_things(tmp_path: Path) -> None:
    file = save(tmp_path / "g.npz", {**ASKED, "labels": np.array(["cat", "cat"])})
    with pytest.raises(GoldenError, match="without --labels"):
        golden.given(file, TWO)
    with pytest.raises(GoldenError, match="stands 2 times"):
        golden.given(file, Interface(TWO.inputs, TWO.outputs, ("cat", "cat")))


def test_labels_for_what_answers_no_class_are_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "g.npz", {**ASKED, "labels": np.array([0, 0])})
    boxes = Interface(TWO.inputs, (Tensor("boxes", "float32", (1, 9, 4)),))
    with pytest.raises(GoldenError, match="boxes float32"):
        golden.given(file, boxes)
    with pytest.raises(CardError, match="embedding"):
        golden.given(file, NAMED, cards.parse('[[output]]\ndecoder = "embedding"\n'))


def test_an_output_that_is_called_labels_is_still_an_output(tmp_path: Path) -> None:
    model = Interface(TWO.inputs, (Tensor("labels", "int16", (1, 2)),))
    found = golden.given(save(tmp_path / "g.npz", {**ASKED, "labels": SCORE}), model)
    assert (found.expected, len(found.blob)) == ("given", 2 * (6 + 8 + 4))


# --- with a real model -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> bytes:
    return assets.ensure().classifier.read_bytes()


@pytest.fixture(scope="module")
def inputs() -> Any:
    frames = [raw for _, raw in assets.frames(assets.ensure())[:5]]
    return np.stack([np.frombuffer(raw, np.int8).reshape(1, 32, 32, 3) for raw in frames])


@pytest.mark.parametrize("name", ["own", "arr_0", "prefixed"])
def test_answers_are_copied_from_the_model_itself(tmp_path: Path, model: bytes, inputs: Any, name: str) -> None:
    interface = modelfile.read(model).interface
    names = {"own": interface.inputs[0].name, "arr_0": "arr_0", "prefixed": f"inputs/{interface.inputs[0].name}"}
    vectors = golden.copied(save(tmp_path / "i.npz", {names[name]: inputs}), interface, model)
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    expected = b""
    for case in inputs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], case)
        interpreter.invoke()
        expected += case.tobytes() + interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tobytes()
    assert vectors.blob == expected
    assert vectors.cases == 5
    assert vectors.measured is not None
    assert 0 < vectors.measured.p95_us < 60_000_000
    assert 0 < vectors.measured.memory_bytes < 500_000_000


def test_a_model_that_kills_its_process_leaves_the_builder_alive(model: bytes, inputs: Any) -> None:
    interface = modelfile.read(model).interface
    with pytest.raises(ModelLoadError, match="SIG"):
        golden.run(damage.crash(model), [inputs[0].tobytes()], interface)


def test_a_model_that_an_engine_refuses_is_a_named_error(model: bytes, inputs: Any) -> None:
    interface = modelfile.read(model).interface
    with pytest.raises(ModelLoadError, match="refuses"):
        golden.run(model[:2000], [inputs[0].tobytes()], interface)


def test_a_model_that_does_not_come_to_an_end_is_given_up(
    model: bytes, inputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golden, "RUN_TIMEOUT_S", 0.0)
    with pytest.raises(ModelLoadError, match="come to an end"):
        golden.run(model, [inputs[0].tobytes()], modelfile.read(model).interface)


def test_answers_that_are_no_numbers_are_refused() -> None:
    interface = Interface((), (Tensor("n", "int8", (1,)), Tensor("s", "float32", (2,))))
    good = b"\1" + np.array([1, 2], np.float32).tobytes()
    golden._check_finite([good], interface)
    with pytest.raises(GoldenError, match="case 1"):
        golden._check_finite([good, b"\1" + np.array([1, np.nan], np.float32).tobytes()], interface)
