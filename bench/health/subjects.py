"""The models that are judged, and what their cameras see.

Three kinds were trained here: one that tells ten photographs apart (trained twice: on photographs that limits were
chosen on, and on those that only test), one that reads handwritten digits on photographs, and one that finds them.
The demo's classifier is the fourth, and has no retrainings. Further models come from a folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.runtime.engines import open_engine
from bench.health import lessons, network, pictures
from bench.health.lessons import Family, Lesson
from bench.health.network import Architecture, Convolution, Floats
from bench.health.photographs import Album, Pixels
from bench.health.pictures import TRAINED_LIGHTS, Pool, Signs
from bench.health.releases import Variant, misread, of_family, rebuilt, spoiled
from bench.health.tflite import CENTRED, UNIT
from examples.demo import assets
from fleet import modelfile
from littoral.errors import LittoralError

CHOOSING, TESTING = "choosing", "testing"
KNOWN = {
    CHOOSING: ("coffee", "ihc", "color", "flower", "chairs", "chestnuts", "thatch", "jeep", "cap", "grass"),
    TESTING: (
        "cat",
        "motorcycle",
        "retina",
        "china",
        "strawberries",
        "rugs",
        "leafhopper",
        "gravel",
        "mastiff",
        "store",
    ),
}
SIDE = 32
MOST_SIDE, LEAST_VIEWS = 128, 40  # pixels of models of a folder; views that the cameras need
TRUNK = (Convolution(16), Convolution(24), Convolution(32))
DIGITS = {
    "training": slice(0, 900),
    CHOOSING: slice(900, 1347),
    TESTING: slice(1347, None),
}  # the last by others' hands
NO_SIGN = 0.25  # of what the finder sees
FINDER_CARD = """
[[input]]
kind = "image"
resize = "stretch"
scale = "0.00392156862745"

[[output]]
decoder = "yolo"
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """One model. accuracies: of its honest trainings, on held-out pictures. card: TOML, where it needs one."""

    name: str
    labels: tuple[str, ...]
    variants: tuple[Variant, ...]
    pools: dict[str, Pool]
    accuracies: tuple[float, ...] = ()
    card: str = ""


def make(album: Album, views: int, cache: Path, folder: Path | None = None) -> Iterator[Subject]:
    """views: of each pool. The demo's classifier, which takes fifty times as long, gets a third of them; models of the
    folder a tenth.
    """
    yield places(album, CHOOSING, views, cache)
    yield places(album, TESTING, views, cache)
    yield signs(album, views, cache)
    yield finder(album, views, cache)
    yield cifar(album, views // 3)
    for path in sorted(folder.glob("*.tflite")) if folder else ():
        found = of_file(album, path, max(views // 10, LEAST_VIEWS))
        if found is not None:
            yield found


def places(album: Album, part: str, views: int, cache: Path) -> Subject:
    photographs = album.choosing if part == CHOOSING else album.testing
    shown = [photographs[name] for name in KNOWN[part]]
    pixels, classes = pictures.examples(shown, 600, SIDE, seed=1, held_out=False)
    held_out, theirs = pictures.examples(shown, 200, SIDE, seed=2, held_out=True)
    lesson = Lesson(
        taking=CENTRED if part == CHOOSING else UNIT,
        architecture=Architecture((SIDE, SIDE, 3), TRUNK, 10, hidden=0 if part == CHOOSING else 48),
        wider=Architecture((SIDE, SIDE, 3), (Convolution(32, 5), Convolution(48)), 10),
        pictures=pixels,
        wanted=network.one_hot(classes, 10),
        held_out=held_out,
        epochs=8,
    )
    family = lessons.train(lesson, lambda answers: _right(answers, theirs), cache)
    pools = {part: pictures.pool(photographs, KNOWN[part], views, SIDE, seed=3)}
    return Subject(f"places-{part}", KNOWN[part], _all(family, lesson), pools, family.accuracies)


def signs(album: Album, views: int, cache: Path) -> Subject:
    """Five digits, red or blue: ten classes."""
    seen = {part: _signs(album, part, views, absent=0) for part in (CHOOSING, TESTING)}
    learned = _signs(album, "training", 8_000, absent=0)
    theirs = seen[TESTING]
    lesson = Lesson(
        taking=UNIT,
        architecture=Architecture((SIDE, SIDE, 3), TRUNK, 10),
        wider=Architecture((SIDE, SIDE, 3), (Convolution(16), Convolution(32), Convolution(48)), 10, hidden=48),
        pictures=_lit(learned.pixels),
        wanted=network.one_hot(2 * learned.digit + learned.red, 10),
        held_out=theirs.pixels,
        epochs=12,
    )
    family = lessons.train(lesson, lambda answers: _right(answers, 2 * theirs.digit + theirs.red), cache)
    labels = tuple(f"{colour} {digit}" for digit in range(5) for colour in ("blue", "red"))
    pools = {part: pictures.day(each.pixels, seed=9) for part, each in seen.items()}
    return Subject("signs", labels, _all(family, lesson), pools, family.accuracies)


def finder(album: Album, views: int, cache: Path) -> Subject:
    """Where the digit is, and whether it is red or blue: a detector of one place."""
    seen = {part: _signs(album, part, views, absent=NO_SIGN) for part in (CHOOSING, TESTING)}
    learned, theirs = _signs(album, "training", 8_000, absent=NO_SIGN), seen[TESTING]
    lesson = Lesson(
        taking=UNIT,
        architecture=Architecture((SIDE, SIDE, 3), TRUNK, 6, hidden=64, ending="sigmoid"),
        wider=Architecture(
            (SIDE, SIDE, 3), (Convolution(16), Convolution(32), Convolution(48)), 6, hidden=32, ending="sigmoid"
        ),
        pictures=_lit(learned.pixels),
        wanted=_boxes(learned),
        held_out=theirs.pixels,
        epochs=10,
    )
    family = lessons.train(lesson, lambda answers: _found(answers, theirs), cache)
    pools = {part: pictures.day(each.pixels, seed=11) for part, each in seen.items()}
    variants = _all(family, lesson, classes=slice(4, None))
    return Subject("finder", ("blue", "red"), variants, pools, family.accuracies, FINDER_CARD)


def cifar(album: Album, views: int) -> Subject:
    """The demo's classifier."""
    baseline = assets.ensure().classifier.read_bytes()
    return Subject(
        name="cifar",
        labels=assets.LABELS,
        variants=(*spoiled(baseline), *misread(baseline, CENTRED), *rebuilt(baseline)),
        pools={
            CHOOSING: pictures.pool(album.choosing, (), views, SIDE, seed=7),
            TESTING: pictures.pool(album.testing, (), views, SIDE, seed=8),
        },
    )


def of_file(album: Album, path: Path, views: int) -> Subject | None:
    """A classifier of square pictures of 8 bits; None where the file is none, or too large to be asked so often."""
    content = path.read_bytes()
    try:
        interface = modelfile.read(content).interface
        open_engine("litert").load(content, ()).interpreter()
    except LittoralError:
        return None
    takes, gives = interface.inputs[0], interface.outputs[0]
    side = takes.shape[1] if len(takes.shape) == 4 else 0
    fits = len(interface.inputs) == len(interface.outputs) == 1 and takes.shape == (1, side, side, 3)
    if not fits or side > MOST_SIDE or side % 8 or "int8" not in takes.dtype or "int8" not in gives.dtype:
        return None
    about_black = takes.zero_point == (0 if takes.dtype == "uint8" else -128)
    made = (*spoiled(content), *misread(content, UNIT if about_black else CENTRED), *rebuilt(content))
    return Subject(
        name=path.stem,
        labels=tuple(map(str, range(gives.size_bytes))),
        variants=made,
        pools={
            CHOOSING: pictures.pool(album.choosing, (), views, side, seed=12),
            TESTING: pictures.pool(album.testing, (), views, side, seed=13),
        },
    )


def _all(family: Family, lesson: Lesson, classes: slice = slice(None)) -> tuple[Variant, ...]:
    first = family.honest[0]
    return (*spoiled(first, classes), *misread(first, lesson.taking), *rebuilt(first), *of_family(family))


def _signs(album: Album, part: str, count: int, absent: float) -> Signs:
    """What is trained on comes from the photographs of CHOOSING, as there are no more."""
    photographs = album.testing if part == TESTING else album.choosing
    drawn, classes = album.digits
    digits = drawn[DIGITS[part]], classes[DIGITS[part]]
    return pictures.signs(list(photographs.values()), digits, count, SIDE, seed=len(part), absent=absent)


def _lit(pixels: Pixels) -> Pixels:
    numbers = np.random.default_rng(5)
    return np.array([pictures.lit(each, numbers.uniform(*TRAINED_LIGHTS), numbers) for each in pixels])


def _boxes(signs: Signs) -> Floats:
    """Where there is no sign, nothing is asked of its box."""
    scores = network.one_hot(signs.red, 2) * ~np.isnan(signs.box[:, :1])
    return np.concatenate((signs.box, scores), axis=1).astype(np.float32)


def _right(answers: Floats, classes: NDArray[np.int64]) -> float:
    return float(np.mean(answers.argmax(axis=1) == classes))


def _found(answers: Floats, signs: Signs) -> float:
    """The share of pictures whose sign is found where it is (overlap >= 0.5), and none where there is none."""
    there = ~np.isnan(signs.box[:, 0])
    told = answers[:, 4:].max(axis=1) >= 0.5
    right = answers[:, 4:].argmax(axis=1) == signs.red
    low, high = (
        function(answers[:, :2] + sign * answers[:, 2:4] / 2, signs.box[:, :2] + sign * signs.box[:, 2:] / 2)
        for function, sign in ((np.maximum, -1), (np.minimum, 1))
    )
    shared = np.maximum(high - low, 0).prod(axis=1)
    whole = answers[:, 2:4].prod(axis=1) + signs.box[:, 2:].prod(axis=1) - shared
    return float(np.mean(np.where(there, told & right & (shared >= 0.5 * whole), ~told)))
