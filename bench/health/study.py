"""The study itself: every release of every model, judged on many rings, counted by row."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.health.judging import Court
from bench.health.photographs import open_album
from bench.health.releases import Row, Variant
from bench.health.replies import Replies
from bench.health.subjects import CHOOSING, Subject, make
from littoral.bundle.manifest import Lineage

LINEAGES = {
    Row.REBUILT: (Lineage.REBUILD,),
    Row.RETRAINED: (Lineage.RETRAINED,),
    Row.OTHER: (Lineage.OTHER,),
}
"""Whose gate a row is judged by; the others by those of rebuilds and of retrainings."""
HARMLESS = 0.1  # share of answers that a fault must change to count


@dataclass(frozen=True, slots=True)
class Plan:
    """views: of each pool. good_rings: for good siblings together, and for retrainings; bad_rings: for each other
    release.
    """

    views: int = 60
    bad_rings: int = 100
    good_rings: int = 1_000


FULL = Plan(views=300, bad_rings=500, good_rings=10_000)
CHOSEN = 10  # a part so large of the rings is enough of pictures that limits were looked at on


@dataclass(slots=True)
class Tally:
    """One release on one pool. evidence: rings with it, of which those counted in `flagged` and `codes` are a part.
    named, misnamed: by a probe that names the fault, or another one.
    """

    subject: str
    part: str
    variant: Variant
    harm: float
    rings: int = 0
    evidence: int = 0
    named: int = 0
    misnamed: int = 0
    flagged: Counter[Lineage] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)

    @property
    def lineages(self) -> tuple[Lineage, ...]:
        return LINEAGES.get(self.variant.row, (Lineage.REBUILD, Lineage.RETRAINED))

    @property
    def counts(self) -> bool:
        """Whether it says something of a row: a fault that changes nothing is none."""
        return self.variant.row not in (Row.SPOILED, Row.MISREAD) or self.harm >= HARMLESS


class Sitting:
    """The court for one subject and pool; its children inherit it by fork."""

    def __init__(self, subject: Subject, part: str, cache: Path, plan: Plan) -> None:
        self._subject = subject
        self._part = part
        self._plan = plan
        pool = subject.pools[part]
        replies = Replies(subject, pool, cache)
        replies.ask_all(subject.variants)
        self._court = Court(pool, replies)
        self._rows = Counter(variant.row for variant in subject.variants)

    def judge(self, number: int) -> Tally:
        variant = self._subject.variants[number]
        tally = Tally(self._subject.name, self._part, variant, self._court.harm(variant))
        good = variant.row in (Row.REBUILT, Row.RETRAINED)
        count = -(-self._plan.good_rings // self._rows[variant.row]) if good else self._plan.bad_rings
        if self._part == CHOOSING:
            count = max(1, count // CHOSEN)
        for judged in self._court.judge(variant, count, seed=number if good else 0):
            tally.rings += 1
            if not judged.has_evidence:
                continue
            tally.evidence += 1
            tally.named += judged.named in variant.names
            tally.misnamed += bool(judged.named) and judged.named not in variant.names
            for lineage, weighed in judged.found.items():
                tally.flagged[lineage] += bool(weighed.code)
            tally.codes[judged.found[tally.lineages[-1]].code] += 1
        return tally


_sitting: Sitting | None = None


def _judge(number: int) -> Tally:
    assert _sitting is not None
    return _sitting.judge(number)


def run(plan: Plan, cache: Path, only: tuple[str, ...] = (), folder: Path | None = None) -> Iterator[Tally]:
    """Subject by subject. only: names of those that are wanted. folder: of further models."""
    global _sitting  # what a forked child inherits need not be packed
    album = open_album()
    for subject in make(album, plan.views, cache, folder):
        if only and subject.name not in only:
            continue
        for part in subject.pools:
            print(f"judging {subject.name}, {part}", file=sys.stderr, flush=True)
            _sitting = Sitting(subject, part, cache, plan)
            with multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
                yield from pool.imap(_judge, range(len(subject.variants)))
