"""One release judged on one ring, by the agent's own measures, probes and gate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.health import gate
from agent.health.gate import Weighed
from agent.runtime.rehearsal import measures, probes, rehearsal
from agent.runtime.rehearsal.measures import Answers
from bench.health import rings
from bench.health.pictures import NIGHT, Pool, sketches
from bench.health.releases import Variant
from bench.health.replies import AS_IT_IS, Replies
from bench.health.rings import Indices
from littoral.bundle.manifest import Lineage


@dataclass(frozen=True, slots=True)
class Judged:
    """facts: as a rehearsal tells them, without times. found: by the gate of each lineage."""

    facts: dict[str, Any]
    found: dict[Lineage, Weighed]

    @property
    def has_evidence(self) -> bool:
        return bool(self.found[Lineage.RETRAINED].evidence["evidence"] == "full")

    @property
    def named(self) -> str:
        """The probe that names the fault, as the gate takes it; empty where none fires."""
        fired = [probe for probe in self.facts["probes"] if probe["fires"]]
        return str(max(fired, key=lambda probe: int(probe["skill_ppm"]))["name"]) if fired else ""


class Court:
    """What one subject's models answered on one pool, and what the cameras there see."""

    def __init__(self, pool: Pool, replies: Replies) -> None:
        self._pool = pool
        self._replies = replies
        self._sketches: NDArray[np.uint8] = np.rint(sketches(pool.pixels)).astype(np.uint8)
        self._apart = rings.apart(self._sketches)

    def judge(self, variant: Variant, count: int, seed: int) -> Iterator[Judged]:
        """On `count` rings, as they were when the baseline answered."""
        baseline = self._of(variant.baseline, AS_IT_IS)
        for ring in rings.draw(self._pool, self._apart, baseline.values.argmax(axis=1), count, seed):
            facts = self.measured(variant, ring)
            yield Judged(facts, {lineage: gate.weigh(facts, lineage) for lineage in Lineage})

    def measured(self, variant: Variant, ring: Indices) -> dict[str, Any]:
        release = self._of(variant.content, AS_IT_IS, variant.shown)[ring]
        baseline = self._of(variant.baseline, AS_IT_IS)[ring]
        found = measures.measure(release, baseline, self._sketches[ring])

        def changed(side: str, change: str) -> Answers | None:
            content, shown = (variant.content, variant.shown) if side == "release" else (variant.baseline, "")
            answers = self._replies.of(content, change, shown)
            return None if answers is None else answers[ring]

        tried = []
        if rehearsal.is_open(found):
            tried = [*probes.of_inputs(release, baseline, changed), *probes.of_outputs(release, baseline)]
        return {**rehearsal.told(found), "probes": rehearsal.told_probes(tried)}

    def harm(self, variant: Variant) -> float:
        """The share of answers by day that are not the baseline's; of a detector, of pictures with a sure box."""
        by_day = np.flatnonzero(self._pool.light >= NIGHT)
        release = self._of(variant.content, AS_IT_IS, variant.shown)[by_day]
        found = measures.measure(release, self._of(variant.baseline, AS_IT_IS)[by_day], self._sketches[by_day[:1]])
        if found.is_detector:
            return found.disagreements / max(found.sure, 1)
        return 1 - found.agreed / found.inputs

    def _of(self, content: bytes, change: str, shown: str = "") -> Answers:
        found = self._replies.of(content, change, shown)
        assert found is not None
        return found
