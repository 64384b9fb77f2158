"""Which committed models are asked, and what follows: one model at a time, second by second."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from agent.control import Counters
from agent.health.canary import CanaryResult
from agent.health.committed import (
    CANARY_COMMITTED_S,
    FAILURES,
    FAILURES_LAST,
    HELPLESS,
    CommittedCanaries,
    Finding,
    Question,
)
from agent.health.judge import NOT_THE_RELEASE

MINUTES = 60


class Device:
    """Committed models and the apps that ask them. `code` is how a canary of a model fails; none: it is answered."""

    def __init__(self) -> None:
        self.canaries = CommittedCanaries()
        self.now = 0.0
        self.answers: dict[str, int] = {}
        self.workers: dict[str, int] = {}
        self.codes: dict[str, str] = {}
        self.asked: list[Question] = []
        self.findings: list[tuple[float, Finding]] = []

    def serve(self, model: str, code: str = "") -> None:
        self.answers[model], self.workers[model], self.codes[model] = 0, 100, code
        self._count(model, "committed")

    def second(self, *used: str, watched: Collection[str] = (), stage: str = "committed") -> None:
        self.now += 1.0
        for model in self.answers:
            self.answers[model] += model in used and not self.codes[model]
            self._count(model, stage, waiting=int(model in used and bool(self.codes[model])))
        for question in self.canaries.due(watched, self.now):
            self.asked.append(question)
            code = self.codes.get(question.model, "")
            self.answers[question.model] = self.answers.get(question.model, 0) + (not code)
            result = CanaryResult(question.model, question.release, not code, code, "why", 1, once=True)
            finding = self.canaries.answered(result, self.now)
            if finding is not None:
                self.findings.append((self.now, finding))
        self.answers.pop("", None)

    def minutes(self, count: int, *used: str, watched: Collection[str] = ()) -> list[str]:
        """The models that were asked meanwhile."""
        self.asked.clear()
        for _ in range(count * MINUTES):
            self.second(*used, watched=watched)
        return [question.model for question in self.asked if question.model]

    def watched_canary(self, code: str = "") -> None:
        """One of a trial came back."""
        self.canaries.answered(CanaryResult("trial", 2, not code, code, "why", 1), self.now)

    def is_well(self) -> bool:
        return self.canaries.well(self.now)

    def _count(self, model: str, stage: str, waiting: int = 0) -> None:
        self.canaries.counters(
            Counters(model, 3, "b" * 64, stage, self.workers[model], answers=self.answers[model], waiting=waiting),
            self.now,
        )


@pytest.fixture
def device() -> Device:
    made = Device()
    made.serve("m")
    return made


def test_a_model_in_use_is_asked_each_minute(device: Device) -> None:
    asked = device.minutes(10, "m")
    assert len(asked) == 10
    assert device.asked[0] == Question("m", 3, "b" * 64)
    assert device.findings == []
    assert device.is_well()


def test_a_model_that_nobody_uses_is_not_asked_and_not_kept_awake_by_the_canary(device: Device) -> None:
    assert device.minutes(10) == []


def test_one_use_costs_one_canary(device: Device) -> None:
    device.second("m")
    asked = [question.model for question in device.asked] + device.minutes(30)
    assert asked.count("m") == len(asked) == 1


def test_what_was_answered_before_the_agent_came_is_no_use() -> None:
    device = Device()
    device.answers["m"], device.workers["m"], device.codes["m"] = 5_000, 100, ""
    assert device.minutes(5) == []


def test_a_new_worker_counts_from_nothing(device: Device) -> None:
    device.minutes(3, "m")
    device.answers["m"], device.workers["m"] = 0, 101
    assert device.minutes(3) == []
    assert len(device.minutes(3, "m")) == 3


def test_a_model_that_is_watched_or_on_trial_is_asked_elsewhere(device: Device) -> None:
    assert device.minutes(5, "m", watched={"m"}) == []
    for _ in range(5 * MINUTES):
        device.second("m", stage="trial")
    assert [question for question in device.asked if question.model] == []


def test_where_no_model_is_asked_the_runtime_itself_is(device: Device) -> None:
    device.minutes(10)
    assert len(device.asked) in (9, 10)
    assert set(device.asked) == {Question()}


@pytest.mark.parametrize("code", ["deadline", "inference-failed", "unreachable", "internal"])
def test_three_failures_in_a_row_ask_for_another_worker(device: Device, code: str) -> None:
    device.minutes(2, "m")
    device.codes["m"] = code
    device.minutes(FAILURES - 1, "m")
    assert device.findings == []
    device.minutes(1, "m")
    ((_, finding),) = device.findings
    assert (finding.model, finding.release, finding.failures, finding.code) == ("m", 3, FAILURES, code)
    assert f"3 canaries in a row failed, the last by {code}" in device.canaries.warnings[0]


def test_a_failed_canary_is_asked_again_though_nobody_uses_the_model(device: Device) -> None:
    device.minutes(1, "m")
    device.codes["m"] = "deadline"
    device.second("m")
    device.minutes(5)
    assert [finding.failures for _, finding in device.findings] == [3, 6]


def test_an_answer_ends_the_row_and_the_warning(device: Device) -> None:
    device.codes["m"] = "deadline"
    device.minutes(FAILURES - 1, "m")
    device.codes["m"] = ""
    device.minutes(1, "m")
    device.codes["m"] = "deadline"
    device.minutes(FAILURES - 1, "m")
    assert device.findings == []
    device.minutes(2, "m")
    assert device.canaries.warnings != ()
    device.codes["m"] = ""
    device.minutes(1, "m")
    assert device.canaries.warnings == ()


@pytest.mark.parametrize("code", sorted(NOT_THE_RELEASE))
def test_what_is_no_fault_of_the_release_is_none(device: Device, code: str) -> None:
    device.codes["m"] = code
    device.minutes(20, "m")
    assert device.findings == []
    assert device.canaries.warnings == ()


def test_a_worker_is_renewed_ever_more_seldom(device: Device) -> None:
    device.codes["m"] = "inference-failed"
    device.minutes(24 * 60, "m")
    assert [finding.failures for _, finding in device.findings][:6] == [3, 6, 12, 24, 48, 96]
    gaps = [later - sooner for (sooner, _), (later, _) in zip(device.findings, device.findings[1:], strict=False)]
    assert max(gaps) <= (FAILURES_LAST + 1) * (CANARY_COMMITTED_S + 1)


def test_a_runtime_that_is_silent_is_not_well_once_another_worker_has_not_helped(device: Device) -> None:
    device.minutes(2, "m")
    device.codes["m"] = "deadline"
    device.minutes(HELPLESS - 1, "m")
    assert device.is_well()
    device.minutes(2, "m")
    assert not device.is_well()
    device.codes["m"] = ""
    device.minutes(1, "m")
    assert device.is_well()


def test_a_release_that_answers_by_an_error_is_no_reason_to_start_the_runtime_anew(device: Device) -> None:
    device.codes["m"] = "inference-failed"
    device.minutes(60, "m")
    assert device.is_well()


def test_a_model_that_is_silent_while_another_one_answers_is_no_reason_either(device: Device) -> None:
    device.serve("other")
    device.codes["m"] = "deadline"
    device.minutes(60, "m", "other")
    assert device.is_well()
    assert len(device.findings) > 1


def test_a_silent_model_beside_a_trial_that_answers_is_none_either(device: Device) -> None:
    device.codes["m"] = "deadline"
    for _ in range(30):
        device.minutes(1, "m")
        device.watched_canary()
    assert device.is_well()
    for _ in range(5):
        device.minutes(1, "m")
        device.watched_canary("deadline")
    assert not device.is_well()


def test_a_runtime_that_does_not_answer_for_itself_is_not_well(device: Device) -> None:
    device.codes[""] = "runtime-away"
    device.minutes(FAILURES + 2)
    assert not device.is_well()
    device.watched_canary()
    assert device.is_well()
    for _ in range(FAILURES):
        device.watched_canary("runtime-away")
    assert not device.is_well()


def test_of_another_runtime_nothing_is_known(device: Device) -> None:
    device.codes["m"] = "deadline"
    device.minutes(10, "m")
    assert not device.is_well()
    device.canaries.begin_anew()
    assert device.is_well()
    assert device.canaries.warnings == ()


def test_the_failures_of_one_release_are_not_those_of_the_next(device: Device) -> None:
    device.codes["m"] = "deadline"
    device.minutes(FAILURES, "m")
    device.canaries.counters(Counters("m", 4, "c" * 64, "committed", 200), device.now)
    assert device.canaries.warnings == ()
    late = CanaryResult("m", 3, False, "deadline", "why", 1, once=True)
    assert device.canaries.answered(late, device.now) is None
    assert device.canaries.warnings == ()


def test_a_model_that_is_gone_is_forgotten(device: Device) -> None:
    device.canaries.counters(Counters("m", 3, "b" * 64, "trial", 100), 1.0)
    assert device.canaries.answered(CanaryResult("m", 3, False, "deadline", "", 1, once=True), 1.0) is None


def test_a_model_that_was_unloaded_since_it_was_used_is_not_woken(device: Device) -> None:
    device.minutes(1, "m")
    device.second("m")
    del device.answers["m"]  # nothing is told of it any more
    assert device.minutes(5) == []


@pytest.mark.parametrize("code", ["no-release", "unknown-model"])
def test_a_model_that_was_removed_is_asked_and_warned_of_no_more(device: Device, code: str) -> None:
    device.codes["m"] = "deadline"
    device.minutes(FAILURES, "m")
    assert device.canaries.warnings != ()
    device.codes["m"] = code
    del device.answers["m"]
    assert device.minutes(5) == ["m"]
    assert device.canaries.warnings == ()
