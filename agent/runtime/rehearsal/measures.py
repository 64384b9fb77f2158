"""How far the answers of a release are from those of its baseline to the same inputs: numbers, and no verdict.

The measures are those of docs/health.md, "What the comparison sees". Nothing here knows an engine or a file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.runtime.vision.stored import Reals

Sketches = npt.NDArray[np.uint8]
Chosen = npt.NDArray[np.bool_]

SURE = 0.10  # by so much the best score is above the second where an answer counts as sure
CLEAR_BOX, SOME_BOX, SAME_BOX = (
    0.6,
    0.4,
    0.5,
)  # a box that must be found again; where it counts as found: score, overlap
SCENE = 8.0  # mean difference of two sketches in the same light, from which on they show two scenes
CONTRAST, LEAST_CONTRAST = 32.0, 8.0  # what light is evened out to, of 255; below the second there is nothing to see
SPREAD_SCORES, SPREAD_OTHERS = 0.15, 0.10  # of answers, below which skill says nothing; others: of the median length
FLAT = 1e-3  # range of a score that says the same to everything
MOSTLY, AS_OFTEN = 0.75, 0.5  # of the inputs that one class is said to; part of that, of the baseline's commonest class
WORST = 3  # examples that are told


@dataclass(frozen=True, slots=True)
class Answers:
    """What is compared of the answers to N inputs.

    values: [N, D], float32. scores: whether a row is one score for each class, of which the greatest is the answer.
    boxes: of a detector, for each input [k, 6]: label, score, and x0, y0, x1, y1 in parts of the picture; None
    otherwise.
    """

    values: Reals
    scores: bool = False
    boxes: tuple[Reals, ...] | None = None

    def __getitem__(self, chosen: Any) -> "Answers":
        boxes = None
        if self.boxes is not None:
            boxes = tuple(self.boxes[index] for index in np.arange(len(self.boxes))[chosen])
        return Answers(self.values[chosen], self.scores, boxes)


@dataclass(frozen=True, slots=True)
class Measures:
    """One comparison. skill and boxes are 1 for equal answers, 0 for those no better than always giving the baseline's
    mean answer; None where they say nothing: the baseline itself hardly varies, or nothing was found to compare.

    inputs, scenes: how many, and how many of them show something of its own. sure, disagreements: inputs that both are
    sure about, and those of them that they answer differently. agreed, by_chance: inputs with the same answer, and how
    many those would be if one had nothing to do with the other; 0 where answers are no classes. constant: the release
    says the same to everything, and the baseline does not.
    """

    inputs: int
    scenes: int
    skill: float | None
    sure: int
    disagreements: int
    agreed: int
    by_chance: float
    boxes: float | None
    constant: bool
    is_detector: bool


def measure(release: Answers, baseline: Answers, sketches: Sketches, pictures: bool = True) -> Measures:
    """sketches: of the inputs, [N, 64]. pictures: whether that is what they show. Both have the answers to the same N
    inputs, N > 0.
    """
    agreed, by_chance = _agreement(release, baseline)
    if release.boxes is not None and baseline.boxes is not None:
        sure, disagreements = _lost_boxes(release.boxes, baseline.boxes)
        boxes = box_skill(release.boxes, baseline.boxes)
    else:
        sure, disagreements = _sure_disagreements(release, baseline)
        boxes = None
    return Measures(
        inputs=len(baseline.values),
        scenes=len(scenes(sketches, pictures)),
        skill=skill(release.values, baseline.values) if varies(baseline) else None,
        sure=sure,
        disagreements=disagreements,
        agreed=agreed,
        by_chance=by_chance,
        boxes=boxes,
        constant=_is_constant(release, baseline),
        is_detector=baseline.boxes is not None,
    )


def skill(release: Reals, baseline: Reals) -> float:
    """1 - sum |c - b|^2 / sum |b - mean b|^2, of [N, D] each."""
    wanted = baseline.astype(np.float64)
    whole = float(np.square(wanted - wanted.mean(axis=0)).sum())
    return 1.0 - float(distances(release, baseline).sum()) / whole if whole > 0 else -np.inf


def distances(release: Reals, baseline: Reals) -> npt.NDArray[np.float64]:
    """|c - b|^2 of each input."""
    squares: npt.NDArray[np.float64] = np.square(release.astype(np.float64) - baseline).sum(axis=1)
    return squares


def varies(baseline: Answers) -> bool:
    """Whether the baseline's answers differ enough for a comparison with them to say something."""
    values = baseline.values.astype(np.float64)
    spread = float(np.sqrt(np.square(values - values.mean(axis=0)).sum(axis=1).mean()))
    if baseline.scores:
        return spread >= SPREAD_SCORES
    return spread > 0 and spread >= SPREAD_OTHERS * float(np.median(np.linalg.norm(values, axis=1)))


def scenes(sketches: Sketches, pictures: bool = True) -> list[int]:
    """Inputs that show something of their own: greedily, those at a distance from all that were chosen before. One view
    in another light is no other scene; in the dark, all views are one.
    """
    found: list[int] = []
    real = evened(sketches) if pictures else sketches.astype(np.float32)
    for index, sketch in enumerate(real):
        if not found or float(np.abs(real[found] - sketch).mean(axis=1).min()) >= SCENE:
            found.append(index)
    return found


def evened(sketches: Sketches) -> Reals:
    """As if all were seen in the same light: of one mean and one contrast."""
    real = sketches.astype(np.float32)
    real = real - real.mean(axis=1, keepdims=True)
    contrast = np.sqrt(np.square(real).mean(axis=1, keepdims=True))
    return np.asarray(real * (CONTRAST / np.maximum(contrast, LEAST_CONTRAST)), np.float32)


def worst(release: Answers, baseline: Answers) -> list[tuple[int, float]]:
    """(input, its part of all distance) of the inputs whose answers are farthest apart, the worst first."""
    far = distances(release.values, baseline.values)
    whole = float(far.sum())
    order = np.argsort(-far, kind="stable")[:WORST]
    return [(int(index), float(far[index]) / whole) for index in order if far[index] > 0]


def _agreement(release: Answers, baseline: Answers) -> tuple[int, float]:
    if not (release.scores and baseline.scores) or baseline.values.shape[1] < 2:
        return 0, 0.0
    ours, theirs = release.values.argmax(axis=1), baseline.values.argmax(axis=1)
    classes = baseline.values.shape[1]
    expected = np.bincount(ours, minlength=classes) * np.bincount(theirs, minlength=classes) / len(ours)
    return int((ours == theirs).sum()), float(expected.sum())


def _sure_disagreements(release: Answers, baseline: Answers) -> tuple[int, int]:
    if not (release.scores and baseline.scores) or baseline.values.shape[1] < 2:
        return 0, 0
    both = _is_sure(release.values) & _is_sure(baseline.values)
    differ = release.values.argmax(axis=1) != baseline.values.argmax(axis=1)
    return int(both.sum()), int((both & differ).sum())


def _is_sure(scores: Reals) -> Chosen:
    best = np.partition(scores, -2, axis=1)[:, -2:]
    sure: Chosen = best[:, 1] - best[:, 0] >= SURE
    return sure


def _is_constant(release: Answers, baseline: Answers) -> bool:
    """A range below a thousandth of the unit (of what are no scores, of the baseline's own range), or one class for
    nearly everything.
    """
    if not varies(baseline):
        return False
    ours, theirs = (np.ptp(answers.values, axis=0) for answers in (release, baseline))
    unit = 1.0 if baseline.scores else float(theirs.max())
    if ours.max() < FLAT * unit:
        return True
    if not (release.scores and baseline.scores):
        return False
    often, usual = (np.bincount(answers.values.argmax(axis=1)).max() for answers in (release, baseline))
    return bool(often >= MOSTLY * len(release.values) and usual <= AS_OFTEN * often)


# --- boxes -------------------------------------------------------------------------------------------------------


def _lost_boxes(release: Sequence[Reals], baseline: Sequence[Reals]) -> tuple[int, int]:
    """(inputs with a clear box on either side, those of them where one has no counterpart on the other side)."""
    sure = lost = 0
    for ours, theirs in zip(release, baseline, strict=True):
        clear = (ours[ours[:, 1] >= CLEAR_BOX], theirs[theirs[:, 1] >= CLEAR_BOX])
        some = (ours[ours[:, 1] >= SOME_BOX], theirs[theirs[:, 1] >= SOME_BOX])
        if len(clear[0]) or len(clear[1]):
            sure += 1
            lost += not (_all_found(clear[0], some[1]) and _all_found(clear[1], some[0]))
    return sure, lost


def _all_found(boxes: Reals, among: Reals) -> bool:
    return all(bool(np.any((among[:, 0] == box[0]) & (overlaps(box[2:], among[:, 2:]) >= SAME_BOX))) for box in boxes)


def overlaps(box: Reals, others: Reals) -> Reals:
    """Intersection over union of a box [4] with each of [n, 4]."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    whole = (box[2] - box[0]) * (box[3] - box[1]) + areas - shared
    found: Reals = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return found


def box_skill(release: Sequence[Reals], baseline: Sequence[Reals]) -> float | None:
    """Skill over the coordinates of boxes that both found: paired within a label, the nearest first. None where fewer
    than two pairs were found, or the baseline's never move.
    """
    pairs = [
        pair for ours, theirs in zip(release, baseline, strict=True) for pair in _paired(_found(ours), _found(theirs))
    ]
    if len(pairs) < 2:
        return None
    ours, theirs = (np.stack(side) for side in zip(*pairs, strict=True))
    return skill(ours, theirs) if float(np.ptp(theirs, axis=0).max()) > 0 else None


def _found(boxes: Reals) -> Reals:
    return boxes[boxes[:, 1] >= SOME_BOX]


def _paired(ours: Reals, theirs: Reals) -> list[tuple[Reals, Reals]]:
    apart = np.abs(ours[:, np.newaxis, 2:] - theirs[np.newaxis, :, 2:]).sum(axis=2)
    apart[ours[:, np.newaxis, 0] != theirs[np.newaxis, :, 0]] = np.inf
    pairs = []
    while apart.size and np.isfinite(apart).any():
        row, column = np.unravel_index(int(np.argmin(apart)), apart.shape)
        pairs.append((ours[row, 2:], theirs[column, 2:]))
        apart[row, :] = np.inf
        apart[:, column] = np.inf
    return pairs
