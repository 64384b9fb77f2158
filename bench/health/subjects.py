"""The models that are judged, and their releases: spoiled ones, good ones, and what each should be found to be.

Two families were trained here on photographs (which of ten it is): one on those that limits were chosen on, one on
those that only test. A third reads handwritten digits, red or blue. Their retrainings differ in
all that an honest one may: first weights, order, a fifth of the examples left out. The demo's classifier has none.
"""

from __future__ import annotations

import hashlib
import inspect
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.health import damage, network, pictures, tflite
from bench.health.network import Architecture, Convolution, Network, Training
from bench.health.photographs import Album, Pixels
from bench.health.pictures import TRAINED_LIGHTS, Pool
from bench.health.tflite import CENTRED, UNIT, Input
from examples.demo import assets
from littoral.bundle.manifest import Lineage

KNOWN = {
    "choosing": (
        *("coffee", "ihc", "color", "flower", "chairs"),
        *("chestnuts", "thatch", "jeep", "cap", "grass"),
    ),
    "testing": (
        *("cat", "motorcycle", "retina", "china", "strawberries"),
        *("rugs", "leafhopper", "gravel", "mastiff", "store"),
    ),
}
SEEDS = 6  # honest trainings of each family
# the last ones are by other writers
TRAINING_DIGITS, CHOOSING_DIGITS, TESTING_DIGITS = slice(0, 900), slice(900, 1347), slice(1347, None)


class Row(Enum):
    """What a release is, and so what should be said of it."""

    SPOILED = "spoiled weights or labels"
    MISREAD = "input misread"
    MISREAD_RETRAINED = "input misread, and retrained"
    REBUILT = "good sibling"
    RETRAINED = "honest retraining"
    OTHER = "other architecture"


@dataclass(frozen=True, slots=True)
class Variant:
    """One release beside its baseline, both as .tflite files. names: probes that name its fault rightly. shown: what the
    release's preparation does to its inputs before it sees them.
    """

    name: str
    row: Row
    lineage: Lineage
    content: bytes
    baseline: bytes
    names: tuple[str, ...] = ()
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """One model. accuracies: of its honest trainings, on held-out examples. card: TOML, where it needs one."""

    name: str
    labels: tuple[str, ...]
    variants: tuple[Variant, ...]
    pools: dict[str, Pool]
    accuracies: tuple[float, ...] = ()
    card: str = ""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one family is trained on."""

    taking: Input
    architecture: Architecture
    wider: Architecture
    pictures: Pixels
    classes: NDArray[np.int64]
    held_out: tuple[Pixels, NDArray[np.int64]]
    epochs: int

    def train(self, seed: int, change: Callable[[Pixels], Pixels] | None = None, wide: bool = False) -> Network:
        shown = self.taking.floats(change(self.pictures) if change else self.pictures)
        first = network.initial(self.wider if wide else self.architecture, seed)
        return network.train(first, shown, self.classes, Training(seed, self.epochs))

    def tune(self, trained: Network, seed: int) -> Network:
        """A little further, carefully."""
        settings = Training(seed, epochs=1, rate=2e-4)
        return network.train(trained, self.taking.floats(self.pictures), self.classes, settings)

    def quantized(self, trained: Network, seed: int = 0, *, per_channel: bool = False, few: bool = False) -> bytes:
        """few: calibrated on twenty pictures."""
        order = np.random.default_rng(seed).permutation(len(self.pictures))[: 20 if few else 300]
        return tflite.quantized(
            trained, self.taking.floats(self.pictures[order]), self.taking, per_channel=per_channel
        )

    def accuracy(self, trained: Network) -> float:
        return network.accuracy(trained, self.taking.floats(self.held_out[0]), self.held_out[1])


@dataclass(frozen=True, slots=True)
class Trained:
    """Networks of one family, as files. misread: by the probe that names the fault."""

    honest: tuple[bytes, ...]
    accuracies: tuple[float, ...]
    requantized: dict[str, bytes]
    tuned: tuple[bytes, ...]
    wider: bytes
    misread: dict[str, bytes] = field(default_factory=dict)


def train_family(lesson: Lesson, cache: Path) -> Trained:
    """Some seconds a network; kept in `cache` until this code or the pictures change."""
    key = hashlib.sha256(lesson.pictures.tobytes() + repr((lesson.architecture, lesson.wider, lesson.epochs)).encode())
    for module in (network, tflite):
        key.update(inspect.getsource(module).encode())
    for part in (Lesson, train_family, SEEDS):
        key.update((inspect.getsource(part) if callable(part) else repr(part)).encode())
    path = cache / f"family-{key.hexdigest()[:16]}.pickle"
    if path.is_file():
        found: Trained = pickle.loads(path.read_bytes())
        return found
    misread = MISREAD if lesson.architecture.shape[2] == 3 else {name: MISREAD[name] for name in ("double", "half")}
    jobs = [
        *((seed, None, False) for seed in range(SEEDS)),
        *((60, change, False) for change in misread.values()),
        (50, None, True),
    ]
    with multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
        networks = pool.starmap(lesson.train, jobs, chunksize=1)
    first, wider = networks[0], networks[-1]
    honest, wrong = networks[:SEEDS], networks[SEEDS:-1]
    made = Trained(
        honest=tuple(lesson.quantized(each, seed) for seed, each in enumerate(honest)),
        accuracies=tuple(lesson.accuracy(each) for each in honest),
        requantized={
            "calibrated on others": lesson.quantized(first, 77),
            "calibrated on few": lesson.quantized(first, 78, few=True),
            "per channel": lesson.quantized(first, 0, per_channel=True),
        },
        tuned=tuple(lesson.quantized(lesson.tune(first, seed), 0) for seed in (101, 102)),
        wider=lesson.quantized(wider, 50),
        misread={name: lesson.quantized(each, 60) for name, each in zip(misread, wrong, strict=True)},
    )
    cache.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(pickle.dumps(made))
    partial.rename(path)
    return made


def _exchanged(pixels: Pixels) -> Pixels:
    return pixels[..., ::-1]


def _halved(pixels: Pixels) -> Pixels:
    return pixels // 2


def _doubled(pixels: Pixels) -> Pixels:
    return np.minimum(pixels.astype(np.uint16) * 2, 255).astype(np.uint8)


# By the fault that a network has which was trained on such pictures: trained on darker ones, it is given brighter ones.
MISREAD: dict[str, Callable[[Pixels], Pixels]] = {"red-blue": _exchanged, "double": _halved, "half": _doubled}


# Releases


def spoiled(baseline: bytes, *, labels: bool = True) -> Iterable[Variant]:
    made: list[tuple[str, Callable[[bytes], bytes]]] = [
        ("zeroed", damage.zeroed),
        *((f"shuffled {seed}", lambda model, seed=seed: damage.shuffled(model, seed)) for seed in (1, 2)),
        ("pruned", damage.pruned),
        *((f"collapsed to {one}", lambda model, one=one: damage.collapsed(model, one)) for one in (0, 1)),
        *((f"bits flipped {seed}", lambda model, seed=seed: damage.flipped(model, seed)) for seed in (1, 2, 3)),
    ]
    if labels:
        made += [
            ("labels rolled", damage.rolled),
            ("labels shuffled 1", lambda model: damage.labels_shuffled(model, 1)),
            ("labels shuffled 2", lambda model: damage.labels_shuffled(model, 2)),
        ]
    for name, spoil in made:
        yield Variant(name, Row.SPOILED, Lineage.RETRAINED, spoil(baseline), baseline)


def misread(baseline: bytes, taking: Input) -> Iterable[Variant]:
    """By weights that are made for another input, and by a preparation that makes another one."""

    def variant(name: str, content: bytes, *names: str, shown: str = "") -> Variant:
        return Variant(name, Row.MISREAD, Lineage.RETRAINED, content, baseline, names, shown)

    try:
        yield variant("red and blue", damage.swapped(baseline), "red-blue")
    except ValueError:
        pass  # it takes greys
    yield variant("doubled (weights)", damage.brightened(baseline, 2), "double" if taking.mean == 0 else "steep")
    yield variant("halved (weights)", damage.brightened(baseline, 0.5), "half" if taking.mean == 0 else "flat")
    yield variant("doubled (preparation)", baseline, "double", shown="double")
    yield variant("halved (preparation)", baseline, "half", shown="halve")


def rebuilt(baseline: bytes) -> Iterable[Variant]:
    made = {
        "repacked": damage.repacked(baseline),
        "rescaled": damage.rescaled(baseline),
        "touched 1": damage.touched(baseline, 1),
        "touched 2": damage.touched(baseline, 2),
    }
    for name, content in made.items():
        yield Variant(name, Row.REBUILT, Lineage.REBUILD, content, baseline)


def family(trained: Trained) -> Iterable[Variant]:
    """The good siblings and retrainings that only training gives."""
    baseline = trained.honest[0]
    for name, content in trained.requantized.items():
        yield Variant(name, Row.REBUILT, Lineage.REBUILD, content, baseline)
    for number, content in enumerate(trained.tuned):
        yield Variant(f"tuned {number}", Row.REBUILT, Lineage.REBUILD, content, baseline)
    for ours, content in enumerate(trained.honest):
        for theirs, other in enumerate(trained.honest):
            if ours != theirs:
                yield Variant(f"seed {ours} after {theirs}", Row.RETRAINED, Lineage.RETRAINED, content, other)
    yield Variant("wider", Row.OTHER, Lineage.OTHER, trained.wider, baseline)
    for name, content in trained.misread.items():
        yield Variant(f"trained to see {name}", Row.MISREAD_RETRAINED, Lineage.RETRAINED, content, baseline, (name,))


# Subjects


def places(album: Album, part: str, views: int, cache: Path) -> Subject:
    """Tells ten photographs apart: those of CHOOSING take floats about 0, those of TESTING from 0 to 1."""
    photographs = album.choosing if part == "choosing" else album.testing
    shown = [photographs[name] for name in KNOWN[part]]
    convolutions = (Convolution(16), Convolution(24), Convolution(32))
    pixels, classes = pictures.examples(shown, 600, 32, seed=1, held_out=False)
    lesson = Lesson(
        taking=CENTRED if part == "choosing" else UNIT,
        architecture=Architecture((32, 32, 3), convolutions, 10, hidden=0 if part == "choosing" else 48),
        wider=Architecture((32, 32, 3), (Convolution(32, 5), Convolution(48)), 10),
        pictures=pixels,
        classes=classes,
        held_out=pictures.examples(shown, 200, 32, seed=2, held_out=True),
        epochs=8,
    )
    trained = train_family(lesson, cache)
    return Subject(
        name=f"places-{part}",
        labels=KNOWN[part],
        variants=_all(trained, lesson.taking),
        pools={part: pictures.pool(photographs, KNOWN[part], views, 32, seed=3)},
        accuracies=trained.accuracies,
    )


def signs(album: Album, views: int, cache: Path) -> Subject:
    """Reads five handwritten digits, red or blue, on photographs. Trained on digits and photographs of CHOOSING."""
    drawn, classes = album.digits
    shown, held_out = list(album.choosing.values()), list(album.testing.values())
    learned = pictures.signs(shown, drawn[TRAINING_DIGITS], classes[TRAINING_DIGITS], 8000, 32, seed=4)
    numbers = np.random.default_rng(5)
    lesson = Lesson(
        taking=UNIT,
        architecture=Architecture((32, 32, 3), (Convolution(16), Convolution(24), Convolution(32)), 10),
        wider=Architecture((32, 32, 3), (Convolution(16), Convolution(32), Convolution(48)), 10, hidden=48),
        pictures=np.array([pictures.lit(each, numbers.uniform(*TRAINED_LIGHTS), numbers) for each in learned[0]]),
        classes=learned[1],
        held_out=pictures.signs(held_out, drawn[TESTING_DIGITS], classes[TESTING_DIGITS], 1000, 32, seed=6),
        epochs=12,
    )
    trained = train_family(lesson, cache)
    choosing = pictures.signs(shown, drawn[CHOOSING_DIGITS], classes[CHOOSING_DIGITS], views, 32, seed=7)
    testing = pictures.signs(held_out, drawn[TESTING_DIGITS], classes[TESTING_DIGITS], views, 32, seed=8)
    return Subject(
        name="signs",
        labels=tuple(f"{colour} {digit}" for digit in range(5) for colour in ("blue", "red")),
        variants=_all(trained, lesson.taking),
        pools={"choosing": pictures.day(choosing[0], seed=9), "testing": pictures.day(testing[0], seed=10)},
        accuracies=trained.accuracies,
    )


def cifar(album: Album, views: int) -> Subject:
    """The demo's classifier; (pixel - 128) / 128 is what it takes."""
    baseline = assets.ensure().classifier.read_bytes()
    return Subject(
        name="cifar",
        labels=assets.LABELS,
        variants=(*spoiled(baseline), *misread(baseline, CENTRED), *rebuilt(baseline)),
        pools={
            "choosing": pictures.pool(album.choosing, (), views, 32, seed=7),
            "testing": pictures.pool(album.testing, (), views, 32, seed=8),
        },
    )


def _all(trained: Trained, taking: Input) -> tuple[Variant, ...]:
    baseline = trained.honest[0]
    return (*spoiled(baseline), *misread(baseline, taking), *rebuilt(baseline), *family(trained))


def make(album: Album, views: int, cache: Path) -> list[Subject]:
    """views: of each pool; the demo's classifier, which takes a hundred times as long, gets a third."""
    return [
        places(album, "choosing", views, cache),
        places(album, "testing", views, cache),
        signs(album, views, cache),
        cifar(album, views // 3),
    ]
