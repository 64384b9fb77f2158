"""The gate: what a comparison means depends on what the release says it is."""

from typing import Any

import pytest

from agent import binomial
from agent.health.gate import ADVISORY, STRICT, weigh
from littoral.bundle.manifest import Lineage

EQUAL: dict[str, Any] = {
    "inputs": 64, "scenes": 40, "kind": "scores", "skill_ppm": 1_000_000, "sure": 60, "disagreements": 0, "agreed": 64,
    "by_chance_milli": 9_000, "constant": 0, "probes": [], "worst": [], "median_us": 5_000, "ratio_ppm": 1_000_000,
}  # fmt: skip
SWAPPED = {"name": "red-blue", "text": "sees red and blue exchanged", "skill_ppm": 910_000, "fires": 1}
ROLLED = {"name": "labels-up", "text": "gives its labels shifted by one", "skill_ppm": 950_000, "fires": 1}


def code(lineage: Lineage, **measured: Any) -> str:
    return weigh({**EQUAL, **measured}, lineage).code


@pytest.mark.parametrize("lineage", Lineage)
def test_equal_answers_pass_every_gate(lineage: Lineage) -> None:
    weighed = weigh(EQUAL, lineage)
    assert (weighed.code, weighed.evidence["evidence"]) == ("", "full")


@pytest.mark.parametrize(
    ("measured", "rebuild", "retrained", "other"),
    [
        ({"skill_ppm": 699_999}, "differs", "", ""),
        ({"skill_ppm": 700_000}, "", "", ""),
        ({"skill_ppm": 250_000}, "differs", "", ""),
        ({"skill_ppm": 249_999}, "differs", "differs", ""),
        ({"disagreements": binomial.limit(60, 0.15, 1e-4)}, "differs", "", ""),
        ({"disagreements": binomial.limit(60, 0.35, 1e-4)}, "differs", "differs", ""),
        ({"boxes_ppm": 300_000}, "differs", "", ""),
        ({"boxes_ppm": -300_000}, "differs", "differs", ""),
        ({"agreed": 9}, "", "", "differs"),
        ({"agreed": 20}, "", "", ""),
        ({"kind": "embedding", "skill_ppm": -500_000}, "differs", "", ""),
        ({"constant": 1}, "constant", "constant", "constant"),
        ({"probes": [SWAPPED]}, "misread", "misread", "misread"),
        ({"probes": [ROLLED]}, "mislabelled", "mislabelled", "mislabelled"),
        ({"ratio_ppm": 3_000_000}, "slower", "slower", ""),
        ({"ratio_ppm": 3_000_000, "median_us": 150}, "", "", ""),
        ({"ratio_ppm": 2_400_000}, "", "", ""),
    ],
)
def test_each_lineage_has_a_gate_of_its_own(measured: dict[str, Any], rebuild: str, retrained: str, other: str) -> None:
    found = tuple(code(lineage, **measured) for lineage in (Lineage.REBUILD, Lineage.RETRAINED, Lineage.OTHER))
    assert found == (rebuild, retrained, other)


def test_few_sure_answers_say_nothing_of_disagreement() -> None:
    assert code(Lineage.REBUILD, sure=15, disagreements=15) == ""
    assert code(Lineage.REBUILD, sure=16, disagreements=16) == "differs"


def test_too_few_scenes_are_no_evidence_whatever_was_measured() -> None:
    weighed = weigh({**EQUAL, "scenes": 15, "skill_ppm": -900_000, "constant": 1, "probes": [SWAPPED]}, Lineage.REBUILD)
    assert weighed.code == ""
    assert weighed.evidence["evidence"] == "none"
    assert "15 different scenes" in weighed.evidence["why"]


def test_what_could_not_be_measured_is_no_evidence() -> None:
    weighed = weigh({"why": "nothing was kept"}, Lineage.RETRAINED)
    assert (weighed.code, weighed.evidence["evidence"], weighed.evidence["why"]) == ("", "none", "nothing was kept")


def test_the_fault_is_named_with_its_numbers() -> None:
    weighed = weigh({**EQUAL, "skill_ppm": 310_000, "probes": [SWAPPED]}, Lineage.RETRAINED)
    assert weighed.reason == "it sees red and blue exchanged: skill 0.91 if so, 0.31 as it is"


def test_the_best_explanation_is_the_one_that_is_told() -> None:
    better = {**SWAPPED, "name": "half", "text": "sees its input half as bright", "skill_ppm": 990_000}
    assert "half as bright" in weigh({**EQUAL, "probes": [SWAPPED, better]}, Lineage.RETRAINED).reason


def test_an_accepted_explanation_is_no_fault_and_excuses_the_difference() -> None:
    measured = {**EQUAL, "skill_ppm": -200_000, "disagreements": 60, "probes": [SWAPPED]}
    assert weigh(measured, Lineage.RETRAINED, accept_explained=True).code == ""
    assert weigh({**measured, "probes": []}, Lineage.RETRAINED, accept_explained=True).code == "differs"
    assert weigh({**measured, "constant": 1}, Lineage.RETRAINED, accept_explained=True).code == "constant"


def test_a_strict_policy_takes_every_release_for_a_rebuild() -> None:
    weighed = weigh({**EQUAL, "skill_ppm": 400_000}, Lineage.OTHER, STRICT)
    assert (weighed.code, weighed.decides, weighed.evidence["gate"]) == ("differs", True, "rebuild")


def test_an_advisory_policy_tells_and_does_not_decide() -> None:
    weighed = weigh({**EQUAL, "skill_ppm": -400_000}, Lineage.RETRAINED, ADVISORY)
    assert (weighed.code, weighed.decides, weighed.evidence["gate"]) == ("differs", False, "advisory")


def test_the_evidence_holds_what_was_measured_and_the_limits_it_was_held_against() -> None:
    evidence = weigh(EQUAL, Lineage.REBUILD).evidence
    assert (evidence["skill_ppm"], evidence["skill_limit_ppm"]) == (1_000_000, 700_000)
    assert evidence["disagreements_limit"] == binomial.limit(60, 0.15, 1e-4)
