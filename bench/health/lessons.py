"""Families of small networks: one honest training after the other, and what is made of the first.

Honest retrainings differ in all that they may: first weights, order, a fifth of the examples left out. Trained once, on
all CPUs, and kept until the code or the pictures change.
"""

from __future__ import annotations

import hashlib
import inspect
import multiprocessing
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.health import network, tflite
from bench.health.network import Architecture, Floats, Network, Training
from bench.health.photographs import Pixels
from bench.health.tflite import Input

SEEDS = 6  # honest trainings of each family
CALIBRATION, FEW = 300, 20  # pictures that show the ranges of what flows
MISREAD_SEED, WIDER_SEED, TUNING_SEEDS = 60, 50, (101, 102)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one family is trained on. wanted: as network.train has it."""

    taking: Input
    architecture: Architecture
    wider: Architecture
    pictures: Pixels
    wanted: Floats
    held_out: Pixels
    epochs: int


@dataclass(frozen=True, slots=True)
class Job:
    """One training: the change of what it is shown makes a release that misreads its input."""

    seed: int
    misread: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """Networks as files. misread: by the fault that a probe should name. accuracies: of the honest ones."""

    honest: tuple[bytes, ...]
    accuracies: tuple[float, ...]
    rebuilt: dict[str, bytes]
    wider: bytes
    misread: dict[str, bytes]


def _exchanged(pixels: Pixels) -> Pixels:
    return pixels[..., ::-1]


def _halved(pixels: Pixels) -> Pixels:
    return pixels // 2


def _doubled(pixels: Pixels) -> Pixels:
    return np.minimum(pixels.astype(np.uint16) * 2, 255).astype(np.uint8)


MISREAD: dict[str, Callable[[Pixels], Pixels]] = {"red-blue": _exchanged, "double": _halved, "half": _doubled}
"""By the fault of a network that was trained on such pictures: trained on darker ones, it is given brighter ones."""


def train(lesson: Lesson, right: Callable[[Floats], float], cache: Path) -> Family:
    """Some seconds a network. right: the share of right answers among those to held-out pictures."""
    path = cache / f"family-{_digest(lesson)}.pickle"
    if path.is_file():
        found: Family = pickle.loads(path.read_bytes())
        return found
    jobs = [
        *(Job(seed) for seed in range(SEEDS)),
        Job(WIDER_SEED, wide=True),
        *(Job(MISREAD_SEED, misread=name) for name in MISREAD),
    ]
    made = family(lesson, right, trained(lesson, jobs))
    cache.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(pickle.dumps(made))
    partial.rename(path)
    return made


def trained(lesson: Lesson, jobs: list[Job]) -> dict[Job, Network]:
    with multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
        networks = pool.starmap(train_one, [(lesson, job) for job in jobs], chunksize=1)
    return dict(zip(jobs, networks, strict=True))


def train_one(lesson: Lesson, job: Job) -> Network:
    shown = lesson.taking.floats(MISREAD[job.misread](lesson.pictures) if job.misread else lesson.pictures)
    first = network.initial(lesson.wider if job.wide else lesson.architecture, job.seed)
    return network.train(first, shown, lesson.wanted, Training(job.seed, lesson.epochs))


def family(lesson: Lesson, right: Callable[[Floats], float], networks: dict[Job, Network]) -> Family:
    honest = [each for job, each in networks.items() if not (job.misread or job.wide)]
    first, held_out = honest[0], lesson.taking.floats(lesson.held_out)
    rebuilt = {
        "calibrated on other pictures": quantized(lesson, first, 77),
        "calibrated on 20 pictures": quantized(lesson, first, 78, FEW),
        "quantized per channel": quantized(lesson, first, 0, per_channel=True),
    }
    for seed in TUNING_SEEDS:
        little = Training(seed, epochs=1, rate=2e-4)
        tuned = network.train(first, lesson.taking.floats(lesson.pictures), lesson.wanted, little)
        rebuilt[f"tuned {seed}"] = quantized(lesson, tuned, 0)
    return Family(
        honest=tuple(quantized(lesson, each, seed) for seed, each in enumerate(honest)),
        accuracies=tuple(right(network.answers(each, held_out)) for each in honest),
        rebuilt=rebuilt,
        wider=next(quantized(lesson, each, WIDER_SEED) for job, each in networks.items() if job.wide),
        misread={job.misread: quantized(lesson, each, job.seed) for job, each in networks.items() if job.misread},
    )


def quantized(
    lesson: Lesson, trained: Network, seed: int, count: int = CALIBRATION, *, per_channel: bool = False
) -> bytes:
    chosen = np.random.default_rng(seed).permutation(len(lesson.pictures))[:count]
    shown = lesson.taking.floats(lesson.pictures[chosen])
    return tflite.quantized(trained, shown, lesson.taking, per_channel=per_channel)


def _digest(lesson: Lesson) -> str:
    """Of everything a family comes from."""
    digest = hashlib.sha256(lesson.pictures.tobytes() + lesson.wanted.tobytes())
    digest.update(repr((lesson.taking, lesson.architecture, lesson.wider, lesson.epochs)).encode())
    for module in (network, tflite, inspect.getmodule(_digest)):
        assert module is not None
        digest.update(inspect.getsource(module).encode())
    return digest.hexdigest()[:16]
