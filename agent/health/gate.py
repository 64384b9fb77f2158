"""Weighs the comparison of a release with its baseline: what the release says it is decides how strictly.

Pure. What was measured comes from agent/runtime/rehearsal over control.sock, as integers and texts; what is said of it
here becomes a part of the evidence. docs/health.md gives the rules, and how their numbers were found.
"""

from dataclasses import dataclass
from typing import Any

from agent import binomial
from littoral.bundle.manifest import Lineage

LEAST_SCENES = 16  # of fewer nothing can be said: honest retraining looked bad on every fixed camera
LEAST_SURE = 16  # inputs that both are sure about, below which disagreements say nothing
ALPHA = 1e-4
CHANCE = 0.05  # an agreement that chance gives so often is none
SLOWER_TOLD, SLOWER_BAD = 1_500_000, 2_500_000  # ppm of the baseline's median time
SLOWER_LEAST_US = 200  # medians below are too short to be compared

LINEAGE, STRICT, ADVISORY = "lineage", "strict", "advisory"


@dataclass(frozen=True, slots=True)
class Gate:
    """What must hold of a release of one lineage. skill: the least, ppm. share: of sure answers that may differ."""

    name: str
    skill_ppm: int | None
    share: float | None


GATES = {
    Lineage.REBUILD: Gate("rebuild", 700_000, 0.15),
    Lineage.RETRAINED: Gate("retrained", 250_000, 0.35),
    Lineage.OTHER: Gate("other", None, None),
}


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a comparison means. code: empty where nothing is wrong, or there is no evidence, which `why` explains.

    decides: whether the code is a verdict; else it is only told. evidence: what explain and the fleet server show.
    """

    code: str
    reason: str
    decides: bool
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a release, and in words."""

    code: str
    reason: str


def weigh(measured: dict[str, Any], lineage: Lineage, policy: str = LINEAGE, accept_explained: bool = False) -> Weighed:
    """policy: lineage, strict (as for a rebuild, whatever the release says), advisory. measured: facts of Rehearsed."""
    gate = GATES[Lineage.REBUILD if policy == STRICT else lineage]
    scenes, why = int(measured.get("scenes", 0)), str(measured.get("why", ""))
    if not why and scenes < LEAST_SCENES:
        why = f"{scenes} different scenes among {measured.get('inputs', 0)} inputs; {LEAST_SCENES} are needed"
    limit = binomial.limit(measured["sure"], gate.share, ALPHA) if gate.share and not why else 0
    finding = None if why else _finding(measured, gate, limit, accept_explained)
    code, reason = (finding.code, finding.reason) if finding else ("", "")
    evidence = {
        **{name: value for name, value in measured.items() if name != "why"},
        "evidence": "none" if why else "full",
        "why": why,
        "gate": ADVISORY if policy == ADVISORY else gate.name,
        "verdict": code,
        "reason": reason,
    }
    if gate.skill_ppm is not None:
        evidence |= {"skill_limit_ppm": gate.skill_ppm, "disagreements_limit": limit}
    return Weighed(code, reason, policy != ADVISORY, evidence)


def _finding(measured: dict[str, Any], gate: Gate, limit: int, accept_explained: bool) -> Finding | None:
    """The first that is wrong: what names the fault comes first."""
    fired = [probe for probe in measured.get("probes", ()) if probe["fires"]]
    if measured["constant"]:
        inputs = measured["inputs"]
        return Finding("constant", f"it says the same to nearly all of {inputs} inputs that its baseline tells apart")
    if fired and not accept_explained:
        named = max(fired, key=lambda probe: int(probe["skill_ppm"]))
        told = f"it {named['text']}: skill {_decimal(named['skill_ppm'])} if so"
        told += f", {_decimal(measured['skill_ppm'])} as it is" if "skill_ppm" in measured else ""
        return Finding("mislabelled", told) if named["name"].startswith("labels-") else Finding("misread", told)
    if not fired and (differs := _differs(measured, gate, limit)):
        return Finding("differs", differs)
    ratio, median_us = measured.get("ratio_ppm", 0), measured.get("median_us", 0)
    if gate.skill_ppm is not None and ratio > SLOWER_BAD and median_us >= SLOWER_LEAST_US:
        return Finding("slower", f"it takes {_decimal(ratio)} times as long as its baseline")
    return None


def _differs(measured: dict[str, Any], gate: Gate, limit: int) -> str:
    """Why its answers are too far from the baseline's; empty where they are not."""
    inputs = measured["inputs"]
    if gate.skill_ppm is None:
        by_chance = measured["by_chance_milli"] / 1_000
        if 0 < by_chance < 0.8 * inputs and binomial.tail(measured["agreed"], inputs, by_chance / inputs) > CHANCE:
            return f"it agrees with its baseline on {measured['agreed']} of {inputs} inputs, as chance would"
        return ""
    if measured.get("kind") == "embedding" and gate is not GATES[Lineage.REBUILD]:
        return ""  # vectors of another training lie in another space
    skill = measured.get("skill_ppm")
    if skill is not None and skill < gate.skill_ppm:
        return f"skill {_decimal(skill)} against its baseline, at least {_decimal(gate.skill_ppm)} is asked"
    if measured["sure"] >= LEAST_SURE and measured["disagreements"] >= limit:
        sure = measured["sure"]
        return f"it disagrees on {measured['disagreements']} of {sure} inputs that both are sure about, {limit} is bad"
    boxes = measured.get("boxes_ppm")
    if boxes is not None and boxes < gate.skill_ppm:
        return f"its boxes lie elsewhere: skill {_decimal(boxes)}, at least {_decimal(gate.skill_ppm)} is asked"
    return ""


def _decimal(ppm: int) -> str:
    return f"{ppm / 1_000_000:.2f}"
