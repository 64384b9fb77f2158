"""Releases of one model: spoiled ones, good ones, and what each should be found to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from bench.health import damage
from bench.health.lessons import Family
from bench.health.tflite import Input


class Row(Enum):
    """What a release is, and so what should be said of it."""

    SPOILED = "spoiled weights or labels"
    MISREAD = "misreads its input"
    MISREAD_RETRAINED = "misreads its input, and was trained anew"
    REBUILT = "good sibling"
    RETRAINED = "honest retraining"
    OTHER = "other architecture"


@dataclass(frozen=True, slots=True)
class Variant:
    """One release beside its baseline, both as .tflite files. names: faults that probes may rightly name. shown: what
    the release's preparation does to its input before the model sees it.
    """

    name: str
    row: Row
    content: bytes
    baseline: bytes
    names: tuple[str, ...] = ()
    shown: str = ""


def spoiled(baseline: bytes, classes: slice = slice(None)) -> Iterator[Variant]:
    """classes: which values of the last layer are scores of classes."""
    made: list[tuple[str, Callable[[bytes], bytes]]] = [
        ("zeroed", damage.zeroed),
        ("shuffled", lambda model: damage.shuffled(model, 1)),
        ("pruned", damage.pruned),
        ("collapsed", lambda model: damage.collapsed(model, classes.start or 0)),
        *((f"bits flipped {seed}", lambda model, seed=seed: damage.flipped(model, seed)) for seed in (1, 2, 3)),
        ("labels rolled", lambda model: damage.rolled(model, classes)),
        ("labels shuffled", lambda model: damage.labels_shuffled(model, 1, classes)),
    ]
    if classes.start:
        made.append(("x and y exchanged", lambda model: damage.relabelled(model, np.array([1, 0, 3, 2, 4, 5]))))
    for name, spoil in made:
        yield Variant(name, Row.SPOILED, spoil(baseline), baseline)


def misread(baseline: bytes, taking: Input) -> Iterator[Variant]:
    """By weights that are made for another input, and by a preparation that makes another one."""

    def variant(name: str, content: bytes, fault: str, shown: str = "") -> Variant:
        return Variant(name, Row.MISREAD, content, baseline, (fault,), shown)

    about_black = taking.mean == 0
    yield variant("red and blue swapped", damage.swapped(baseline), "red-blue")
    yield variant("doubled by its weights", damage.brightened(baseline, 2), "double" if about_black else "steep")
    yield variant("halved by its weights", damage.brightened(baseline, 0.5), "half" if about_black else "flat")
    yield variant("doubled by its card", baseline, "double", shown="double")
    yield variant("halved by its card", baseline, "half", shown="halve")


def rebuilt(baseline: bytes) -> Iterator[Variant]:
    made = {
        "repacked": damage.repacked(baseline),
        "quantized in wider steps": damage.rescaled(baseline),
        "touched": damage.touched(baseline, 1),
    }
    for name, content in made.items():
        yield Variant(name, Row.REBUILT, content, baseline)


def of_family(family: Family) -> Iterator[Variant]:
    """What only training gives: each honest network after each other one, among them."""
    first = family.honest[0]
    for name, content in family.rebuilt.items():
        yield Variant(name, Row.REBUILT, content, first)
    for ours, content in enumerate(family.honest):
        for theirs, baseline in enumerate(family.honest):
            if ours != theirs:
                yield Variant(f"training {ours} after {theirs}", Row.RETRAINED, content, baseline)
    yield Variant("wider", Row.OTHER, family.wider, first)
    for fault, content in family.misread.items():
        yield Variant(f"{fault}, trained so", Row.MISREAD_RETRAINED, content, first, (fault,))
