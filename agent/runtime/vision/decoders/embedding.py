"""embedding: one output as a vector of real numbers, of length 1 where the card says `normalise = "l2"`."""

import numpy as np

from agent.runtime.vision.items import Items
from agent.runtime.vision.placement import Placement
from agent.runtime.vision.selection import Wanted
from agent.runtime.vision.stored import Outputs
from littoral.bundle.task import Task
from littoral.wire.vision import ResultKind


class Embedding:
    def __init__(self, task: Task) -> None:
        self._number = task.output.roles["tensor"]
        self._to_length_one = task.output.normalise == "l2"

    def __call__(self, outputs: Outputs, placement: Placement, wanted: Wanted) -> Items:
        vector = outputs.real(self._number).reshape(-1)
        length = float(np.linalg.norm(vector.astype(np.float64))) if self._to_length_one else 0.0
        if length:
            vector = (vector / length).astype(np.float32)
        return Items(ResultKind.EMBEDDING, 4, len(vector), vector.tobytes())
