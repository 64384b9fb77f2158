"""The evidence of a verdict on a terminal, whatever a device sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.cli import judgements
from tests.fleet.parts import evidence


def shown(of: object) -> str:
    return judgements.text({"device": "door", "model": "eye", "release": 2, "received": 1, "evidence": of})


def test_people_are_shown_the_numbers_behind_a_verdict() -> None:
    lines = [line.strip() for line in shown(evidence()).splitlines()]
    assert lines[0].startswith("eye release 2, ")
    assert lines[0].endswith(": rolled-back (misread)")
    assert lines[1] == "it sees red and blue exchanged: skill 0.97 if so, 0.41 as it is"
    assert lines[2] == "errors      3 of 120 requests, 2 of 40 blocks, ratio 1.20, 9.21 is bad"
    assert lines[3].split("; ") == [
        "rehearsal   against release 1, gate retrained",
        "64 inputs, 27 scenes",
        "skill 0.41, 0.00 at least",
        "disagrees on 11 of 48 sure, 35 is bad",
        "1.04 times as long",
    ]
    assert lines[4] == "probe       it sees red and blue exchanged: skill 0.97 if so"
    assert lines[5] == "worst       baseline fire engine 0.93, release swimming pool 0.71"


def test_people_are_told_why_there_is_no_evidence() -> None:
    nothing = {"evidence": "none", "why": "3 different scenes", "inputs": 64, "scenes": 3, "skill_ppm": 1}
    text = shown(evidence("committed", code="", reason="", rehearsal=nothing))
    assert text.splitlines()[0].endswith(": committed")
    assert "64 inputs, 3 scenes; no evidence: 3 different scenes" in text
    assert "skill" not in text


def test_a_device_cannot_steer_the_terminal_by_its_evidence() -> None:
    assert "\x1b" not in shown(evidence(reason="\x1b[2J", tests={"\x1b": {"bad": 1, "requests": 2}}))


@pytest.mark.parametrize(
    "odd", [None, [], 7, "text", {}, {"tests": [1], "rehearsal": {"probes": {"a": 1}, "worst": 3}}]
)
def test_odd_evidence_is_left_out(odd: object) -> None:
    assert shown(odd).splitlines()[0].endswith(": judged")


FIELDS = sorted({*evidence(), *evidence()["rehearsal"], *evidence()["tests"]["errors"], "sketch", "fires", "text"})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5))
def test_nothing_that_a_device_may_send_keeps_the_rest_from_being_shown(changes: dict[str, object]) -> None:
    assert shown({**evidence(), **changes}).startswith("eye release 2, ")
