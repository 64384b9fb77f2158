"""What is compared of a model's answers: one row of numbers an input, and the boxes of a detector.

By the card where there is one (scores of classes, boxes, masks, embeddings, points), else by the outputs themselves: an
output with a value for each label is scores; anything else is compared as it is, each output by its own spread.
"""

from collections.abc import Sequence

import numpy as np

from agent.runtime.rehearsal.measures import Answers
from agent.runtime.vision.decoders import DECODERS
from agent.runtime.vision.items import BOX
from agent.runtime.vision.placement import Placement
from agent.runtime.vision.selection import want
from agent.runtime.vision.stored import Outputs, Reals, activated
from littoral.bundle.shapes import is_label_map
from littoral.bundle.task import Task
from littoral.tensors import Interface
from littoral.wire.vision import Options, ResultKind

MOST_VALUES = 4_096  # of an output that are compared, evenly spread: a mask has millions
LEAST_SCORE, MOST_BOXES = 0.05, 50  # of boxes that are looked at
LABELS = 128  # that boxes are told apart by, where the model names fewer
MOST_LETTERS = 64  # of a label, where it is told
NEAR_ONE = 0.1  # how far a sum of scores may be from 1
BOX_KINDS = (ResultKind.BOXES, ResultKind.POSES)


class Reader:
    """Reads the answers of one model. kind: scores, boxes, embedding, or values."""

    def __init__(self, interface: Interface, task: Task | None) -> None:
        self._interface = interface
        self._task = task if task is not None and task.output.decoder != "raw" else None
        self.kind = "values"
        if self._task is None:
            self._scores = next((n for n, t in enumerate(interface.outputs) if self._is_scores(n)), None)
            self.kind = "values" if self._scores is None else "scores"
        elif self._task.output.kind in BOX_KINDS:
            self.kind = "boxes"
        elif self._task.output.decoder in ("classification", "embedding"):
            self.kind = "scores" if self._task.output.decoder == "classification" else "embedding"

    def read(self, outputs: Sequence[bytes], placements: Sequence[Placement | None]) -> Answers:
        """Of at least one answer."""
        found = [Outputs(self._interface, data) for data in outputs]
        if self.kind == "boxes":
            return self._boxes(found, placements)
        if self._task is not None:
            return self._by_card(found, self._task)
        if self._scores is not None:
            return _scores(_stacked([each.real(self._scores) for each in found]))
        parts = [_stacked([each.real(n) for each in found]) for n in range(len(self._interface.outputs))]
        if len(parts) == 1:
            alone = _scores(parts[0])
            return alone if alone.scores and _sum_to_one(parts[0]) else Answers(parts[0])
        return Answers(np.concatenate([part / _spread(part) for part in parts], axis=1))

    def aligned(self, answers: Answers, labels: tuple[str, ...]) -> Answers:
        """In the order of another model's labels, where both name the same ones."""
        ours = self._interface.labels
        if ours == labels or set(ours) != set(labels) or len(set(ours)) != len(ours):
            return answers
        order = np.array([ours.index(label) for label in labels], np.int64)
        values = answers.values
        if answers.scores and values.shape[1] >= len(labels):
            values = np.concatenate((values[:, order], values[:, len(labels) :]), axis=1)
        boxes = answers.boxes
        if boxes is not None:
            places = {float(old): float(new) for new, old in enumerate(order)}
            boxes = tuple(
                np.array([[places.get(b[0], b[0]), *b[1:]] for b in each], np.float32).reshape(-1, 6) for each in boxes
            )
        return Answers(values, answers.scores, boxes)

    def told(self, answers: Answers, index: int) -> str:
        """One answer in words; empty where it is none that has a word."""
        if answers.boxes is not None:
            boxes = answers.boxes[index]
            best = boxes[np.argmax(boxes[:, 1])] if len(boxes) else None
            return "nothing" if best is None else f"{self._label(int(best[0]))} {best[1]:.2f}"
        if not answers.scores:
            return ""
        row = answers.values[index]
        return f"{self._label(int(row.argmax()))} {row.max():.2f}"

    def _label(self, number: int) -> str:
        labels = self._interface.labels
        return labels[number][:MOST_LETTERS] if 0 <= number < len(labels) else f"class {number}"

    def _is_scores(self, number: int) -> bool:
        labels, shape = self._interface.labels, self._interface.outputs[number].shape
        return len(labels) > 1 and int(np.prod(shape)) == len(labels)

    def _by_card(self, outputs: list[Outputs], task: Task) -> Answers:
        output, number = task.output, task.output.roles["tensor"]
        if output.decoder == "segmentation":
            tensor = task.interface.outputs[number]
            read = _labels if is_label_map(tensor) else _mask
            return Answers(_stacked([read(each.real(number), output.activation) for each in outputs]))
        rows = _stacked([activated(each.real(number).reshape(-1), output.activation) for each in outputs])
        if output.decoder == "embedding":
            lengths = np.linalg.norm(rows, axis=1, keepdims=True) if output.normalise == "l2" else np.float32(1)
            return Answers(np.asarray(rows / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32))
        before = np.zeros((len(rows), max(output.offset, 0)), np.float32)
        return _scores(np.concatenate((before, rows[:, max(-output.offset, 0) :]), axis=1))

    def _boxes(self, outputs: list[Outputs], placements: Sequence[Placement | None]) -> Answers:
        assert self._task is not None
        decode = DECODERS[self._task.output.decoder](self._task)
        wanted = want(self._task, Options(threshold=LEAST_SCORE, top=MOST_BOXES))
        values = np.zeros((len(outputs), max(LABELS, len(self._interface.labels))), np.float32)
        found: list[Reals] = []
        with np.errstate(all="ignore"):
            for row, output, placement in zip(values, outputs, placements, strict=True):
                assert placement is not None
                items = decode(output, placement, wanted)
                boxes = _rows(items.data, items.item_bytes, items.count, placement)
                np.maximum.at(row, boxes[:, 0].astype(np.int64) % len(row), boxes[:, 1])
                found.append(boxes)
        return Answers(values, boxes=tuple(found))


def _rows(data: bytes, item_bytes: int, count: int, placement: Placement) -> Reals:
    """[count, 6]: label, score, x0, y0, x1, y1 in parts of the frame."""
    heads = np.frombuffer(data, np.uint8).reshape(count, item_bytes)[:, : BOX.itemsize]
    items = np.ascontiguousarray(heads).view(BOX).reshape(count) if count else np.empty(0, BOX)
    sides = np.array((placement.width, placement.height) * 2, np.float32)
    return np.column_stack((items["label"], items["score"], items["box"] / sides)).astype(np.float32).reshape(count, 6)


def _stacked(arrays: Sequence[Reals]) -> Reals:
    rows = np.stack([array.reshape(-1) for array in arrays])
    step = -(-rows.shape[1] // MOST_VALUES)
    return np.nan_to_num(rows[:, ::step])


def _scores(rows: Reals) -> Answers:
    """Values beyond 0 to 1 are what a softmax is made of; a lone score stands for two classes."""
    if rows.min() < -NEAR_ONE or rows.max() > 1 + NEAR_ONE:
        return Answers(activated(rows, "softmax"), scores=True) if rows.shape[1] > 1 else Answers(rows)
    if rows.shape[1] == 1:
        rows = np.concatenate((1 - rows, rows), axis=1)
    return Answers(rows, scores=True)


def _sum_to_one(rows: Reals) -> bool:
    return rows.shape[1] == 1 or bool(np.all(np.abs(rows.sum(axis=1) - 1) <= NEAR_ONE))


def _spread(part: Reals) -> np.float32:
    spread = np.float32(np.sqrt(np.square(part - part.mean(axis=0)).sum(axis=1).mean()))
    return spread if spread > 0 else np.float32(1)


def _mask(real: Reals, activation: str) -> Reals:
    """The scores of some places of a mask."""
    scores = real.reshape(-1, real.shape[3] if real.ndim == 4 else 1)
    return activated(scores[:: -(-scores.size // MOST_VALUES)], activation)


def _labels(real: Reals, activation: str) -> Reals:
    """Of a mask of labels: for some places a row of zeros with a one where the label stands."""
    labels = real.reshape(-1).astype(np.int64) % LABELS
    rows: Reals = np.eye(LABELS, dtype=np.float32)[labels[:: -(-labels.size * LABELS // MOST_VALUES)]]
    return rows
