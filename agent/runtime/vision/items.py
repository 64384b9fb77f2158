"""What a decoder gives: the items of a RESULT, and how boxes become some (docs/protocol.md)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent.runtime.vision.placement import Placement
from littoral.wire.vision import ResultKind

Reals = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]
Chosen = npt.NDArray[np.bool_]

# As CLASS_ITEM and BOX_ITEM of littoral/wire/vision.py.
CLASS = np.dtype([("label", "<u4"), ("score", "<f4")])
BOX = np.dtype([("label", "<u4"), ("score", "<f4"), ("box", "<f4", 4)])


@dataclass(frozen=True, slots=True)
class Items:
    """`count` items of `item_bytes` each, the best first."""

    kind: ResultKind
    item_bytes: int
    count: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """Things in the model's picture: boxes [n, 4] as x0, y0, x1, y1 and points [n, k, 3] as x, y, score, both in the
    picture's pixels; points is None where there are none at all.
    """

    labels: Numbers
    scores: Reals
    boxes: Reals
    points: Reals | None = None

    def __getitem__(self, chosen: Numbers | Chosen) -> "Found":
        points = None if self.points is None else self.points[chosen]
        return Found(self.labels[chosen], self.scores[chosen], self.boxes[chosen], points)


def classes(labels: Numbers, scores: Reals) -> Items:
    items = np.empty(len(labels), CLASS)
    items["label"], items["score"] = labels, scores
    return Items(ResultKind.CLASSES, CLASS.itemsize, len(items), items.tobytes())


def boxes(found: Found, placement: Placement) -> Items:
    """In the frame's pixels: boxes are cut at the frame's edges, and those beside it left out; points are not."""
    (ax, bx), (ay, by) = placement.x, placement.y
    kind, points = ResultKind.BOXES, 0
    finite: Chosen = np.all(np.isfinite(found.boxes), axis=1)
    found = found[finite]
    moved = found.boxes * np.array((ax, ay, ax, ay), np.float32) + np.array((bx, by, bx, by), np.float32)
    moved = np.clip(moved, 0, np.array((placement.width, placement.height) * 2, np.float32))
    inside: Chosen = (moved[:, 2] > moved[:, 0]) & (moved[:, 3] > moved[:, 1])
    if found.points is not None:
        kind, points = ResultKind.POSES, found.points.shape[1]
        # A pose of one point, or of points in a row, has a box without area.
        inside = (moved[:, 2] >= moved[:, 0]) & (moved[:, 3] >= moved[:, 1])
    found, moved = found[inside], moved[inside]
    item = np.dtype([*BOX.descr, ("points", "<f4", (points, 3))])
    items = np.empty(len(moved), item)
    items["label"], items["score"], items["box"] = found.labels, found.scores, moved
    if found.points is not None:
        moves = np.array((ax, ay, 1), np.float32), np.array((bx, by, 0), np.float32)
        items["points"] = found.points * moves[0] + moves[1]
    return Items(kind, item.itemsize, len(items), items.tobytes())
