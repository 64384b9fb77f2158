"""How what was measured is judged and told."""

import json
from pathlib import Path

import pytest

from bench.measures import Measure, Reading, Result, compared, write

MOST = Measure("wait", "how long", 5.0, "ms")
LEAST = Measure("speed", "how many", 5.0, "x", at_least=True)


@pytest.mark.parametrize(
    ("measure", "value", "met"),
    [(MOST, 4.9, True), (MOST, 5.0, True), (MOST, 5.1, False), (LEAST, 4.9, False), (LEAST, 5.0, True)],
)
def test_a_target_is_met_on_its_own_side(measure: Measure, value: float, met: bool) -> None:
    assert Result(measure, Reading(value, "")).met is met


def test_a_target_may_come_with_the_reading() -> None:
    result = Result(Measure("wait", "how long", None, "ms"), Reading(18.0, "", target=19.0))
    assert result.target == 19.0
    assert result.met


def test_a_measure_without_any_target_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="wait has no target"):
        _ = Result(Measure("wait", "how long", None, "ms"), Reading(18.0, "")).met


def test_what_is_missed_stands_out_in_the_table() -> None:
    assert Result(MOST, Reading(4.0, "a")).row == "| wait | how long | at most 5 ms | 4 ms | a |"
    assert Result(LEAST, Reading(2.0, "b")).row == "| speed | how many | at least 5 x | **2 x** | b |"


def test_json_has_value_target_met_and_unit_of_each_measure(tmp_path: Path) -> None:
    write(tmp_path / "found.json", [Result(MOST, Reading(6.0, "a"))])
    assert json.loads((tmp_path / "found.json").read_text()) == {
        "wait": {"value": 6.0, "target": 5.0, "met": False, "unit": "ms"}
    }


def test_a_ratio_is_that_of_the_rounds_and_not_of_their_medians() -> None:
    reading = compared([1.0, 20.0, 3.0], [1.0, 10.0, 3.0], "echo", "us")
    assert reading.value == 1.0
    assert reading.seen == "3 us; echo 3 us"
