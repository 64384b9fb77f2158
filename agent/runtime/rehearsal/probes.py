"""Probes: what would have to be wrong with a release for its answers to be the baseline's after all.

A release that sees red and blue exchanged agrees with its baseline less than a well retrained one does, but no
threshold tells the two apart. Exchanging the colours does: on exchanged inputs it agrees. Each fault is tried in both
directions, since pixels that are cut off cannot be brought back: the release on inputs that undo the fault, against the
baseline on inputs as they are; and the release on inputs as they are, against the baseline on inputs with the fault.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent import binomial
from agent.runtime.rehearsal.measures import Answers, distances, skill
from agent.runtime.vision.stored import Reals

FIRES_AT, FIRES_BY_CHANCE = 0.5, 1e-4  # skill, sign test
LEFT_OVER = 0.5  # of what the release lacks of skill 1 without the fault, the most that it may lack with it
MOST_LEARNED = 64  # classes of which another order is learned
GREY = np.float32(127.5)

CHANGES: dict[str, Callable[[Reals], npt.NDArray[np.floating]]] = {
    "exchange": lambda pixels: pixels[..., ::-1],
    "double": lambda pixels: pixels * 2,
    "halve": lambda pixels: pixels / 2,
    "double-contrast": lambda pixels: (pixels - GREY) * 2 + GREY,
    "halve-contrast": lambda pixels: (pixels - GREY) / 2 + GREY,
    "lower": lambda pixels: pixels * 2 - 255,
    "raise": lambda pixels: (pixels + 255) / 2,
    "darken": lambda pixels: pixels - 64,
    "brighten": lambda pixels: pixels + 64,
}
"""Changes of pixels from 0 to 255, of shape [..., channels]. What leaves that range is cut off afterwards."""


@dataclass(frozen=True, slots=True)
class Fault:
    """text: what is wrong, as in "the release ...". undo: the change that undoes it; show: that which makes it."""

    name: str
    text: str
    undo: str
    show: str


FAULTS = (
    Fault("red-blue", "sees red and blue exchanged", "exchange", "exchange"),
    Fault("half", "sees its input half as bright as it was trained for", "double", "halve"),
    Fault("double", "sees its input twice as bright as it was trained for", "halve", "double"),
    Fault(
        "raised", "sees its input raised to the upper half of the range, as if -1 to 1 were 0 to 1", "lower", "raise"
    ),
    Fault("lowered", "sees only the upper half of its input, as if 0 to 1 were -1 to 1", "raise", "lower"),
    Fault("flat", "sees its input with half the contrast", "double-contrast", "halve-contrast"),
    Fault("steep", "sees its input with twice the contrast", "halve-contrast", "double-contrast"),
    Fault("darker", "sees its input darker by a quarter of the range", "brighten", "darken"),
    Fault("brighter", "sees its input brighter by a quarter of the range", "darken", "brighten"),
)


@dataclass(frozen=True, slots=True)
class Probe:
    """How well the release agrees with the baseline if it has this fault, and whether that explains its answers."""

    name: str
    text: str
    skill: float
    fires: bool


def of_inputs(release: Answers, baseline: Answers, changed: Callable[[str, str], Answers | None]) -> Iterator[Probe]:
    """changed(side, change): the answers of "release" or "baseline" to the changed inputs; None where that change
    cannot be made of this input, or there is no time for it any more.
    """
    for fault in FAULTS:
        tried = []
        undone, shown = changed("release", fault.undo), changed("baseline", fault.show)
        if undone is not None:
            tried.append(_probe(fault.name, fault.text, undone.values, baseline.values, release, baseline))
        if shown is not None:
            tried.append(_probe(fault.name, fault.text, release.values, shown.values, release, baseline))
        if tried:
            yield max(tried, key=lambda probe: (probe.fires, probe.skill))


def of_outputs(release: Answers, baseline: Answers) -> Iterator[Probe]:
    """Classes in another order: only for answers that are scores of three classes or more."""
    classes = baseline.values.shape[1]
    if not (release.scores and baseline.scores) or classes < 3 or release.values.shape != baseline.values.shape:
        return
    ours = release.values
    for name, text, values in (
        ("labels-up", "gives its labels shifted by one: each to the next class", np.roll(ours, -1, axis=1)),
        ("labels-down", "gives its labels shifted by one: each to the class before", np.roll(ours, 1, axis=1)),
        ("labels-reversed", "gives its labels in reverse order", ours[:, ::-1]),
    ):
        yield _probe(name, text, values, baseline.values, release, baseline)
    learned = np.arange(len(ours)) % 2 == 0
    order = _relabelled(release[learned], baseline[learned])
    if (order != np.arange(classes)).any():
        kept = ~learned
        text = "gives its labels in another order"
        yield _probe("labels-moved", text, ours[kept][:, order], baseline.values[kept], release[kept], baseline[kept])


def _relabelled(release: Answers, baseline: Answers) -> npt.NDArray[np.int64]:
    """For each class of the baseline the column of the release that best answers in its place. Looked for among those
    that vary most: a thousand classes would take seconds, and most of them hardly ever speak.
    """
    ours, theirs = (answers.values.astype(np.float64) for answers in (release, baseline))
    columns, rows = (np.argsort(-side.var(axis=0), kind="stable")[:MOST_LEARNED] for side in (ours, theirs))
    alike = (theirs - theirs.mean(axis=0))[:, rows].T @ (ours - ours.mean(axis=0))[:, columns]
    classes = ours.shape[1]
    order = np.full(classes, -1, np.int64)
    for _ in rows:
        row, column = np.unravel_index(int(np.argmax(alike)), alike.shape)
        order[rows[row]] = columns[column]
        alike[row, :] = -np.inf
        alike[:, column] = -np.inf
    left = np.flatnonzero(order < 0)
    free = np.setdiff1d(np.arange(classes), order)
    stay = np.intersect1d(left, free)
    order[stay] = stay
    order[np.setdiff1d(left, stay)] = np.setdiff1d(free, stay)
    return order


def _probe(name: str, text: str, ours: Reals, theirs: Reals, release: Answers, baseline: Answers) -> Probe:
    """ours and theirs: as they would be with the fault; release and baseline: as they are."""
    found = skill(ours, theirs)
    before, after = distances(release.values, baseline.values), distances(ours, theirs)
    nearer, farther = int((after < before).sum()), int((after > before).sum())
    fires = (
        found >= FIRES_AT
        and 1 - found <= LEFT_OVER * (1 - skill(release.values, baseline.values))
        and binomial.tail(nearer, nearer + farther, 0.5) < FIRES_BY_CHANCE
    )
    return Probe(name, text, found, fires)
