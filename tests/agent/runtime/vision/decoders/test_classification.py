"""classification: scores of every kind of tensor, the best first."""

import math

import numpy as np
import pytest

from littoral.tensors import Tensor
from littoral.wire.vision import Options
from tests.agent.runtime.vision.scene import PICTURE, Scene, read_classes

CARD = PICTURE + '[[output]]\ndecoder = "classification"\n'


def scene(more: str = "", dtype: str = "float32", scale: float = 0.0, zero_point: int = 0) -> Scene:
    return Scene(CARD + more, (Tensor("out", dtype, (1, 4), scale, zero_point),), labels="a b c d")


def test_the_best_come_first_and_equals_in_their_own_order() -> None:
    found = read_classes(scene().decode(np.array([0.25, 0.5, 0.25, 0.125], np.float32)))
    assert found == [(1, 0.5), (0, 0.25), (2, 0.25), (3, 0.125)]


def test_quantized_scores_are_made_real() -> None:
    found = read_classes(
        scene(dtype="int8", scale=1 / 256, zero_point=-128).decode(np.array([-128, 127, 0, -64], np.int8))
    )
    assert found == [(1, 255 / 256), (2, 0.5), (3, 0.25), (0, 0.0)]


@pytest.mark.parametrize(
    ("activation", "wanted"),
    [("softmax", [0.5, 0.25, 0.125, 0.125]), ("sigmoid", [0.8, 2 / 3, 0.5, 0.5])],
)
def test_logits_become_probabilities(activation: str, wanted: list[float]) -> None:
    found = read_classes(scene(f'activation = "{activation}"').decode([math.log(4), math.log(2), 0, 0]))
    assert [score for _, score in found] == pytest.approx(wanted, rel=1e-6)


def test_an_offset_numbers_the_labels_anew_and_leaves_out_what_has_none() -> None:
    assert read_classes(scene("offset = -1").decode([0.9, 0.5, 0.25, 0.125])) == [(0, 0.5), (1, 0.25), (2, 0.125)]


def test_threshold_top_and_labels_are_the_requests() -> None:
    asked = scene("top = 3")
    scores = [0.9, 0.5, 0.25, 0.125]
    assert len(read_classes(asked.decode(scores))) == 3
    assert read_classes(asked.decode(scores, options=Options(top=1))) == [(0, pytest.approx(0.9))]
    assert [label for label, _ in read_classes(asked.decode(scores, options=Options(threshold=0.5)))] == [0, 1]
    assert [label for label, _ in read_classes(asked.decode(scores, options=Options(labels=("d", "b"))))] == [1, 3]


def test_nan_and_infinity_are_no_reason_to_fail() -> None:
    assert [label for label, _ in read_classes(scene().decode([math.nan, 0.5, math.inf, -math.inf]))] == [2, 1]
    for activation in ("softmax", "sigmoid"):
        read_classes(scene(f'activation = "{activation}"').decode([math.nan, 0.5, math.inf, -math.inf]))


def test_another_output_can_be_named() -> None:
    outputs = (Tensor("first", "uint8", (1, 2)), Tensor("second", "uint8", (1, 2)))
    asked = Scene(CARD + 'tensor = "second"', outputs)
    assert read_classes(asked.decode([9, 9], [1, 2])) == [(1, 2.0), (0, 1.0)]
