"""One release judged on one ring, by the agent's own measures, probes and gate."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.health import gate
from agent.health.gate import Weighed
from agent.runtime.rehearsal import measures, probes
from agent.runtime.rehearsal.measures import Answers
from bench.health.replies import AS_IT_IS, Replies
from bench.health.rings import Indices
from bench.health.subjects import Variant
from littoral.bundle.manifest import Lineage

PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class Judged:
    """camera: number of the kind. facts: what was measured. found: by the gate of each lineage."""

    camera: int
    facts: dict[str, Any]
    found: dict[Lineage, Weighed]

    @property
    def has_evidence(self) -> bool:
        return bool(self.found[Lineage.RETRAINED].evidence["evidence"] == "full")

    def named(self) -> str:
        """The probe that names the fault, as the gate takes it; empty where none fires."""
        fired = [probe for probe in self.facts["probes"] if probe["fires"]]
        return str(max(fired, key=lambda probe: int(probe["skill_ppm"]))["name"]) if fired else ""


def judge(variant: Variant, replies: Replies, sketches: NDArray[np.uint8], ring: Indices, camera: int) -> Judged:
    facts = measured(variant, replies, sketches, ring)
    return Judged(camera, facts, {lineage: gate.weigh(facts, lineage) for lineage in Lineage})


def measured(variant: Variant, replies: Replies, sketches: NDArray[np.uint8], ring: Indices) -> dict[str, Any]:
    """The facts of a rehearsal, without those of time."""

    def of(content: bytes, change: str, shown: str = "") -> Answers | None:
        found = replies.of(content, change, shown)
        return None if found is None else found[ring]

    release, baseline = of(variant.content, AS_IT_IS, variant.shown), of(variant.baseline, AS_IT_IS)
    assert release is not None
    assert baseline is not None

    def changed(side: str, change: str) -> Answers | None:
        if side == "release":
            return of(variant.content, change, variant.shown)
        return of(variant.baseline, change)

    found = measures.measure(release, baseline, sketches[ring])
    tried = (*probes.of_inputs(release, baseline, changed), *probes.of_outputs(release, baseline))
    facts = {
        "inputs": found.inputs,
        "scenes": found.scenes,
        "sure": found.sure,
        "disagreements": found.disagreements,
        "agreed": found.agreed,
        "by_chance_milli": round(found.by_chance * 1_000),
        "constant": found.constant,
        "probes": [{**asdict(probe), "skill_ppm": _ppm(probe.skill)} for probe in tried] if found.skill is not None else [],
    }
    if found.skill is not None:
        facts["skill_ppm"] = _ppm(found.skill)
    if found.boxes is not None:
        facts["boxes_ppm"] = _ppm(found.boxes)
    return facts


def _ppm(value: float) -> int:
    return round(max(value, -1e3) * PPM)
