"""keypoints: poses. movenet gives one, as y, x, score of each point in parts of the picture; yolo a table as v8's, with
x, y, score of each point behind the classes.
"""

import numpy as np

from agent.runtime.vision import items, selection
from agent.runtime.vision.decoders.yolo import candidates, corners, unit
from agent.runtime.vision.items import Found, Items
from agent.runtime.vision.placement import Placement
from agent.runtime.vision.selection import Wanted
from agent.runtime.vision.stored import Outputs, activated, dequantized, least_stored
from littoral.bundle.shapes import pose_columns
from littoral.bundle.task import Task


class Keypoints:
    def __init__(self, task: Task) -> None:
        self._output = task.output
        self._number = task.output.roles["tensor"]
        self._tensor = task.interface.outputs[self._number]
        self._classes, self._points = pose_columns(task.output, self._tensor.shape)
        self._unit = unit(task.size, task.output.coordinates)

    def __call__(self, outputs: Outputs, placement: Placement, wanted: Wanted) -> Items:
        found = self._movenet(outputs) if self._output.variant == "movenet" else self._yolo(outputs, wanted)
        return items.boxes(selection.select(found, wanted), placement)

    def _movenet(self, outputs: Outputs) -> Found:
        """One pose: its score is the mean of its points', its box holds those of at least that score."""
        points = outputs.real(self._number).reshape(-1, 3)[:, [1, 0, 2]]
        points[:, :2] *= self._unit[:2]
        score = points[:, 2].mean()
        sure = points[points[:, 2] >= score]
        held = sure if len(sure) else points  # a mean of equal numbers may be rounded above them
        box = np.concatenate((held[:, :2].min(axis=0), held[:, :2].max(axis=0)))
        label = np.array([self._output.offset], np.int64)
        return Found(label, np.array([score], np.float32), box[np.newaxis], points[np.newaxis])

    def _yolo(self, outputs: Outputs, wanted: Wanted) -> Found:
        table = outputs.stored(self._number)[0]
        columns = table.T if self._output.transposed else table
        at = 4 + self._classes
        least = least_stored(wanted.threshold, self._output.activation, self._tensor)
        possible = candidates(columns[4:at], least)
        real = dequantized(np.ascontiguousarray(columns[:, possible]), self._tensor)
        scores = activated(real[4:at], self._output.activation)
        best = np.argmax(scores, axis=0)
        points = real[at:].T.reshape(-1, self._points, 3).copy()
        points[:, :, :2] *= self._unit[:2]
        points[:, :, 2] = activated(points[:, :, 2], self._output.activation)
        return Found(
            best.astype(np.int64) + self._output.offset,
            scores[best, np.arange(len(best))],
            corners(real[:4].T * self._unit),
            points,
        )
