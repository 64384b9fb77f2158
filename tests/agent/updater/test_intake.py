"""agent/updater/intake.py: which desired states are taken in."""

from pathlib import Path
from typing import Any, cast

import pytest

from agent.config import Config
from agent.updater.child_protocol import Plan, Request
from agent.updater.device import DeviceMemory
from agent.updater.intake import Intake
from agent.updater.planning import Job, Planner
from littoral import errors
from littoral.wire.messages import Desired, SignedDesired, Want


class Verifier:
    """A planner that holds what it was asked, and is answered by the test."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, request: Request) -> Job:
        self.jobs.append(Job(request))
        return self.jobs[-1]

    def cancel(self, job: Job) -> None:
        self.jobs.remove(job)


class Bench:
    def __init__(self, state: Path) -> None:
        self.verifier = Verifier()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.texts: list[str] = []
        self.memory = DeviceMemory(state, "main", "farm-1")
        config = Config(state=state, device="farm-1")
        self.intake = Intake(
            config,
            self.memory,
            cast(Planner, self.verifier),
            self.tell,
        )

    def tell(self, kind: str, model: str, release: int, text: str, facts: dict[str, Any]) -> None:
        self.told.append((kind, facts))
        self.texts.append(text)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def message(generation: int, device: str = "farm-1") -> bytes:
    desired = Desired("main", device, generation, "now", {"cats": Want(1, "a" * 64)})
    return SignedDesired(desired, "ab" * 32, "00").encode()


def test_a_verified_one_is_stored_and_given(bench: Bench) -> None:
    bench.intake.offer(message(1))
    assert bench.intake.tick(0, online=True) is None
    bench.verifier.jobs[0].plan = Plan(keyid="ab" * 32)
    desired = bench.intake.tick(0.1, online=True)
    assert desired is not None
    assert bench.memory.wanted() == desired
    assert bench.memory.generation == 1


def test_an_unsigned_one_is_refused_told_and_not_stored(bench: Bench) -> None:
    bench.intake.offer(message(1))
    bench.intake.tick(0, online=True)
    bench.verifier.jobs[0].error = errors.DesiredStateError("not signed by the director")
    assert bench.intake.tick(0.1, online=True) is None
    assert bench.told == [("desired-refused", {"code": "desired-state"})]
    assert bench.memory.wanted() is None
    assert not bench.intake.busy


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"random \xff", "desired-state"),
        (b"{}", "desired-state"),
        (b"[" * 50_000, "desired-state"),
        (message(1, device="farm-2"), "wrong-device"),
        (message(1).replace(b'"release":1', b'"release":"1"'), "desired-state"),
        (message(1).replace(b'"cats"', b'"../x"'), "desired-state"),
        (message(1).replace(b'"keyid":"ab', b'"keyid":"\\ud800'), "desired-state"),
        (message(1).replace(b'"signature":"00"', b'"signature":"\\ud800"'), "desired-state"),
        (message(1).replace(b'"issued":"now"', b'"issued":"\\ud800"'), "desired-state"),
        (b"\xff" * 50_000, "desired-state"),
    ],
)
def test_what_is_not_for_this_device_or_not_readable_asks_nobody(bench: Bench, data: bytes, code: str) -> None:
    bench.intake.offer(data)
    bench.intake.tick(0, online=True)
    assert bench.verifier.jobs == []
    assert bench.told == [("desired-refused", {"code": code})]
    assert len(bench.texts[0]) < 400


def test_an_old_generation_is_refused(bench: Bench) -> None:
    test_a_verified_one_is_stored_and_given(bench)
    bench.intake.offer(message(1).replace(b'"now"', b'"then"'))
    assert bench.told == [("desired-refused", {"code": "old-generation"})]


def test_a_cleared_topic_is_nothing(bench: Bench) -> None:
    bench.intake.offer(b"")
    assert bench.told == []


def test_want_of_an_answer_is_met_with_another_try(bench: Bench) -> None:
    bench.intake.offer(message(1))
    bench.intake.tick(0, online=True)
    bench.verifier.jobs[0].error = errors.NoAnswerError("silence")
    bench.intake.tick(0.1, online=True)
    bench.intake.tick(0.2, online=True)
    assert len(bench.verifier.jobs) == 1
    bench.intake.tick(60, online=True)
    assert len(bench.verifier.jobs) == 2
    assert bench.told == []


def test_a_newer_one_replaces_one_that_is_being_checked(bench: Bench) -> None:
    bench.intake.offer(message(1))
    bench.intake.tick(0, online=True)
    bench.intake.offer(message(2))
    bench.intake.tick(0.1, online=True)
    bench.verifier.jobs[0].plan = Plan(keyid="ab" * 32)
    desired = bench.intake.tick(0.2, online=True)
    assert desired is not None
    assert desired.generation == 2
