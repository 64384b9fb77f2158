"""segmentation: a label for every element of a coarse picture. What the model saw of fill is cut away."""

import numpy as np
import numpy.typing as npt

from agent.runtime.vision.items import Items
from agent.runtime.vision.placement import Placement
from agent.runtime.vision.selection import Wanted
from agent.runtime.vision.stored import Array, Outputs, activated, dequantized
from littoral.bundle.shapes import is_label_map
from littoral.bundle.task import Task
from littoral.wire.vision import ResultKind

NONE = 255


class Segmentation:
    def __init__(self, task: Task) -> None:
        self._output = task.output
        self._number = task.output.roles["tensor"]
        self._tensor = task.interface.outputs[self._number]
        self._size = task.size

    def __call__(self, outputs: Outputs, placement: Placement, wanted: Wanted) -> Items:
        stored = self._frame(outputs.stored(self._number)[0], placement)
        if is_label_map(self._tensor):
            labels = stored.astype(np.int64)
        elif stored.ndim == 2 or stored.shape[2] == 1:
            labels = self._one_class(stored.reshape(stored.shape[:2]), wanted)
        else:
            labels = self._best_class(stored, wanted)
        labels = np.where(labels >= 0, labels + self._output.offset, -1)
        known = (labels >= 0) & (labels < NONE)
        if wanted.labels is not None:
            known &= np.isin(labels, wanted.labels)
        mask = np.where(known, labels, NONE).astype(np.uint8)
        return Items(ResultKind.MASK, mask.shape[1], mask.shape[0], mask.tobytes())

    def _frame(self, stored: Array, placement: Placement) -> Array:
        """The part of the mask over the frame, at least one element each way."""
        rows, columns = stored.shape[:2]
        left, right = _part(placement.left, placement.inner_width, columns / self._size[0])
        top, bottom = _part(placement.top, placement.inner_height, rows / self._size[1])
        return stored[min(top, rows - 1) : bottom, min(left, columns - 1) : right]

    def _one_class(self, stored: Array, wanted: Wanted) -> npt.NDArray[np.int64]:
        scores = activated(dequantized(stored, self._tensor), self._output.activation)
        return np.where(scores >= wanted.threshold, 0, -1)

    def _best_class(self, stored: Array, wanted: Wanted) -> npt.NDArray[np.int64]:
        # The greatest stored value is the greatest score, so that only a threshold needs real ones.
        best: npt.NDArray[np.int64] = np.argmax(stored, axis=2)
        if wanted.threshold <= 0:
            return best
        scores = activated(dequantized(stored, self._tensor), self._output.activation).max(axis=2)
        return np.where(scores >= wanted.threshold, best, -1)


def _part(start: int, length: int, ratio: float) -> tuple[int, int]:
    """First element and the one after the last of `length` pixels from `start`, where a pixel is `ratio` elements."""
    first = round(start * ratio)
    return first, max(first + 1, round((start + length) * ratio))
