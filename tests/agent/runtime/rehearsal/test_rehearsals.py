"""Rehearsals in real children: what is hard is found whatever the numbers say; a broken baseline proves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent import control
from agent.health.gate import weigh
from examples.demo import damage
from examples.demo.assets import LABELS, ensure, frames
from littoral.bundle.manifest import Limits, Lineage
from tests.agent.runtime import reals, scripted
from tests.agent.runtime.device import engine_under_test, interface_digests
from tests.agent.runtime.rehearsal.conftest import MakeStage, Stage, noise

SIDE = 8
SIZE = SIDE * SIDE * 3
TENSORS = {"inputs": [["in", "uint8", [1, SIDE, SIDE, 3], 0.0, 0]], "outputs": [["out", "uint8", [1, 6], 1 / 256, 0]]}
DARK = 0


def model(**fields: Any) -> bytes:
    return scripted.model(**{**TENSORS, **fields})


def rehearsed(stage: Stage, release: bytes, baseline: bytes | None = None, **more: Any) -> control.Rehearsed:
    """Of 40 bright inputs and 5 dark ones."""
    interface = scripted.interface_of(model())
    stage.fill(interface, [*noise(40, SIZE, 200), *noise(5, SIZE, DARK)])
    old = stage.device.add("m", 1, baseline or model())
    return stage.rehearse(stage.device.add("m", 2, release, **more), old)


def test_a_release_that_answers_alike_is_measured_as_such(stage: MakeStage) -> None:
    told = rehearsed(stage(), model())
    assert (told.code, told.reason, told.proven) == ("", "", False)
    assert (told.facts["inputs"], told.facts["skill_ppm"], told.facts["constant"]) == (45, 1_000_000, 0)
    assert told.facts["scenes"] >= 40
    assert told.facts["worst"] == []
    assert "why" not in told.facts


@pytest.mark.parametrize(
    ("fields", "code", "proven"),
    [
        ({"run": "fail", "on": DARK}, "inference-failed", True),
        ({"run": "nan", "on": DARK}, "not-finite", True),
        ({"run": "crash", "on": DARK}, "crashed", True),
        ({"run": "exit", "on": DARK}, "crashed", True),
        ({"run": "random"}, "unsteady", True),
    ],
    ids=lambda value: value.get("run") if isinstance(value, dict) else None,
)
def test_what_fails_on_what_the_device_really_saw_is_bad_by_name(
    stage: MakeStage, fields: dict[str, Any], code: str, proven: bool
) -> None:
    told = rehearsed(stage(), model(**fields))
    assert (told.code, told.proven) == (code, proven)
    assert told.reason


def test_a_release_that_hangs_in_the_dark_is_hung(stage: MakeStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.runtime.rehearsal.rehearsals.SLACK_S", 1.0)
    made = stage()
    made.budget_s = 1.0
    told = rehearsed(made, model(run="hang", on=DARK))
    assert (told.code, told.proven) == ("hung", False)  # it slept: the machine may have been to blame


def test_one_input_that_fails_each_time_is_proof_by_itself(stage: MakeStage) -> None:
    made = stage()
    made.fill(scripted.interface_of(model()), [*noise(40, SIZE, 200), *noise(1, SIZE, DARK)])  # one night of many
    old = made.device.add("m", 1, model())
    told = made.rehearse(made.device.add("m", 2, model(run="fail", on=DARK)), old)
    assert (told.code, told.proven) == ("inference-failed", True)
    assert told.reason.startswith("it fails on 1 inputs")


def test_two_failures_by_chance_are_no_proof(stage: MakeStage) -> None:
    told = rehearsed(stage(), model(run="fail", every=20))
    assert (told.code, told.facts["inputs"]) == ("", 43)


def test_more_than_may_be_held_is_not_asked(stage: MakeStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.runtime.rehearsal.rehearsal.HELD_BYTES", 20 * SIZE)
    told = rehearsed(stage(), model())
    assert (told.code, told.facts["inputs"]) == ("", 20)


def test_what_is_held_is_not_memory_of_the_release(stage: MakeStage) -> None:
    large = {"outputs": [["out", "uint8", [1_000_000], 0.0, 0]]}
    told = rehearsed(stage(), model(**large), model(**large), limits=Limits(memory_bytes=30_000_000))
    assert (told.code, told.facts["inputs"]) == ("", 45)
    assert told.facts["memory_bytes"] < 30_000_000


def test_a_failure_of_the_comparing_itself_says_nothing_of_the_release(
    stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("shapes")

    monkeypatch.setattr("agent.runtime.rehearsal.rehearsal.measure", fail)
    told = rehearsed(stage(), model())
    assert (told.code, told.facts["why"]) == ("", "they cannot be compared: ValueError('shapes')")


def test_labels_may_be_of_any_length(stage: MakeStage) -> None:
    made = stage()
    made.fill(scripted.interface_of(model()), noise(40, SIZE))
    labels = b"".join(letter * 60_000 + b"\n" for letter in (b"a", b"b", b"c", b"d", b"e", b"f"))
    old = made.device.add("m", 1, model(), labels=labels)
    told = made.rehearse(made.device.add("m", 2, model(answer=100), labels=labels), old)
    assert told.code == ""
    assert {len(one["release"]) for one in told.facts["worst"]} == {64 + len(" 0.00")}


@pytest.mark.parametrize(("side", "told_bytes"), [(8, 0), (32, 64)])
def test_of_a_small_input_no_sketch_is_told_as_it_would_show_it(stage: MakeStage, side: int, told_bytes: int) -> None:
    made, shown = stage(), {"inputs": [["in", "uint8", [1, side, side, 3], 0.0, 0]]}
    made.fill(scripted.interface_of(model(**shown)), noise(40, side * side * 3))
    old = made.device.add("m", 1, model(**shown))
    told = made.rehearse(made.device.add("m", 2, model(answer=100, **shown)), old)
    assert {len(bytes.fromhex(one["sketch"])) for one in told.facts["worst"]} == {told_bytes}


@pytest.mark.parametrize("run", ["fail", "nan"])
def test_an_input_that_the_baseline_cannot_answer_either_is_left_out(stage: MakeStage, run: str) -> None:
    broken = model(run=run, on=DARK)
    told = rehearsed(stage(), broken, broken)
    assert (told.code, told.facts["inputs"]) == ("", 40)


@pytest.mark.parametrize(
    "fields", [{"run": "crash", "on": DARK}, {"load": "refuse"}, {"load": "crash"}, {"run": "nan"}, {"run": "fail"}]
)
def test_a_baseline_that_is_broken_itself_proves_nothing(stage: MakeStage, fields: dict[str, Any]) -> None:
    told = rehearsed(stage(), model(), model(**fields))
    assert (told.code, told.proven) == ("", False)
    assert told.facts["why"]


def test_a_constant_release_is_constant(stage: MakeStage) -> None:
    told = rehearsed(stage(), model(run="constant"))
    assert (told.code, told.facts["constant"]) == ("", 1)
    assert weigh(told.facts, Lineage.OTHER).code == "constant"


def test_a_release_that_takes_three_times_as_long_is_slower(stage: MakeStage) -> None:
    told = rehearsed(stage(), model(delay_ms=180), model(delay_ms=60))
    assert told.facts["ratio_ppm"] > 2_500_000
    assert weigh(told.facts, Lineage.RETRAINED).code == "slower"


def test_one_that_is_slow_ends_within_its_time_and_compares_what_it_could(stage: MakeStage) -> None:
    made = stage()
    made.budget_s = 6.0
    told = rehearsed(made, model(delay_ms=60), model(delay_ms=60))
    assert told.code == ""
    assert 16 <= told.facts["inputs"] < 45


def test_memory_that_is_taken_on_what_was_seen_counts_against_its_own_limit(stage: MakeStage) -> None:
    told = rehearsed(stage(), model(bytes=30_000_000), limits=Limits(memory_bytes=5_000_000))
    assert (told.code, told.proven) == ("over-limits", False)


def test_one_that_does_not_fit_beside_what_is_served_is_not_rehearsed(stage: MakeStage) -> None:
    made = stage()
    made.room_bytes = 1_000
    told = rehearsed(made, model(), limits=Limits(memory_bytes=5_000_000))
    assert (told.code, "beside what is served" in told.facts["why"]) == ("", True)


def test_with_no_inputs_kept_nothing_can_be_said(stage: MakeStage) -> None:
    made = stage()
    old, new = made.device.add("m", 1, model()), made.device.add("m", 2, model())
    assert made.rehearse(new, old).facts["why"] == "nothing was kept of what this model was asked"
    assert "not kept" in made.rehearse(new, old, held=False).facts["why"]


def test_inputs_of_another_shape_cannot_be_shown(stage: MakeStage) -> None:
    larger = model(inputs=[["in", "uint8", [1, 9, 9, 3], 0.0, 0]])
    assert "another shape" in rehearsed(stage(), larger).facts["why"]


def test_inputs_are_quantized_anew_for_another_quantization(stage: MakeStage) -> None:
    """What is 200 of 256 for one is 72 of 128 for the other: the scripted model answers with what it is given."""
    shifted = model(inputs=[["in", "int8", [1, SIDE, SIDE, 3], 1.0, -128]], answer=128)
    made = stage()
    plain = {"inputs": [["in", "uint8", [1, SIDE, SIDE, 3], 1.0, 0]]}
    interface = scripted.interface_of(model(**plain))
    made.fill(interface, noise(40, SIZE))
    told = made.rehearse(made.device.add("m", 2, shifted), made.device.add("m", 1, model(**plain)))
    assert (told.code, told.facts["skill_ppm"]) == ("", 1_000_000)


def test_inputs_that_were_kept_for_an_older_interface_are_left_out(stage: MakeStage) -> None:
    made = stage()
    made.fill(scripted.interface_of(scripted.model()), noise(40, 4))
    told = made.rehearse(made.device.add("m", 2, model()), made.device.add("m", 1, model()))
    assert "nothing was kept" in told.facts["why"]


def test_a_model_that_keeps_a_state_is_not_compared_input_by_input(stage: MakeStage) -> None:
    told = rehearsed(stage(), model(stateful=True), model(stateful=True))
    assert "keeps a state" in told.facts["why"]


def test_labels_in_another_order_are_compared_by_their_names(stage: MakeStage) -> None:
    made = stage()
    interface = scripted.interface_of(model())
    made.fill(interface, noise(40, SIZE))
    old = made.device.add("m", 1, model(), labels=b"a\nb\nc\nd\ne\nf\n")
    told = made.rehearse(made.device.add("m", 2, model(), labels=b"b\na\nc\nd\ne\nf\n"), old)
    assert told.facts["skill_ppm"] < 1_000_000


# --- real models --------------------------------------------------------------------------------------------------


def compared(stage: Stage, change: bytes, lineage: Lineage = Lineage.RETRAINED) -> tuple[str, str]:
    """(code, name of the probe that fires) of a change of the demo's classifier, on what a moving camera sees."""
    good = Path(ensure().classifier).read_bytes()
    interface = reals.load(good).interface
    labels = "".join(f"{label}\n" for label in LABELS).encode()
    digests = interface_digests(interface, labels)
    stage.fill(interface, [data for _, data in frames(ensure())][:64])
    old, new = (
        stage.device.add("m", n, content, interface=digests, labels=labels) for n, content in ((1, good), (2, change))
    )
    told = stage.rehearse(new, old)
    assert told.code == ""
    fired = [probe["name"] for probe in told.facts["probes"] if probe["fires"]]
    return weigh(told.facts, lineage).code, ",".join(fired)


def real_stage(make: MakeStage) -> Stage:
    from agent.runtime.engines import open_engine

    return make(open_engine(engine_under_test()))


def test_a_good_sibling_of_a_real_model_passes_as_a_rebuild(stage: MakeStage) -> None:
    good = ensure().classifier.read_bytes()
    assert compared(real_stage(stage), damage.restamp(good, "two"), Lineage.REBUILD) == ("", "")


def test_a_real_model_with_zeroed_weights_is_constant(stage: MakeStage) -> None:
    assert compared(real_stage(stage), damage.constant(ensure().classifier.read_bytes()))[0] == "constant"


def test_a_real_model_with_negated_weights_differs(stage: MakeStage) -> None:
    code, _ = compared(real_stage(stage), reals.negated(ensure().classifier.read_bytes()))
    assert code in ("differs", "mislabelled")
