"""agent/slots.py: the slot record."""

from pathlib import Path

import pytest

from agent import record, slots
from agent.health.judge import COUNTED, TESTS
from agent.slots import Blocked, Slot, SlotRecord, Update
from agent.updater.machine import State
from agent.updater.ready import SHADOW
from littoral.errors import RecordError
from littoral.wire.messages import Ending

A = Slot(1, "a" * 64, "1.0", 10, "full")
B = Slot(2, "b" * 64, "2.0")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = slots.path_of(tmp_path, "cats")
    folder.parent.mkdir(parents=True)
    return folder


def test_a_record_is_read_back_as_it_was_written(path: Path, tmp_path: Path) -> None:
    value = SlotRecord(
        "cats",
        a=A,
        b=B,
        active="b",
        stage="trial",
        floor=1,
        update=Update(2, B.bundle, 1, 7, "probation", loads_left=2),
        last=Ending(1, A.bundle, 1, "committed", facts={"answers": 100}),
        blocked=(Blocked("c" * 64, 1, "crashed"),),
    )
    slots.write(path, value)
    assert slots.read(path) == value
    assert slots.names(tmp_path) == ["cats"]


REMEMBERED = dict.fromkeys((*COUNTED, *TESTS, "strikes", "worker"), 2**40)


def test_the_largest_record_that_decisions_can_make_fits(path: Path) -> None:
    facts = {f"a-number-of-name-{n}": 2**53 for n in range(16)}
    value = SlotRecord(
        "m" * 63,
        a=Slot(2**53, "a" * 64, "v" * 64, 2**53, "first", 64, 64, 2**64, 999, 2**40, 2**53, 2**53, 2**10, 2**10),
        b=Slot(2**53, "b" * 64, "v" * 64, 2**53, "first", 64, 64, 2**64, 999, 2**40, 2**53, 2**53, 2**10, 2**10),
        active="a",
        stage="committed",
        floor=2**53,
        update=Update(
            *(2**53, "b" * 64, 999, 2**53, "probation"),
            version="v" * 64,
            floor=2**53,
            boot="b" * 36,
            memory_bytes=2**53,
            threads=64,
            interpreters=64,
            cpus=2**64,
            baseline_constant=2**53,
            baseline_votes=2**10,
            baseline_votes_bad=2**10,
            window="w" * slots.MAX_WINDOW,
            gate="advisory",
            shadow_s=10**7,
            local=True,
            since=2**40,
            spent_s=dict.fromkeys((*(state.value for state in State), SHADOW), 10**7),
        ),
        last=Ending(2**53, "b" * 64, 999, "rolled-back", "golden-mismatch", "r" * 500, facts, 2**40),
        writes=999,
        written_for=f"local {'b' * 16} 999",
    )
    for number in range(20):
        value = value.with_blocked(Blocked(f"{number:064d}", 999, "golden-mismatch"))
    slots.write(path, value)
    found = slots.read(path)
    assert found is not None
    assert len(found.blocked) == slots.MAX_BLOCKED
    assert found.blocked[-1].bundle == f"{19:064d}"
    assert found.a == value.a
    assert found.last is not None
    assert found.last.facts == {}  # for want of room: they were told when it ended


def test_in_a_trial_the_other_slot_is_the_baseline() -> None:
    value = SlotRecord("cats", a=A, b=B, active="b", stage="trial")
    assert value.serves == B
    assert value.baseline == A


def test_a_first_trial_has_no_baseline() -> None:
    assert SlotRecord("cats", a=A, active="a", stage="trial").baseline is None


def test_a_higher_attempt_is_not_blocked() -> None:
    value = SlotRecord("cats").with_blocked(Blocked(B.bundle, 2, "late"))
    assert value.blocks(B.bundle, 1) is not None
    assert value.blocks(B.bundle, 2) is not None
    assert value.blocks(B.bundle, 3) is None


def test_a_record_from_before_slots_were_tuned_is_read(path: Path) -> None:
    slots.write(path, SlotRecord("cats", a=A, active="a", stage="committed", update=Update(2, B.bundle, 1, 7, "plan")))
    found = record.read(path)
    assert found is not None
    for part in (found[1]["a"], found[1]["update"]):
        for name in ("threads", "interpreters", "cpus"):
            del part[name]
    record.write(path, found[1])
    value = slots.read(path)
    assert value is not None
    assert value.a == A


def test_a_record_of_a_newer_version_keeps_what_this_one_knows(path: Path) -> None:
    slots.write(
        path, SlotRecord("cats", a=A, active="a", stage="committed", floor=3, blocked=(Blocked("c" * 64, 1, "late"),))
    )
    found = record.read(path)
    assert found is not None
    found[1]["colour"] = found[1]["a"]["colour"] = found[1]["blocked"][0]["colour"] = "blue"
    record.write(path, found[1])
    value = slots.read(path)
    assert value is not None
    assert (value.a, value.floor, value.blocked) == (A, 3, (Blocked("c" * 64, 1, "late"),))


def test_a_record_of_another_form_is_a_named_error(path: Path) -> None:
    record.write(path, {"model": "cats", "surprise": 1})
    with pytest.raises(RecordError):
        slots.read(path)


def test_a_folder_whose_name_no_model_can_have_is_no_model(tmp_path: Path) -> None:
    for name in ("cats", "Cats", "cats (copy)"):
        path = slots.path_of(tmp_path, name)
        path.parent.mkdir(parents=True)
        slots.write(path, SlotRecord(name))
    assert slots.names(tmp_path) == ["cats"]
