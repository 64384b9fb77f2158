"""yolo: the tables of Ultralytics' v5 and v8, against a plain and slow reading of the same rules."""

import numpy as np
import pytest

from littoral.tensors import Tensor
from littoral.wire.vision import Options
from tests.agent.runtime.vision.scene import PICTURE, Array, Scene, image_input, read_boxes

SIDE, PLACES, CLASSES = 64, 60, 3


def scene(variant: str, dtype: str = "float32", more: str = "", transposed: bool = False) -> Scene:
    columns = CLASSES + (5 if variant == "v5" else 4)
    shape = (1, columns, PLACES) if (variant == "v8") != transposed else (1, PLACES, columns)
    scale, zero_point = (1 / 255, -128) if dtype == "int8" else (0.0, 0)
    card = PICTURE + f'resize = "letterbox"\n[[output]]\ndecoder = "yolo"\nvariant = "{variant}"\n'
    card += f"transposed = {str(transposed).lower()}\n" + more
    return Scene(card, (Tensor("out", dtype, shape, scale, zero_point),), image_input(SIDE, SIDE), "a b c")


def table(variant: str, seed: int = 3) -> Array:
    """Places by columns; many overlap."""
    random = np.random.default_rng(seed)
    middles = random.choice(random.uniform(0.2, 0.8, (8, 2)), PLACES) + random.normal(0, 0.01, (PLACES, 2))
    sizes = random.uniform(0.1, 0.3, (PLACES, 2))
    scores = random.uniform(0, 1, (PLACES, CLASSES + (variant == "v5")))
    return np.concatenate((middles, sizes, scores), axis=1)


def slowly(
    rows: Array, variant: str, threshold: float = 0.25, overlap: float = 0.45
) -> list[tuple[int, float, list[float]]]:
    """The same in plain Python: the best class of each place, the better of two that overlap. Boxes in the picture."""
    found = []
    for row in rows.tolist():
        scores = [row[4] * score for score in row[5:]] if variant == "v5" else row[4:]
        best = max(scores)
        x, y, width, height = (SIDE * value for value in row[:4])
        if best >= threshold:
            box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
            found.append((scores.index(best), best, box))
    found.sort(key=lambda one: -one[1])
    kept: list[tuple[int, float, list[float]]] = []
    for one in found:
        if all(one[0] != other[0] or intersection_over_union(one[2], other[2]) <= overlap for other in kept):
            kept.append(one)
    return kept


def intersection_over_union(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def in_frame(box: list[float], width: int, height: int) -> list[float]:
    """Out of the letterbox of a frame that is wider than high."""
    scale, top = width / SIDE, (SIDE - height * SIDE / width) / 2
    x0, y0, x1, y1 = box
    return [max(0, x0 * scale), max(0, (y0 - top) * scale), min(width, x1 * scale), min(height, (y1 - top) * scale)]


def arranged(rows: Array, variant: str, transposed: bool) -> Array:
    return rows.T if (variant == "v8") != transposed else rows


@pytest.mark.parametrize("variant", ["v5", "v8"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (128, 96)])
def test_it_finds_what_a_slow_reading_finds(variant: str, transposed: bool, size: tuple[int, int]) -> None:
    rows = table(variant)
    asked = scene(variant, transposed=transposed)
    found = read_boxes(asked.decode(arranged(rows, variant, transposed), size=size))
    wanted = slowly(rows, variant)
    wanted = [one for one in wanted if (box := in_frame(one[2], *size))[2] > box[0] and box[3] > box[1]]
    assert len(wanted) > 5
    assert [label for label, _, _, _ in found] == [label for label, _, _ in wanted]
    assert [score for _, score, _, _ in found] == pytest.approx([score for _, score, _ in wanted], rel=1e-5)
    for (_, _, box, _), (_, _, other) in zip(found, wanted, strict=True):
        assert box == pytest.approx(in_frame(other, *size), abs=1e-3)


@pytest.mark.parametrize("variant", ["v5", "v8"])
def test_a_quantized_table_gives_what_its_real_values_give(variant: str) -> None:
    stored = np.rint(table(variant) * 255 - 128).clip(-128, 127)
    real = (stored + 128) / 255
    one = read_boxes(scene(variant, "int8").decode(arranged(stored, variant, False)))
    other = read_boxes(scene(variant).decode(arranged(real, variant, False)))
    assert [(label, pytest.approx(box, abs=1e-3)) for label, _, box, _ in other] == [
        (label, box) for label, _, box, _ in one
    ]


def test_coordinates_may_be_pixels() -> None:
    rows = table("v8")
    pixels = rows.copy()
    pixels[:, :4] *= SIDE
    one = read_boxes(scene("v8").decode(rows.T))
    other = read_boxes(scene("v8", more='coordinates = "pixels"').decode(pixels.T))
    assert [one[2] for one in one] == [pytest.approx(two[2], abs=1e-3) for two in other]


def test_scores_may_be_logits() -> None:
    rows = table("v5")
    logits = rows.copy()
    logits[:, 4:] = np.log(rows[:, 4:] / (1 - rows[:, 4:]))
    one = read_boxes(scene("v5").decode(rows))
    other = read_boxes(scene("v5", more='activation = "sigmoid"').decode(logits))
    assert [(label, score) for label, score, _, _ in one] == [
        (label, pytest.approx(score, rel=1e-4)) for label, score, _, _ in other
    ]


def test_a_request_narrows_what_is_found() -> None:
    rows, asked = table("v8"), scene("v8")
    everything = read_boxes(asked.decode(rows.T))
    assert read_boxes(asked.decode(rows.T, options=Options(top=2))) == everything[:2]
    assert read_boxes(asked.decode(rows.T, options=Options(labels=("b",)))) == [
        one for one in everything if one[0] == 1
    ]
    assert [one[:2] for one in read_boxes(asked.decode(rows.T, options=Options(threshold=0.75, overlap=0.9)))] == [
        (label, pytest.approx(score)) for label, score, _ in slowly(rows, "v8", 0.75, 0.9)
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
@pytest.mark.parametrize("variant", ["v5", "v8"])
def test_no_number_makes_it_fail(variant: str, value: float) -> None:
    for column in range(8):
        rows = table(variant)
        rows[:, min(column, rows.shape[1] - 1)] = value
        for _, score, box, _ in read_boxes(scene(variant).decode(arranged(rows, variant, False))):
            assert score >= 0.25
            assert 0 <= box[0] < box[2] <= SIDE
            assert 0 <= box[1] < box[3] <= SIDE
