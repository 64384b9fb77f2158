"""segmentation: a label for every element, over the frame and nothing else."""

import numpy as np
import pytest

from littoral.tensors import Tensor
from littoral.wire.vision import Options, ResultKind
from tests.agent.runtime.vision.scene import PICTURE, Scene, image_input, read_mask

CARD = PICTURE + 'resize = "{resize}"\n[[output]]\ndecoder = "segmentation"\n'


def scene(*shape: int, dtype: str = "uint8", scale: float = 0.0, resize: str = "letterbox", more: str = "") -> Scene:
    outputs = (Tensor("out", dtype, (1, *shape), scale, 0),)
    return Scene(CARD.format(resize=resize) + more, outputs, image_input(16, 16), "a b c")


def test_a_map_of_labels_is_taken_as_it_is() -> None:
    labels = np.arange(16).reshape(4, 4) % 3
    items = scene(4, 4, dtype="int64").decode(labels)
    assert (items.kind, items.item_bytes, items.count) == (ResultKind.MASK, 4, 4)
    assert np.array_equal(read_mask(items), labels)


def test_labels_that_no_mask_can_say_are_none() -> None:
    labels = [[-1, 254], [255, 2**40]]
    assert read_mask(scene(2, 2, dtype="int64").decode(labels)).tolist() == [[255, 254], [255, 255]]


@pytest.mark.parametrize(("dtype", "scale"), [("uint8", 0.5), ("float32", 0.0)])
def test_the_best_class_of_each_element_is_its_label(dtype: str, scale: float) -> None:
    scores = np.random.default_rng(5).integers(0, 200, (4, 4, 3))
    assert np.array_equal(read_mask(scene(4, 4, 3, dtype=dtype, scale=scale).decode(scores)), scores.argmax(axis=2))


def test_elements_below_the_threshold_have_no_label() -> None:
    scores = np.array([[[2, 1, 0], [0, 0, 1]]])
    asked = scene(1, 2, 3, dtype="float32", more='activation = "softmax"\nthreshold = "0.6"')
    assert read_mask(asked.decode(scores)).tolist() == [[0, 255]]
    assert read_mask(asked.decode(scores, options=Options(threshold=0.1))).tolist() == [[0, 2]]


def test_one_class_is_there_or_not() -> None:
    asked = scene(1, 3, 1, dtype="float32", more='threshold = "0.5"\noffset = 1')
    assert read_mask(asked.decode([0.2, 0.5, 0.9])).tolist() == [[255, 1, 1]]


def test_only_labels_that_are_asked_for_are_shown() -> None:
    assert read_mask(scene(1, 3, dtype="int32").decode([0, 1, 2], options=Options(labels=("b",)))).tolist() == [
        [255, 1, 255]
    ]


@pytest.mark.parametrize(
    ("size", "shape", "seen"),
    [((32, 16), (16, 16), np.s_[4:12, :]), ((16, 32), (16, 16), np.s_[:, 4:12]), ((32, 16), (4, 4), np.s_[1:3, :])],
)
def test_what_the_model_saw_of_the_letterbox_is_cut_away(
    size: tuple[int, int], shape: tuple[int, int], seen: tuple[slice, slice]
) -> None:
    labels = np.arange(shape[0] * shape[1]).reshape(shape) % 3
    found = read_mask(scene(*shape, dtype="int32").decode(labels, size=size))
    assert np.array_equal(found, labels[seen])


def test_a_frame_of_one_row_still_has_a_mask() -> None:
    assert read_mask(scene(4, 4, dtype="int32").decode(np.ones(16), size=(1_000, 1))).tolist() == [[1, 1, 1, 1]]


def test_a_stretched_frames_mask_is_whole() -> None:
    assert read_mask(scene(4, 4, dtype="int32", resize="stretch").decode(np.ones(16), size=(100, 10))).shape == (4, 4)
