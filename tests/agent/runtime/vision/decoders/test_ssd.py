"""ssd: what TFLite_Detection_PostProcess gives, in the frame's pixels."""

import math

import numpy as np
import pytest

from littoral.tensors import Tensor
from littoral.wire.vision import Options
from tests.agent.runtime.vision.scene import PICTURE, Scene, image_input, read_boxes

CARD = PICTURE + 'resize = "letterbox"\n[[output]]\ndecoder = "ssd"\n'
OUTPUTS = (
    Tensor("boxes", "float32", (1, 3, 4)),
    Tensor("classes", "float32", (1, 3)),
    Tensor("scores", "float32", (1, 3)),
    Tensor("count", "float32", (1,)),
)
BOXES = [[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.5, 0.25], [0.3, 0.3, 0.4, 0.4]]


def scene(more: str = "", outputs: tuple[Tensor, ...] = OUTPUTS) -> Scene:
    return Scene(CARD + more, outputs, image_input(100, 100), "a b c d")


def test_boxes_come_out_in_the_frames_pixels_without_the_letterbox() -> None:
    # A frame of 200 x 100 lies at half its size between rows 25 and 75.
    found = read_boxes(scene().decode(BOXES, [1, 2, 0], [0.9, 0.6, 0.4], 3, size=(200, 100)))
    assert [(label, box) for label, _, box, _ in found] == [(1, [100, 0, 200, 100]), (2, [0, 0, 50, 50])]
    assert [score for _, score, _, _ in found] == pytest.approx([0.9, 0.6])


def test_only_as_many_as_the_count_says_are_read() -> None:
    asked = scene()
    for count, wanted in ((0, 0), (1, 1), (2, 2), (99, 2), (-1, 0), (math.nan, 0)):
        assert len(read_boxes(asked.decode(BOXES, [1, 2, 0], [0.9, 0.6, 0.4], count))) == wanted


def test_overlapping_boxes_stay_unless_the_request_asks_otherwise() -> None:
    same = [BOXES[0]] * 3
    asked = scene()
    assert len(read_boxes(asked.decode(same, [1, 1, 1], [0.9, 0.8, 0.7], 3))) == 3
    assert len(read_boxes(asked.decode(same, [1, 1, 1], [0.9, 0.8, 0.7], 3, options=Options(overlap=0.5)))) == 1


def test_the_outputs_order_is_the_cards() -> None:
    given = (OUTPUTS[2], OUTPUTS[0], OUTPUTS[3], OUTPUTS[1])
    asked = scene('boxes = "boxes"\nclasses = 3\nscores = 0\ncount = "count"\noffset = 1', given)
    found = read_boxes(asked.decode([0.9, 0.6, 0.4], BOXES, 3, [1, 2, 0]))
    assert [label for label, _, _, _ in found] == [2, 3]


def test_boxes_that_are_no_numbers_are_left_out_and_those_over_the_edge_cut() -> None:
    boxes = np.array(BOXES)
    boxes[0] = [-1, 0.5, 2, 0.75]
    boxes[1, 0] = math.nan
    boxes[2, 2] = math.inf
    found = read_boxes(scene().decode(boxes, [1, 2, 0], [0.9, 0.9, 0.9], 3))
    assert [box for _, _, box, _ in found] == [[50, 0, 75, 100]]
