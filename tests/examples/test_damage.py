from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from examples.demo import damage
from examples.demo.assets import Assets, frames
from tests.examples.interpreter import scores

LOAD = """
import sys
from ai_edge_litert.interpreter import Interpreter
Interpreter(model_content=sys.stdin.buffer.read()).allocate_tensors()
"""


def status_of_loading(model: bytes) -> int:
    """How a process ends that loads this model from bytes; the number of a signal is negative."""
    return subprocess.run([sys.executable, "-c", LOAD], input=model, capture_output=True).returncode


def test_a_restamped_model_answers_the_same_from_other_bytes(assets: Assets, classifier: bytes) -> None:
    sibling = damage.restamp(classifier, "release 2")
    inputs = [raw for _, raw in frames(assets)]
    assert sibling != classifier
    assert len(sibling) == len(classifier)
    assert scores(sibling, inputs) == scores(classifier, inputs)


def test_each_text_is_another_sibling(classifier: bytes) -> None:
    siblings = [damage.restamp(classifier, f"release {number}") for number in range(20)]
    assert len({classifier, *siblings}) == 21


def test_a_sibling_can_be_restamped_again(classifier: bytes) -> None:
    once = damage.restamp(classifier, "one")
    assert damage.restamp(damage.restamp(classifier, "two"), "one") == once


def test_a_text_longer_than_the_description_is_refused(classifier: bytes) -> None:
    with pytest.raises(ValueError, match="holds 55 bytes"):
        damage.restamp(classifier, "x" * 56)


def test_a_constant_model_answers_the_same_to_everything(assets: Assets, classifier: bytes) -> None:
    inputs = [raw for _, raw in frames(assets)]
    assert len(set(scores(damage.constant(classifier), inputs))) == 1
    assert len(set(scores(classifier, inputs))) > 60


def test_a_crash_model_kills_each_process_that_loads_it(classifier: bytes) -> None:
    model = damage.crash(classifier)
    assert [status_of_loading(model) for _ in range(3)] == [-signal.SIGSEGV] * 3


def test_the_model_it_was_made_from_loads(classifier: bytes) -> None:
    assert status_of_loading(classifier) == 0


@pytest.mark.parametrize("name", ["keyword-alexa", "keywords-on-off", "micro-speech"])
def test_other_real_models_can_be_restamped(assets: Assets, name: str) -> None:
    model = assets.models[name].read_bytes()
    assert damage.restamp(model, "2") != model


@pytest.mark.parametrize("damaging", [damage.constant, damage.crash])
def test_a_model_without_the_operator_is_refused(assets: Assets, damaging: object) -> None:
    model = assets.models["keyword-alexa"].read_bytes()
    assert callable(damaging)
    with pytest.raises(ValueError, match="no operator"):
        damaging(model)


def test_the_command_writes_what_the_function_makes(
    assets: Assets, classifier: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bad.tflite"
    monkeypatch.setattr("sys.argv", ["damage", "constant", str(assets.classifier), str(out)])
    damage.main()
    assert out.read_bytes() == damage.constant(classifier)
