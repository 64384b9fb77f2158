"""Trial children on a real host: with models that do what their bytes say, and with real ones."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from agent import control, slots
from agent.runtime.trial.trials import WIDE_BYTES
from agent.slots import Slot
from examples.demo import damage
from examples.demo.assets import ensure
from littoral.bundle.manifest import Golden, Limits
from littoral.tensors import Interface, Tensor
from tests.agent.runtime import reals, scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import PATIENCE_S, Device, interface_digests

MIB = 1024 * 1024


def add(device: Device, content: bytes, **more: object) -> Slot:
    return device.add("m", 2, content, interface=interface_digests(scripted.interface_of(content)), **more)  # type: ignore[arg-type]


def tried(make: MakeDevice, content: bytes, **more: object) -> control.Tried:
    """How the trial of these bytes ends, on a device that serves another release and goes on doing so."""
    device = make(trial_timeout_s=2.0 if b"hang" in content else PATIENCE_S)
    device.record("m", device.add("m", 1, scripted.model(answer=1)))
    slot = add(device, content, **more)
    device.start()
    asking, agent = device.client("m"), device.agent()
    agent.send(control.Try(7, "m", slot.bundle))
    assert asking.infer(b"\0\1\2\3").release == 1  # while the trial runs
    told = agent.expect(control.Tried)
    assert (told.id, told.model, told.bundle) == (7, "m", slot.bundle)
    assert asking.infer(b"\0\1\2\3").release == 1
    return told


def test_a_good_release_passes_and_is_measured(scripted_device: MakeDevice) -> None:
    told = tried(scripted_device, scripted.model(answer=2))
    assert (told.code, told.reason, told.proven) == ("", "", False)
    times = {"load_us", "invoke_p50_us", "invoke_p95_us"}
    assert set(told.facts) == {*times, "memory_bytes", "threads", "interpreters", "cpus"}


@pytest.mark.parametrize(
    ("model", "code", "proven"),
    [
        ({"load": "refuse"}, "model-load", True),
        ({"load": "crash"}, "crashed", True),
        ({"load": "hang"}, "hung", None),  # proven where it really ran all the time
        ({"run": "fail"}, "inference-failed", True),
        ({"run": "crash"}, "crashed", True),
        ({"run": "exit"}, "crashed", True),
        ({"run": "hang"}, "hung", False),  # it slept: the machine may have been to blame
        ({"run": "nan"}, "not-finite", True),
        ({"run": "random"}, "golden-mismatch", True),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else None,
)
def test_a_bad_release_fails_by_name(
    scripted_device: MakeDevice, model: dict[str, str], code: str, proven: bool | None
) -> None:
    told = tried(scripted_device, scripted.model(**model))
    assert told.code == code
    assert proven in (None, told.proven)
    assert told.reason


def test_a_release_with_another_interface_than_declared_fails(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    other = Interface((Tensor("in", "int8", (4,)),), (Tensor("out", "uint8", (4,)),))
    slot = device.add("m", 2, scripted.model(), interface=interface_digests(other))
    device.start()
    told = device.agent().trial("m", slot)
    assert (told.code, told.proven) == ("wrong-interface", True)


def test_a_release_with_other_labels_than_declared_fails(scripted_device: MakeDevice) -> None:
    told = tried(scripted_device, scripted.model(), labels=b"cat\ndog\n")
    assert (told.code, told.proven) == ("wrong-interface", True)


def test_a_release_whose_bytes_changed_proves_nothing(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    slot = add(device, scripted.model())
    (slots.release_folder(device.state, slot.bundle) / "model").write_bytes(b"other")
    device.start()
    told = device.agent().trial("m", slot)
    assert (told.code, told.proven) == ("digest-mismatch", False)


def test_a_release_that_is_not_there_proves_nothing(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    device.start()
    told = device.agent().trial("m", Slot(9, "9" * 64, "v9"))
    assert (told.code, told.proven) == ("bad-bundle", False)


# --- golden vectors ---------------------------------------------------------------------------------------------


def golden(expected: bytes, **more: object) -> tuple[Golden, bytes]:
    """Two cases for a model that adds 2 to each byte; `expected` is of the second."""
    return Golden(2, **more), b"\0\1\2\3\2\3\4\5\4\5\6\7" + expected  # type: ignore[arg-type]


def test_golden_vectors_that_are_answered_as_expected_are_counted(scripted_device: MakeDevice) -> None:
    told = tried(scripted_device, scripted.model(answer=2), golden=golden(b"\6\7\x08\x09"))
    assert (told.code, told.facts["cases"], told.facts["worst_ppm"]) == ("", 2, 0)


def test_golden_vectors_that_are_answered_otherwise_fail_with_their_numbers(scripted_device: MakeDevice) -> None:
    told = tried(scripted_device, scripted.model(answer=2), golden=golden(b"\6\7\x08\x0a"))
    assert (told.code, told.proven, told.facts["worst_ppm"]) == ("golden-mismatch", True, 100_000)
    assert "1 of 2" in told.reason


def test_a_tolerance_allows_for_other_processors(scripted_device: MakeDevice) -> None:
    near = golden(b"\6\7\x08\x0a", tolerance_ppm=100_000)
    assert tried(scripted_device, scripted.model(answer=2), golden=near).code == ""


@pytest.mark.parametrize(("expected", "code"), [(b"\0\0\0\x01", ""), (b"\x09\0\0\x01", "golden-mismatch")])
def test_top1_compares_the_place_of_the_greatest_value(scripted_device: MakeDevice, expected: bytes, code: str) -> None:
    vectors = golden(expected, compare="top1")
    assert tried(scripted_device, scripted.model(answer=2), golden=vectors).code == code


def test_golden_vectors_of_another_size_fail(scripted_device: MakeDevice) -> None:
    told = tried(scripted_device, scripted.model(), golden=golden(b"\6"))
    assert (told.code, told.proven) == ("bad-golden", True)


def labelled(right_ppm: int, *labels: int) -> tuple[Golden, bytes]:
    """One input for a model that adds 2 to each byte, with labels: its greatest value stands at 3."""
    blob = b"".join(b"\0\1\2\3" + label.to_bytes(4, "little", signed=True) for label in labels)
    return Golden(len(labels), "top1", 0, "labelled", right_ppm), blob


def test_labelled_cases_pass_when_the_share_that_must_be_right_is(scripted_device: MakeDevice) -> None:
    told = tried(scripted_device, scripted.model(answer=2), golden=labelled(700_000, 3, 3, 0, 3))
    assert (told.code, told.facts["cases"], told.facts["right"]) == ("", 4, 3)
    assert "worst_ppm" not in told.facts


def test_labelled_cases_fail_with_their_numbers_when_too_few_are_right(scripted_device: MakeDevice) -> None:
    told = tried(scripted_device, scripted.model(answer=2), golden=labelled(750_001, 3, 3, 0, 3))
    assert (told.code, told.proven, told.facts["right"]) == ("golden-mismatch", True, 3)
    assert "3 of 4 labelled golden cases were answered right, 4 must be" in told.reason


@pytest.mark.parametrize("label", [4, -1, 2**31 - 1])
def test_a_label_that_is_no_class_of_the_model_is_the_releases_own_fault(
    scripted_device: MakeDevice, label: int
) -> None:
    told = tried(scripted_device, scripted.model(answer=2), golden=labelled(0, 3, label))
    assert (told.code, told.proven) == ("bad-golden", True)
    assert "classes are 0 to 3" in told.reason


def test_labels_for_a_model_that_answers_no_class_are_the_releases_own_fault(scripted_device: MakeDevice) -> None:
    card = b'[[output]]\ndecoder = "embedding"\n'
    told = tried(scripted_device, scripted.model(answer=2), golden=labelled(0, 3), card=card)
    assert (told.code, told.proven) == ("bad-card", True)


# --- limits -----------------------------------------------------------------------------------------------------


def test_a_release_over_its_own_time_limit_fails_and_the_device_may_be_to_blame(scripted_device: MakeDevice) -> None:
    told = tried(scripted_device, scripted.model(delay_ms=5), limits=Limits(p95_us=1_000))
    assert (told.code, told.proven) == ("over-limits", False)


def test_a_release_over_its_own_memory_limit_fails(scripted_device: MakeDevice) -> None:
    told = tried(scripted_device, scripted.model(bytes=30 * MIB), limits=Limits(memory_bytes=20 * MIB))
    assert (told.code, told.proven) == ("over-limits", False)
    assert told.facts["memory_bytes"] > 30 * MIB


@pytest.mark.parametrize("bytes_taken", [60 * MIB, 400 * MIB], ids=["over the budget", "over the address space"])
def test_a_release_that_takes_more_than_is_free_lacks_room_and_nothing_is_proven(
    scripted_device: MakeDevice, bytes_taken: int
) -> None:
    device = scripted_device(memory_budget_bytes=40 * MIB)
    slot = add(device, scripted.model(bytes=bytes_taken))
    device.start()
    told = device.agent().trial("m", slot)
    assert (told.code, told.proven) == ("no-room", False)


def test_a_crash_under_little_memory_is_repeated_with_much_and_then_proven(scripted_device: MakeDevice) -> None:
    device = scripted_device(memory_budget_bytes=40 * MIB)
    assert WIDE_BYTES > 40 * MIB
    device.start()
    told = device.agent().trial("m", add(device, scripted.model(load="crash")))
    assert (told.code, told.proven) == ("crashed", True)


def test_a_crash_that_more_memory_cures_is_a_want_of_memory(scripted_device: MakeDevice, tmp_path: Path) -> None:
    device = scripted_device(memory_budget_bytes=40 * MIB)
    device.start()
    told = device.agent().trial("m", add(device, scripted.model(load="die-once", flag=str(tmp_path / "flag"))))
    assert (told.code, told.proven) == ("no-room", False)
    assert "SIGSEGV" in told.reason


# --- order ------------------------------------------------------------------------------------------------------


def test_trials_run_one_after_the_other(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    found = [
        device.add("m", n, scripted.model(answer=n), interface=interface_digests(scripted.interface_of(b"{}")))
        for n in (2, 3)
    ]
    device.start()
    agent = device.agent()
    for number, slot in enumerate(found):
        agent.send(control.Try(number, "m", slot.bundle))
    assert [agent.expect(control.Tried).id for _ in found] == [0, 1]


def test_a_trial_ends_with_the_agent_that_asked(scripted_device: MakeDevice) -> None:
    device = scripted_device(trial_timeout_s=120.0)
    hanging, good = add(device, scripted.model(run="hang")), add(device, scripted.model())
    device.start()
    first = device.agent()
    first.send(control.Try(1, "m", hanging.bundle))
    first.close()
    second = device.agent()
    second.send(control.Try(2, "m", good.bundle))
    assert second.expect(control.Tried).id == 2


# --- real models ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classifier() -> bytes:
    return ensure().classifier.read_bytes()


def real_trial(make: MakeDevice, content: bytes, interface: Interface, **more: object) -> control.Tried:
    device = make()
    slot = device.add("m", 2, content, interface=interface_digests(interface), **more)  # type: ignore[arg-type]
    device.start()
    return device.agent().trial("m", slot)


def test_a_real_model_passes_with_golden_vectors_of_its_own(real_device: MakeDevice, classifier: bytes) -> None:
    loaded = reals.load(classifier)
    question = random.Random(1).randbytes(loaded.interface.input_bytes)
    vectors = (Golden(1, tolerance_ppm=0, expected="copied"), question + loaded.run(question).data)
    told = real_trial(real_device, classifier, loaded.interface, golden=vectors)
    assert (told.code, told.facts["cases"], told.facts["worst_ppm"]) == ("", 1, 0)
    assert told.facts["memory_bytes"] > len(classifier)


def test_a_real_model_that_answers_otherwise_is_found_out(real_device: MakeDevice, classifier: bytes) -> None:
    loaded = reals.load(classifier)
    question = random.Random(1).randbytes(loaded.interface.input_bytes)
    vectors = (Golden(1), question + loaded.run(question).data)
    told = real_trial(real_device, reals.negated(classifier), loaded.interface, golden=vectors)
    assert (told.code, told.proven) == ("golden-mismatch", True)


def test_a_real_model_that_kills_its_process_is_found_out(real_device: MakeDevice, classifier: bytes) -> None:
    told = real_trial(real_device, damage.crash(classifier), reals.load(classifier).interface)
    assert (told.code, told.proven) == ("crashed", True)
    assert "SIG" in told.reason


@pytest.mark.parametrize("content", [b"no model at all", os.urandom(20_000)], ids=["text", "random bytes"])
def test_bytes_that_are_no_model_are_found_out(real_device: MakeDevice, classifier: bytes, content: bytes) -> None:
    told = real_trial(real_device, content, reals.load(classifier).interface)
    assert told.code in ("model-load", "crashed")
    assert told.proven
