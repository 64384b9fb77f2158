"""What is compared of an answer, by the card or by the outputs themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from agent.runtime.rehearsal.answers import Reader
from agent.runtime.rehearsal.measures import Answers
from agent.runtime.vision.placement import place
from littoral.bundle import card, task
from littoral.tensors import Interface, Tensor

LABELS = ("cat", "dog", "cow")
IN = (Tensor("in", "uint8", (1, 10, 10, 3)),)
PLACE = place("stretch", 10, 10, 10, 10)


def reader(output: str, *outputs: Tensor, labels: tuple[str, ...] = LABELS) -> Reader:
    interface = Interface(IN, outputs, labels)
    text = f'[[input]]\nkind = "image"\n[[output]]\n{output}' if output else ""
    return Reader(interface, task.read(card.parse(text), interface))


def read(of: Reader, *answers: Sequence[Any]) -> Answers:
    """Each answer is its outputs."""
    outputs = of._interface.outputs
    raw = [
        b"".join(np.asarray(part, tensor.dtype).tobytes() for part, tensor in zip(parts, outputs, strict=True))
        for parts in answers
    ]
    return of.read(raw, [PLACE] * len(raw))


def scores(shape: tuple[int, ...] = (1, 3), dtype: str = "float32", scale: float = 0.0, zero: int = 0) -> Tensor:
    return Tensor("scores", dtype, shape, scale, zero)


def test_classes_are_scores_by_the_card() -> None:
    of = reader('decoder = "classification"\n', scores(dtype="int8", scale=1 / 256, zero=-128))
    found = read(of, [[[-128, 127, 0]]], [[[0, 0, 0]]])
    assert (of.kind, found.scores) == ("scores", True)
    assert found.values == pytest.approx(np.array([[0, 255 / 256, 0.5], [0.5, 0.5, 0.5]]))


def test_what_a_softmax_is_made_of_becomes_scores() -> None:
    found = read(reader('decoder = "classification"\n', scores()), [[[2.0, 0.0, -3.0]]])
    assert found.values.sum() == pytest.approx(1)
    found = read(reader('decoder = "classification"\nactivation = "softmax"\n', scores()), [[[0.2, 0.1, 0.0]]])
    assert found.values.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("offset", "given", "values"), [(1, [0.7, 0.2], [0, 0.7, 0.2]), (-1, [0.1, 0.7, 0.2], [0.7, 0.2])]
)
def test_an_offset_puts_scores_where_their_labels_are(offset: int, given: list[float], values: list[float]) -> None:
    of = reader(f'decoder = "classification"\noffset = {offset}\n', scores((1, len(given))))
    assert read(of, [[given]]).values[0] == pytest.approx(values)


def test_without_a_card_an_output_with_a_value_for_each_label_is_the_scores() -> None:
    of = reader("", Tensor("other", "float32", (1, 4)), scores())
    found = read(of, [[[9, 9, 9, 9]], [[0.1, 0.8, 0.1]]])
    assert (of.kind, found.scores, found.values.shape) == ("scores", True, (1, 3))


def test_without_labels_scores_are_what_sums_to_one() -> None:
    assert read(reader("", scores(), labels=()), [[[0.1, 0.8, 0.1]]], [[[0.5, 0.4, 0.1]]]).scores
    assert not read(reader("", scores(), labels=()), [[[0.9, 0.8, 0.1]]]).scores
    assert not read(reader("", scores(), labels=()), [[[100.0, -3.0, 7.0]]]).scores


def test_a_lone_score_stands_for_two_classes() -> None:
    found = read(reader("", scores((1, 1)), labels=()), [[[0.9]]], [[[0.2]]])
    assert found.scores
    assert found.values == pytest.approx(np.array([[0.1, 0.9], [0.8, 0.2]]))


def test_several_outputs_are_each_measured_by_their_own_spread() -> None:
    of = reader("", Tensor("a", "float32", (1, 2)), Tensor("b", "float32", (1, 1)), labels=())
    found = read(of, [[[0.0, 0.0]], [[0.0]]], [[[2_000.0, 0.0]], [[0.002]]])
    assert not found.scores
    spread = found.values - found.values.mean(axis=0)
    assert np.square(spread[:, :2]).sum() == pytest.approx(np.square(spread[:, 2:]).sum())


def test_boxes_are_the_best_score_of_each_label_and_where_they_lie() -> None:
    outputs = (
        Tensor("boxes", "float32", (1, 2, 4)),
        Tensor("classes", "float32", (1, 2)),
        scores((1, 2)),
        Tensor("count", "float32", (1,)),
    )
    of = reader('decoder = "ssd"\n', *outputs)
    found = read(of, [[[[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.9, 0.9]]], [[1, 2]], [[0.9, 0.6]], [2]])
    assert of.kind == "boxes"
    assert found.values[0][:3] == pytest.approx([0, 0.9, 0.6])
    assert found.boxes is not None
    assert found.boxes[0] == pytest.approx(
        np.array([[1, 0.9, 0.2, 0.1, 0.4, 0.3], [2, 0.6, 0.5, 0.5, 0.9, 0.9]]), abs=1e-6
    )
    nothing = read(of, [[[[0, 0, 0, 0], [0, 0, 0, 0]]], [[0, 0]], [[0, 0]], [0]])
    assert nothing.boxes is not None
    assert nothing.boxes[0].shape == (0, 6)
    assert (of.told(found, 0), of.told(nothing, 0)) == ("dog 0.90", "nothing")


def test_embeddings_have_length_one_where_the_card_says_so() -> None:
    of = reader('decoder = "embedding"\nnormalise = "l2"\n', scores((1, 3)), labels=())
    found = read(of, [[[3.0, 0.0, 4.0]]], [[[0.0, 0.0, 0.0]]])
    assert of.kind == "embedding"
    assert found.values == pytest.approx(np.array([[0.6, 0, 0.8], [0, 0, 0]]))


def test_masks_are_compared_in_some_places() -> None:
    of = reader('decoder = "segmentation"\n', scores((1, 40, 40, 3)))
    mask = np.zeros((1, 40, 40, 3), np.float32)
    mask[..., 1] = 1
    found = read(of, [mask])
    assert 0 < found.values.shape[1] <= 4_096 + 3
    assert found.values.max() == 1
    labels = reader('decoder = "segmentation"\n', Tensor("labels", "int32", (1, 20, 20)), labels=())
    one, other = np.zeros((1, 20, 20)), np.ones((1, 20, 20))
    differing = read(labels, [one], [other])
    assert np.square(differing.values[0] - differing.values[1]).sum() > 0
    assert differing.values.sum(axis=1).min() > 0


# --- other labels -------------------------------------------------------------------------------------------------


def test_scores_are_aligned_by_the_names_of_their_labels() -> None:
    of = reader('decoder = "classification"\n', scores(), labels=("dog", "cow", "cat"))
    aligned = of.aligned(read(of, [[[0.7, 0.2, 0.1]]]), LABELS)
    assert aligned.values == pytest.approx(np.array([[0.1, 0.7, 0.2]]))


def test_labels_that_are_not_the_same_ones_are_left_as_they_are() -> None:
    of = reader('decoder = "classification"\n', scores(), labels=("dog", "cow", "pig"))
    answers = read(of, [[[0.7, 0.2, 0.1]]])
    assert of.aligned(answers, LABELS) is answers


def test_boxes_are_aligned_by_the_names_of_their_labels() -> None:
    of = reader("", scores(), labels=("dog", "cow", "cat"))
    boxes = (np.array([[0, 0.9, 0, 0, 1, 1], [2, 0.8, 0, 0, 1, 1], [7, 0.5, 0, 0, 1, 1]], np.float32),)
    aligned = of.aligned(Answers(np.zeros((1, 3), np.float32), boxes=boxes), LABELS)
    assert aligned.boxes is not None
    assert list(aligned.boxes[0][:, 0]) == [1, 0, 7]


def test_an_answer_is_told_by_its_label() -> None:
    of = reader('decoder = "classification"\n', scores())
    found = read(of, [[[0.1, 0.2, 0.7]]])
    assert of.told(found, 0) == "cow 0.70"
    nameless = reader('decoder = "classification"\n', scores(), labels=())
    assert nameless.told(found, 0) == "class 2 0.70"
    assert of.told(Answers(np.zeros((1, 3), np.float32)), 0) == ""
