"""Which release should be served: the decision alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.runtime.host.choice import Target, choose
from agent.slots import Blocked, Slot, SlotRecord

OLD, NEW = Slot(1, "1" * 64, "v1", evidence="full"), Slot(2, "2" * 64, "v2", evidence="full")
COMMITTED = SlotRecord("m", OLD, NEW, "a", "committed")
TRIAL = SlotRecord("m", OLD, NEW, "b", "trial")


@pytest.mark.parametrize(
    ("record", "vouched", "barred", "target"),
    [
        (None, True, {}, None),
        (SlotRecord("m"), True, {}, None),
        (COMMITTED, False, {}, Target(OLD, "committed")),
        (COMMITTED, True, {OLD.bundle: "safe"}, Target(NEW, "committed", "safe")),
        (COMMITTED, True, {OLD.bundle: "safe", NEW.bundle: "safe"}, Target(OLD, "committed")),
        (TRIAL, True, {}, Target(NEW, "trial")),
        (TRIAL, False, {}, Target(OLD, "committed", "unvouched")),
        (TRIAL, True, {NEW.bundle: "died"}, Target(OLD, "committed", "died")),
        (TRIAL, True, {NEW.bundle: "died", OLD.bundle: "failed"}, Target(OLD, "committed", "died")),
        (SlotRecord("m", None, NEW, "b", "trial"), True, {}, Target(NEW, "trial")),
        (SlotRecord("m", None, NEW, "b", "trial"), False, {}, None),
        (SlotRecord("m", None, NEW, "b", "trial"), True, {NEW.bundle: "died"}, None),
    ],
)
def test_what_should_be_served_follows_from_record_voucher_and_troubles(
    record: SlotRecord | None, vouched: bool, barred: dict[str, str], target: Target | None
) -> None:
    assert choose(record, vouched, barred) == target


def test_a_release_that_failed_here_or_was_never_tried_is_no_safe_one() -> None:
    barred = {OLD.bundle: "safe"}
    condemned = SlotRecord("m", OLD, NEW, "a", "committed", blocked=(Blocked(NEW.bundle, 1, "crashed"),))
    given_up = SlotRecord("m", OLD, replace(NEW, evidence=""), "a", "committed")
    for record in (condemned, given_up):
        assert choose(record, True, barred) == Target(OLD, "committed")


def test_a_local_file_is_served_as_such() -> None:
    assert choose(SlotRecord("m", OLD, None, "a", "local"), False, {}) == Target(OLD, "local")
