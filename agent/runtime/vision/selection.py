"""Which of a model's finds are results: thresholds, labels, the weaker of two that overlap, and how many."""

from dataclasses import dataclass

import numpy as np

from agent.runtime.vision.items import Chosen, Found, Numbers, Reals
from littoral.bundle.task import Task
from littoral.errors import PictureError
from littoral.wire.vision import Options

MAX_CANDIDATES = 4_096  # the best by score: what a bad threshold lets through must not take the worker's time


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for, and where it says nothing, the card. labels: by number; None: all."""

    threshold: float
    overlap: float
    top: int
    labels: Numbers | None


def want(task: Task, options: Options) -> Wanted:
    """Raises PictureError for a label that the model does not have."""
    output, labels = task.output, None
    if options.labels:
        unknown = [name for name in options.labels if name not in task.interface.labels]
        if unknown:
            raise PictureError(
                f"the model has no label {', '.join(map(repr, unknown))}", remedy="WELCOME lists the labels."
            )
        named = [number for number, name in enumerate(task.interface.labels) if name in options.labels]
        labels = np.array(named, np.int64)
    return Wanted(
        output.threshold if options.threshold is None else options.threshold,
        output.overlap if options.overlap is None else options.overlap,
        output.top if options.top is None else options.top,
        labels,
    )


def passing(labels: Numbers, scores: Reals, wanted: Wanted) -> Numbers:
    """Which reach the threshold and have a wanted label, the best first; equals in their own order."""
    passes = (scores >= wanted.threshold) & (labels >= 0)
    if wanted.labels is not None:
        passes &= np.isin(labels, wanted.labels)
    (chosen,) = np.nonzero(passes)
    return chosen[np.argsort(-scores[chosen], kind="stable")]


def select(found: Found, wanted: Wanted) -> Found:
    """The results among all that was found: of two boxes of one label that overlap, the better (greedy non-maximum
    suppression), at most `top`.
    """
    found = found[passing(found.labels, found.scores, wanted)[:MAX_CANDIDATES]]
    if wanted.overlap >= 1:
        return found[np.arange(len(found.scores))[: wanted.top]]
    left = np.arange(len(found.scores))
    kept: list[int] = []
    while len(left) and len(kept) < wanted.top:
        best, left = left[0], left[1:]
        kept.append(int(best))
        rivals = found.labels[left] == found.labels[best]
        left = left[~(rivals & _overlapping(found.boxes[best], found.boxes[left], wanted.overlap))]
    return found[np.array(kept, np.int64)]


def _overlapping(box: Reals, others: Reals, overlap: float) -> Chosen:
    """Which of the others have an intersection over union with the box that is above `overlap`."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    above: Chosen = np.greater(shared, overlap * ((box[2] - box[0]) * (box[3] - box[1]) + areas - shared))
    return above
