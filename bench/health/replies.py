"""What each model answers to each picture of a pool, as it is and under each change that a probe asks for.

Asked of the agent's own engine, once, and kept: rings are then sets of indices into arrays. Inputs are changed and
answers read by the agent's own code.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.runtime.engines import open_engine
from agent.runtime.rehearsal.answers import Reader
from agent.runtime.rehearsal.inputs import Pixels
from agent.runtime.rehearsal.measures import Answers
from agent.runtime.rehearsal.probes import CHANGES
from agent.runtime.vision.placement import place
from bench.health.pictures import Pool
from bench.health.releases import Variant
from bench.health.subjects import Subject
from fleet import modelfile
from littoral.bundle import card, task
from littoral.tensors import Interface

Raw = NDArray[np.uint8]
AS_IT_IS = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One model on one pool: `content` is asked about the inputs after `change` and then `shown`."""

    content: bytes
    change: str
    shown: str = ""


class Replies:
    """Of one subject on one pool."""

    def __init__(self, subject: Subject, pool: Pool, cache: Path) -> None:
        self._subject = subject
        self._cache = cache
        self._interface = interface(subject.variants[0].baseline, subject.labels)
        known = card.parse(subject.card) if subject.card else None
        self._task = task.read(known, self._interface) if known else None
        self._reader = Reader(self._interface, self._task)
        self._inputs = stored(pool, self._interface)
        self._changed: dict[str, list[bytes] | None] = {AS_IT_IS: self._inputs}
        self._pixels = Pixels(self._interface.inputs[0], self._task, self._inputs)
        self._known: dict[Question, Answers] = {}

    def ask_all(self, variants: Iterable[Variant]) -> None:
        """Everything that will be needed of these, on all CPUs."""
        questions = {
            question
            for variant in variants
            for change in (AS_IT_IS, *CHANGES)
            for question in (Question(variant.baseline, change), Question(variant.content, change, variant.shown))
            if question not in self._known and self.shown(change) is not None
        }
        work = [(question, self._path(question)) for question in sorted(questions, key=lambda each: each.change)]
        for question, _ in work:
            self._inputs_of(question)  # made before the fork
        missing = [(question.content, self._inputs_of(question), path) for question, path in work if not path.is_file()]
        if missing:
            self._cache.mkdir(parents=True, exist_ok=True)
            with multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
                pool.starmap(partial(_answer_into, self._subject.labels), missing, chunksize=1)
        for question, path in work:
            self._known[question] = self._read(np.load(path))

    def of(self, content: bytes, change: str, shown: str = "") -> Answers | None:
        """None where this change cannot be made of these inputs."""
        return self._known.get(Question(content, change, shown))

    def shown(self, change: str) -> list[bytes] | None:
        if change not in self._changed:
            made = [self._pixels.change(data, change) for data in self._inputs]
            self._changed[change] = None if made[0] is None else [data for data in made if data is not None]
        return self._changed[change]

    def _inputs_of(self, question: Question) -> list[bytes]:
        inputs = self.shown(question.change)
        assert inputs is not None
        if not question.shown:
            return inputs
        key = f"{question.change}+{question.shown}"
        if key not in self._changed:
            made = [self._pixels.change(data, question.shown) for data in inputs]
            self._changed[key] = [data for data in made if data is not None]
        found = self._changed[key]
        assert found is not None
        return found

    def _path(self, question: Question) -> Path:
        digest = hashlib.sha256(question.content)
        for data in self._inputs_of(question):
            digest.update(data)
        return self._cache / f"{digest.hexdigest()[:24]}.npy"

    def _read(self, raw: Raw) -> Answers:
        placement = place("stretch", *self._task.size, *self._task.size) if self._task else None
        return self._reader.read([row.tobytes() for row in raw], [placement] * len(raw))


def interface(content: bytes, labels: tuple[str, ...]) -> Interface:
    found = modelfile.read(content).interface
    return Interface(found.inputs, found.outputs, labels)


def stored(pool: Pool, of: Interface) -> list[bytes]:
    """The pool's pictures as bytes of a model with 8-bit inputs."""
    tensor = of.inputs[0]
    if tensor.dtype not in ("int8", "uint8") or tensor.shape[1:] != pool.pixels.shape[1:]:
        raise ValueError(f"pictures of {pool.pixels.shape[1:]} are not {tensor.dtype} {tensor.shape}")
    offset = 128 if tensor.dtype == "int8" else 0
    return [(pixels ^ offset).astype(np.uint8).tobytes() for pixels in pool.pixels]


def _answer_into(labels: tuple[str, ...], content: bytes, inputs: list[bytes], path: Path) -> None:
    partial_path = path.with_suffix(f".{os.getpid()}.partial")
    with partial_path.open("wb") as file:
        np.save(file, np.stack(list(answers(content, labels, inputs))))
    partial_path.rename(path)


def answers(content: bytes, labels: tuple[str, ...], inputs: list[bytes]) -> Iterator[Raw]:
    run = open_engine("litert").load(content, labels).interpreter().run
    for data in inputs:
        yield np.frombuffer(run(data).data, np.uint8)
