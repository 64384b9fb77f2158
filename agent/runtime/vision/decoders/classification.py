"""classification: one score for each class, the best of them first."""

import numpy as np

from agent.runtime.vision import items, selection
from agent.runtime.vision.items import Items
from agent.runtime.vision.placement import Placement
from agent.runtime.vision.selection import Wanted
from agent.runtime.vision.stored import Outputs, activated
from littoral.bundle.task import Task


class Classification:
    def __init__(self, task: Task) -> None:
        self._number = task.output.roles["tensor"]
        self._output = task.output

    def __call__(self, outputs: Outputs, placement: Placement, wanted: Wanted) -> Items:
        scores = activated(outputs.real(self._number).reshape(-1), self._output.activation)
        labels = np.arange(len(scores), dtype=np.int64) + self._output.offset
        best = selection.passing(labels, scores, wanted)[: wanted.top]
        return items.classes(labels[best], scores[best])
