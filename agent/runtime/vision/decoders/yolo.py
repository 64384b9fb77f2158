"""yolo: one table with a box (x and y of its middle, width, height) and the scores of all classes for each place.

v5 multiplies class scores by the objectness, v8 has none. As in Ultralytics' own post-processing each place is its
best class.
"""

import numpy as np

from agent.runtime.vision import items, selection
from agent.runtime.vision.items import Found, Items, Reals
from agent.runtime.vision.placement import Placement
from agent.runtime.vision.selection import Wanted
from agent.runtime.vision.stored import Array, Outputs, activated, dequantized, least_stored
from littoral.bundle.task import Task


class Yolo:
    def __init__(self, task: Task) -> None:
        output = task.output
        self._number = output.roles["tensor"]
        self._output = output
        self._tensor = task.interface.outputs[self._number]
        self._scores_at = 5 if output.variant == "v5" else 4
        self._columns_first = (output.variant == "v8") != output.transposed
        self._unit = unit(task.size, output.coordinates)

    def __call__(self, outputs: Outputs, placement: Placement, wanted: Wanted) -> Items:
        table = outputs.stored(self._number)[0]
        columns = table if self._columns_first else table.T
        possible = candidates(
            columns[4 : self._scores_at] if self._scores_at == 5 else columns[4:], self._least(wanted)
        )
        real = dequantized(np.ascontiguousarray(columns[:, possible]), self._tensor)
        scores = activated(real[4:], self._output.activation)
        if self._scores_at == 5:
            scores = scores[1:] * scores[0]
        best = np.argmax(scores, axis=0)
        found = Found(
            best.astype(np.int64) + self._output.offset,
            scores[best, np.arange(len(best))],
            corners(real[:4].T * self._unit),
        )
        return items.boxes(selection.select(found, wanted), placement)

    def _least(self, wanted: Wanted) -> float:
        return least_stored(wanted.threshold, self._output.activation, self._tensor)


def unit(size: tuple[int, int], coordinates: str) -> Reals:
    """What x, y, width and height are to be multiplied by to be pixels of a picture of this size."""
    if coordinates == "pixels":
        return np.ones(4, np.float32)
    return np.array(size * 2, np.float32)


def candidates(scores: Array, least: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The places of which any stored score (rows) may reach the threshold."""
    (possible,) = np.nonzero(scores.max(axis=0) >= least)
    return possible


def corners(boxes: Reals) -> Reals:
    """[n, 4] from middle x, middle y, width, height to left, top, right, bottom."""
    half = boxes[:, 2:] / 2
    return np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1)
