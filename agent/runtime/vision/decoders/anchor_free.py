"""anchor-free: grids of places over the picture, one for each stride, and at each place a box, scores, perhaps points.

`box` says what the four numbers of a box are (FCOS, NanoDet, YOLOX and BlazeFace differ in little else):

    offset  pixels: from the place to the box's middle (x, y), width, height. BlazeFace, whose anchors all have size 1
    ltrb    strides: from the place to the left, top, right, bottom side. FCOS
    dfl     as ltrb, each a distribution over `bins` whole numbers, of which the mean counts. NanoDet
    yolox   strides: from the place to the middle, and the logarithms of width and height. YOLOX, with `centre` 0

Boxes that overlap are suppressed, the better one kept; BlazeFace's authors average them instead.
"""

from math import ceil

import numpy as np

from agent.runtime.vision import items, selection
from agent.runtime.vision.decoders.yolo import candidates, corners
from agent.runtime.vision.items import Found, Items, Numbers, Reals
from agent.runtime.vision.placement import Placement
from agent.runtime.vision.selection import Wanted
from agent.runtime.vision.stored import Outputs, activated, dequantized, least_stored
from littoral.bundle.shapes import Output, anchor_free_columns, per_cell
from littoral.bundle.task import Task


class AnchorFree:
    def __init__(self, task: Task) -> None:
        self._output = task.output
        self._roles = task.output.roles
        self._tensors = task.interface.outputs
        widths = anchor_free_columns(
            task.output, {name: self._tensors[n] for name, n in self._roles.items()}, task.size
        )
        self._columns = {}
        at = 0
        for name in task.output.columns:
            self._columns[name] = slice(at, at := at + widths[name])
        self._places, self._strides = _grid(task.output, task.size)

    def __call__(self, outputs: Outputs, placement: Placement, wanted: Wanted) -> Items:
        table = outputs.stored(self._roles["boxes"]).reshape(len(self._places), -1)
        tensor = self._tensors[self._roles["boxes"]]
        scores_tensor, scores_table = tensor, table[:, self._columns.get("scores", slice(0))]
        if "scores" in self._roles:
            scores_tensor = self._tensors[self._roles["scores"]]
            scores_table = outputs.stored(self._roles["scores"]).reshape(len(self._places), -1)
        activation = self._output.activation
        possible = candidates(scores_table.T, least_stored(wanted.threshold, activation, scores_tensor))
        real = dequantized(table[possible], tensor)
        scores = activated(dequantized(scores_table[possible], scores_tensor), activation)
        if "objectness" in self._columns:
            scores = scores * activated(real[:, self._columns["objectness"]], activation)
        best = np.argmax(scores, axis=1)
        found = Found(
            best.astype(np.int64) + self._output.offset,
            scores[np.arange(len(best)), best],
            self._boxes(real[:, self._columns["boxes"]], possible),
            self._points(real, possible),
        )
        if found.points is not None:
            found.points[:, :, 2] = found.scores[:, np.newaxis]
        return items.boxes(selection.select(found, wanted), placement)

    def _boxes(self, raw: Reals, possible: Numbers) -> Reals:
        places, strides = self._places[possible], self._strides[possible]
        match self._output.box:
            case "offset":
                return corners(np.concatenate((raw[:, :2] + places, raw[:, 2:]), axis=1))
            case "yolox":
                return corners(np.concatenate((raw[:, :2] * strides + places, np.exp(raw[:, 2:]) * strides), axis=1))
            case "dfl":
                bins = activated(raw.reshape(len(raw), 4, self._output.bins), "softmax")
                raw = np.asarray(bins @ np.arange(self._output.bins), np.float32)
        sides = raw * strides
        return np.concatenate((places - sides[:, :2], places + sides[:, 2:]), axis=1)

    def _points(self, real: Reals, possible: Numbers) -> Reals | None:
        """x and y of each point; its score is its box's."""
        if "points" not in self._columns:
            return None
        points = np.empty((len(real), len(self._output.points), 3), np.float32)
        raw = real[:, self._columns["points"]].reshape(len(real), -1, 2)
        points[:, :, :2] = raw + self._places[possible][:, np.newaxis]
        return points


def _grid(output: Output, size: tuple[int, int]) -> tuple[Reals, Reals]:
    """(x and y of every place in the picture's pixels, its stride), in the order of the outputs: stride by stride, row
    by row, and the places of one cell together.
    """
    places, strides = [], []
    for stride, count in zip(output.strides, per_cell(output), strict=True):
        columns, rows = ceil(size[0] / stride), ceil(size[1] / stride)
        y, x = np.mgrid[:rows, :columns]
        cells = (np.stack((x, y), axis=-1).reshape(-1, 2) + output.centre) * stride
        places.append(np.repeat(cells, count, axis=0))
        strides.append(np.full((len(cells) * count, 1), stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(strides).astype(np.float32)
