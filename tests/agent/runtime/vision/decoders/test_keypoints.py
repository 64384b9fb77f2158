"""keypoints: MoveNet's one pose and the tables of YOLOv8-pose."""

import numpy as np
import pytest

from littoral.tensors import Tensor
from littoral.wire.vision import ResultKind
from tests.agent.runtime.vision.scene import PICTURE, Scene, image_input, read_boxes

CARD = PICTURE + 'resize = "letterbox"\n[[output]]\ndecoder = "keypoints"\n'


def movenet(more: str = "", points: int = 3) -> Scene:
    return Scene(CARD + more, (Tensor("out", "float32", (1, 1, points, 3)),), image_input(100, 100))


def test_movenets_points_come_out_in_the_frames_pixels() -> None:
    items = movenet().decode([[0.5, 0.25, 0.9], [0.25, 0.75, 0.8], [0.9, 0.9, 0.1]], size=(200, 100))
    ((label, score, box, points),) = read_boxes(items)
    assert items.kind is ResultKind.POSES
    assert (label, score) == (0, pytest.approx(0.6))
    assert np.array(points) == pytest.approx(np.array([[50, 50, 0.9], [150, 0, 0.8], [180, 130, 0.1]]), abs=1e-3)
    assert box == pytest.approx([50, 0, 150, 50], abs=1e-3)


def test_nobody_is_nobody() -> None:
    assert read_boxes(movenet().decode(np.zeros((3, 3)))) == []
    assert read_boxes(movenet().decode(np.full((3, 3), np.nan))) == []


def test_points_of_one_score_are_a_pose_though_their_mean_is_rounded() -> None:
    for score in np.random.default_rng(6).uniform(0.3, 1, 50).astype(np.float32):
        assert len(read_boxes(movenet(points=17).decode(np.full((17, 3), score)))) == 1


def test_one_sure_point_is_a_pose() -> None:
    ((_, _, box, _),) = read_boxes(movenet('threshold = "0.1"').decode([[0.5, 0.25, 0.9], [0, 0, 0], [0, 0, 0]]))
    assert box == pytest.approx([25, 50, 25, 50], abs=1e-3)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("coordinates", ["normalised", "pixels"])
def test_yolos_poses_keep_their_points(transposed: bool, coordinates: str) -> None:
    # x, y, width, height, the score, and two points of x, y, score
    rows = np.array(
        [
            [0.5, 0.5, 0.2, 0.4, 0.9, 0.5, 0.4, 1.0, 0.5, 0.6, 0.5],
            [0.5, 0.5, 0.2, 0.4, 0.8, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
            [0.2, 0.2, 0.2, 0.2, 0.5, 0.2, 0.1, 0.7, 0.2, 0.3, 0.6],
            [0.8, 0.8, 0.2, 0.2, 0.1, 0.2, 0.1, 0.7, 0.2, 0.3, 0.6],
        ]
    )
    rows[:, [0, 1, 2, 3, 5, 6, 8, 9]] *= 100 if coordinates == "pixels" else 1
    shape = (1, 4, 11) if transposed else (1, 11, 4)
    card = CARD + f'variant = "yolo"\npoints = ["head", "foot"]\ncoordinates = "{coordinates}"\n'
    card += f"transposed = {str(transposed).lower()}"
    asked = Scene(card, (Tensor("out", "float32", shape),), image_input(100, 100))
    found = read_boxes(asked.decode(rows if transposed else rows.T, size=(200, 200)))
    assert [score for _, score, _, _ in found] == pytest.approx([0.9, 0.5])
    assert found[0][2] == pytest.approx([80, 60, 120, 140], abs=1e-3)
    assert np.array(found[0][3]) == pytest.approx(np.array([[100, 80, 1.0], [100, 120, 0.5]]), abs=1e-3)
    assert np.array(found[1][3]) == pytest.approx(np.array([[40, 20, 0.7], [40, 60, 0.6]]), abs=1e-3)
