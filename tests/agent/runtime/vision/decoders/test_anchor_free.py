"""anchor-free: every way to write a box at a place, against a plain and slow reading of the same rules."""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from littoral.tensors import Tensor
from tests.agent.runtime.vision.scene import PICTURE, Array, Scene, image_input, read_boxes

SIDE, STRIDES, BINS, CLASSES = 32, (8, 16), 4, 2
PLACES = 16 + 4


def places(centre: float, per_cell: int = 1) -> Iterator[tuple[float, float, int]]:
    for stride in STRIDES:
        for row in range(SIDE // stride):
            for column in range(SIDE // stride):
                for _ in range(per_cell):
                    yield (column + centre) * stride, (row + centre) * stride, stride


def card(box: str, columns: str, centre: str = "0.5", more: str = "") -> str:
    return PICTURE + (
        f'[[output]]\ndecoder = "anchor-free"\nbox = "{box}"\nstrides = {list(STRIDES)}\ncentre = "{centre}"\n'
        f'columns = {columns}\nbins = {BINS}\nthreshold = "0.5"\noverlap = "1"\n{more}\n'
    )


def slowly(box: str, raw: list[float], x: float, y: float, stride: int) -> list[float]:
    """One box in the picture's pixels."""
    if box == "offset":
        dx, dy, width, height = raw
        return [x + dx - width / 2, y + dy - height / 2, x + dx + width / 2, y + dy + height / 2]
    if box == "yolox":
        dx, dy, width, height = raw[0] * stride, raw[1] * stride, math.exp(raw[2]) * stride, math.exp(raw[3]) * stride
        return [x + dx - width / 2, y + dy - height / 2, x + dx + width / 2, y + dy + height / 2]
    if box == "dfl":
        sides = []
        for side in range(4):
            powers = [math.exp(value) for value in raw[side * BINS : (side + 1) * BINS]]
            sides.append(sum(number * power for number, power in enumerate(powers)) / sum(powers))
        raw = sides
    return [x - raw[0] * stride, y - raw[1] * stride, x + raw[2] * stride, y + raw[3] * stride]


def values(box: str, seed: int = 4) -> tuple[Array, Array, Array]:
    """(raw boxes, scores, objectness)."""
    random = np.random.default_rng(seed)
    width = 4 * BINS if box == "dfl" else 4
    raw = random.uniform(0.2, 1.0, (PLACES, width)) * (8 if box == "offset" else 1)
    return raw, random.uniform(0, 1, (PLACES, CLASSES)), random.uniform(0.5, 1, (PLACES, 1))


def check(scene: Scene, outputs: list[Array], box: str, raw: Array, scores: Array, centre: float) -> None:
    wanted = []
    for (x, y, stride), one, each in zip(places(centre), raw.tolist(), scores.tolist(), strict=True):
        if max(each) >= 0.5:
            found = [min(SIDE, max(0, value)) for value in slowly(box, one, x, y, stride)]
            wanted.append((each.index(max(each)), max(each), found))
    wanted.sort(key=lambda thing: -thing[1])
    got = read_boxes(scene.decode(*outputs))
    assert len(wanted) > 5
    assert [(label, pytest.approx(score, rel=1e-5), pytest.approx(box, abs=1e-3)) for label, score, box in wanted] == [
        (label, score, box) for label, score, box, _ in got
    ]


@pytest.mark.parametrize("box", ["offset", "ltrb", "dfl", "yolox"])
@pytest.mark.parametrize("centre", [0.0, 0.5])
@pytest.mark.parametrize("order", [["boxes", "objectness", "scores"], ["scores", "boxes"]])
def test_one_table_holds_what_its_columns_say(box: str, centre: float, order: list[str]) -> None:
    raw, scores, objectness = values(box)
    parts = {"boxes": raw, "scores": scores, "objectness": objectness}
    table = np.concatenate([parts[name] for name in order], axis=1)
    columns = str(order).replace("'", '"')
    scene = Scene(
        card(box, columns, str(centre)), (Tensor("out", "float32", (1, *table.shape)),), image_input(SIDE, SIDE)
    )
    check(scene, [table], box, raw, scores * objectness if "objectness" in order else scores, centre)


def test_scores_may_have_an_output_of_their_own_and_be_quantized_otherwise() -> None:
    raw, scores, _ = values("ltrb")
    logits = np.log(scores / (1 - scores))
    stored = np.rint(logits / 0.05).clip(-128, 127)
    outputs = (Tensor("boxes", "float32", (1, 20, 4)), Tensor("scores", "int8", (1, 20, 2), 0.05, 0))
    more = 'scores = "scores"\nactivation = "sigmoid"'
    scene = Scene(card("ltrb", '["boxes"]', more=more), outputs, image_input(SIDE, SIDE))
    check(scene, [raw, stored], "ltrb", raw, 1 / (1 + np.exp(-stored * 0.05)), 0.5)


def test_several_places_of_a_cell_follow_one_another_and_points_belong_to_them() -> None:
    count = 2 * 16 + 6 * 4
    table = np.zeros((count, 8))
    table[:, :4] = [1, 2, 4, 6]
    table[:, 4:] = [-1, -1, 3, 0]
    scores = np.full((count, 1), -10.0)
    scores[[3, 32 + 7], 0] = 3.0, 2.0  # the second place of the second cell; the second of the second cell, stride 16
    outputs = (Tensor("boxes", "float32", (1, count, 8)), Tensor("scores", "float32", (1, count, 1)))
    more = 'scores = 1\nper_cell = [2, 6]\nactivation = "sigmoid"\npoints = ["eye", "ear"]'
    scene = Scene(card("offset", '["boxes", "points"]', more=more), outputs, image_input(SIDE, SIDE))
    found = read_boxes(scene.decode(table, scores))
    assert [box for _, _, box, _ in found] == [[11, 3, 15, 9], [23, 7, 27, 13]]
    first, second = (np.array(points) for _, _, _, points in found)
    score = 1 / (1 + math.exp(-3))
    assert first == pytest.approx(np.array([[11, 3, score], [15, 4, score]]), rel=1e-5)
    assert second[:, :2] == pytest.approx(np.array([[23, 7], [27, 8]]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
@pytest.mark.parametrize("box", ["offset", "ltrb", "dfl", "yolox"])
def test_no_number_makes_it_fail(box: str, value: float) -> None:
    raw, scores, _ = values(box)
    for column in range(raw.shape[1] + 1):
        table = np.concatenate((raw, scores), axis=1)
        table[:, column] = value
        outputs = (Tensor("out", "float32", (1, *table.shape)),)
        found = Scene(card(box, '["boxes", "scores"]'), outputs, image_input(SIDE, SIDE)).decode(table)
        for _, _, (x0, y0, x1, y1), _ in read_boxes(found):
            assert 0 <= x0 < x1 <= SIDE
            assert 0 <= y0 < y1 <= SIDE
