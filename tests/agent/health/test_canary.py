"""The canary asks through a real runtime's socket, and tells silence of the release from silence of the host."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.health.canary import CanaryAsker, CanaryResult
from agent.health.canary import _question as question_of
from examples.demo.assets import Assets, ensure
from tests.agent.runtime.device import REAL_HOST, SCRIPTED_HOST, Device, until
from tests.agent.runtime.scripted import model


class Asked:
    """An asker and the results it gave."""

    def __init__(self, socket: Path, every_s: float = 0.05, timeout_s: float = 60.0) -> None:
        self.woken = threading.Event()
        self.asker = CanaryAsker(str(socket), every_s, self.woken.set, timeout_s)
        self.results: list[CanaryResult] = []
        self.asker.start()

    def until(self, condition: Callable[[], bool], what: str = "a result") -> None:
        def held() -> bool:
            self.results += self.asker.poll()
            return condition()

        until(held, what)

    def first(self) -> CanaryResult:
        self.until(lambda: bool(self.results))
        return self.results[0]


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(tmp_path, SCRIPTED_HOST, {})
    yield made
    if made.process is not None:
        made.process.send_signal(signal.SIGCONT)
        made.stop()


@pytest.fixture
def asked(device: Device) -> Iterator[Asked]:
    made = Asked(device.socket)
    yield made
    made.asker.stop()


def serve(device: Device, content: bytes, release: int = 2) -> None:
    device.record("m", device.add("m", release, content))
    device.start()


def test_a_model_that_answers_is_ok_again_and_again_until_it_is_not_watched(device: Device, asked: Asked) -> None:
    serve(device, model())
    asked.asker.watch("m", 2, None)
    asked.until(lambda: len(asked.results) >= 3)
    assert all(result.ok and result.code == "" and result.micros > 0 for result in asked.results)
    assert {(result.model, result.release) for result in asked.results} == {("m", 2)}
    assert asked.woken.is_set()
    asked.asker.unwatch("m")
    asked.asker.poll()
    asked.asker.watch("other", 1, None)
    asked.results.clear()
    assert asked.first().model == "other"


def test_an_answer_of_another_release_is_not_ok(device: Device, asked: Asked) -> None:
    serve(device, model(), release=3)
    asked.asker.watch("m", 2, None)
    assert (asked.first().ok, asked.first().code) == (False, "other-release")
    assert "release 3" in asked.first().text


def test_an_inference_that_fails_is_told_by_its_named_error(device: Device, asked: Asked) -> None:
    serve(device, model(run="fail"))
    asked.asker.watch("m", 2, None)
    assert (asked.first().ok, asked.first().code) == (False, "inference-failed")


def test_a_worker_that_hangs_is_the_releases_fault_while_the_host_answers(device: Device) -> None:
    serve(device, model(run="hang"))
    asked = Asked(device.socket, timeout_s=1.0)
    asked.asker.watch("m", 2, None)
    assert (asked.first().ok, asked.first().code) == (False, "deadline")
    asked.asker.stop()


def test_a_host_that_hangs_is_nobodys_fault(device: Device) -> None:
    serve(device, model())
    assert device.process is not None
    device.process.send_signal(signal.SIGSTOP)
    asked = Asked(device.socket, timeout_s=0.5)
    asked.asker.watch("m", 2, None)
    assert (asked.first().ok, asked.first().code) == (False, "runtime-away")
    asked.asker.stop()


def test_a_runtime_that_is_not_there_is_nobodys_fault(device: Device, asked: Asked) -> None:
    asked.asker.watch("m", 2, None)
    assert asked.first().code == "runtime-away"


def test_an_unknown_model_is_told_as_such(device: Device, asked: Asked) -> None:
    serve(device, model())
    asked.asker.watch("nobody", 2, None)
    assert asked.first().code == "unknown-model"


def test_results_of_an_earlier_watch_are_dropped(device: Device, asked: Asked) -> None:
    serve(device, model())
    asked.asker.watch("m", 2, None)
    until(asked.woken.is_set, "a result")
    asked.asker.watch("m", 9, None)
    assert asked.first().release == 9
    assert asked.first().code == "other-release"


def test_golden_vectors_that_are_not_there_are_the_canarys_own_trouble(
    device: Device, asked: Asked, tmp_path: Path
) -> None:
    serve(device, model())
    asked.asker.watch("m", 2, tmp_path / "missing")
    assert asked.first().code == "canary-error"


def test_stopping_does_not_wait_for_an_answer(device: Device) -> None:
    serve(device, model(run="hang"))
    asked = Asked(device.socket)
    asked.asker.watch("m", 2, None)
    asked.asker.stop()
    asked.asker.stop()


def test_the_golden_input_is_what_is_asked(device: Device, asked: Asked, tmp_path: Path) -> None:
    golden = tmp_path / "golden"
    golden.write_bytes(b"\x07\x08\x09\x0aanswers")
    serve(device, model(run="fail", on=7))
    asked.asker.watch("m", 2, golden)
    assert asked.first().code == "inference-failed"
    asked.asker.watch("m", 2, None)
    asked.results.clear()
    assert asked.first().ok


@pytest.mark.parametrize(
    ("content", "question"), [(b"\x07\x08\x09\x0aanswers", b"\x07\x08\x09\x0a"), (b"\x07", bytes(4)), (None, bytes(4))]
)
def test_the_question_is_the_first_golden_input_or_zeros(
    tmp_path: Path, content: bytes | None, question: bytes
) -> None:
    golden = tmp_path / "golden"
    if content is not None:
        golden.write_bytes(content)
    assert question_of(golden if content is not None else None, 4) == question


@pytest.fixture(scope="session")
def assets() -> Assets:
    return ensure()


def test_a_real_model_answers_the_canary(assets: Assets, tmp_path: Path) -> None:
    device = Device(tmp_path, REAL_HOST, {})
    serve(device, assets.classifier.read_bytes())
    asked = Asked(device.socket)
    asked.asker.watch("m", 2, None)
    assert asked.first().ok
    asked.asker.stop()
    device.stop()


# --- what is asked once -----------------------------------------------------------------------------------------


def test_what_is_asked_once_is_answered_once_beside_what_is_watched(device: Device) -> None:
    serve(device, model())
    asked = Asked(device.socket, every_s=1_000.0)
    asked.asker.watch("m", 2, None)
    asked.asker.ask("m", 2, None)
    asked.until(lambda: len(asked.results) == 2)
    assert [(result.once, result.ok) for result in asked.results] == [(False, True), (True, True)]
    assert asked.asker.watched == {"m"}
    asked.asker.ask("m", 2, None)
    asked.asker.unwatch("m")
    asked.until(lambda: len(asked.results) == 3)
    assert asked.results[2].once
    asked.asker.stop()


def test_the_runtime_is_asked_for_itself(device: Device) -> None:
    serve(device, model(run="hang"))
    asked = Asked(device.socket, timeout_s=0.5)
    asked.asker.ask("", 0, None)
    asked.until(lambda: len(asked.results) == 1)
    assert device.process is not None
    device.process.send_signal(signal.SIGSTOP)
    asked.asker.ask("", 0, None)
    asked.until(lambda: len(asked.results) == 2)
    assert [(result.model, result.ok, result.code) for result in asked.results] == [
        ("", True, ""),
        ("", False, "runtime-away"),
    ]
    asked.asker.stop()
