"""ssd: the four outputs of TFLite_Detection_PostProcess: boxes as top, left, bottom, right in parts of the picture, the
class and score of each, and how many there are. The model has suppressed overlapping boxes itself.
"""

import numpy as np

from agent.runtime.vision import items, selection
from agent.runtime.vision.items import Found, Items
from agent.runtime.vision.placement import Placement
from agent.runtime.vision.selection import Wanted
from agent.runtime.vision.stored import Outputs
from littoral.bundle.task import Task


class Ssd:
    def __init__(self, task: Task) -> None:
        self._roles = task.output.roles
        self._offset = task.output.offset
        self._sides = np.array(task.size * 2, np.float32)

    def __call__(self, outputs: Outputs, placement: Placement, wanted: Wanted) -> Items:
        boxes, classes, scores, count = (
            outputs.real(self._roles[role]) for role in ("boxes", "classes", "scores", "count")
        )
        given = int(np.clip(np.nan_to_num(count.reshape(-1)[0]), 0, scores.size))
        found = Found(
            np.rint(np.nan_to_num(classes.reshape(-1)[:given])).astype(np.int64) + self._offset,
            scores.reshape(-1)[:given],
            boxes.reshape(-1, 4)[:given, [1, 0, 3, 2]] * self._sides,
        )
        return items.boxes(selection.select(found, wanted), placement)
