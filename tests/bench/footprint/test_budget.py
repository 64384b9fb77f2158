"""What passes, and what does not."""

from __future__ import annotations

import pytest

from bench.footprint.budget import BUDGETS, over
from bench.measures import Reading, Result

BY_NAME = {budget.measure.name: budget for budget in BUDGETS}


def result(name: str, value: float) -> Result:
    return Result(BY_NAME[name].measure, Reading(value, ""))


def test_every_measure_has_one_budget_which_is_no_stricter_than_its_target() -> None:
    assert len(BY_NAME) == len(BUDGETS)
    for budget in BUDGETS:
        assert budget.measure.target is not None
        assert budget.most >= budget.measure.target
        assert budget.why


@pytest.mark.parametrize(("name", "most"), [("pss-idle", 33.0), ("pss-96", 39.0), ("flash-idle", 1.0)])
def test_what_is_above_its_budget_is_named_and_what_is_at_it_passes(name: str, most: float) -> None:
    assert over([result(name, most)]) == []
    (sentence,) = over([result(name, most * 1.01), result("deb-arm64", 15.0)])
    assert sentence.startswith(f"{name} is ")


def test_a_target_may_be_missed_within_the_budget() -> None:
    missed = result("pss-idle", 32.5)
    assert not missed.met
    assert over([missed]) == []
