"""An app says what it thinks of an answer: to the real host, and to the fake server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from littoral import errors
from littoral.client import stats
from tests.agent.runtime import scripted
from tests.agent.runtime.device import until
from tests.littoral.client.sides import FakeSide, Side

QUESTION = b"\x01\x02\x03\x04"
MODEL = scripted.model(answer=1)


def votes(side: Side) -> tuple[int, int, list[str]]:
    told = stats(side.socket)["m"]
    return told["votes"], told["votes_bad"], told["notes"]


@pytest.mark.parametrize(("verdict", "bad"), [(True, 0), ("good", 0), (False, 1), ("bad", 1)])
def test_a_report_is_counted(side: Side, verdict: bool, bad: int) -> None:
    side.serve(MODEL)
    asking = side.client()
    answer = asking.infer(QUESTION)
    assert asking.report(answer, verdict, "no \u00e9t\u00e9")
    until(lambda: votes(side) == (1, bad, ["no \u00e9t\u00e9"] * bad), "a vote")


def test_what_was_submitted_is_reported_in_any_order_while_more_is_on_its_way(side: Side) -> None:
    side.serve(MODEL)
    asking = side.client()
    ids = [asking.submit(bytes([number] * 4)) for number in range(5)]
    first = asking.wait(ids[0])
    assert first.id == ids[0]
    assert asking.report(first, "good")
    rest = asking.poll()
    assert [id for id, _ in rest] == ids[1:]
    for _, outcome in reversed(rest):
        assert not isinstance(outcome, errors.LittoralError)
        assert asking.report(outcome, "good")
    assert asking.infer(QUESTION).data == bytes(byte + 1 for byte in QUESTION)


def test_an_answer_of_the_release_before_counts_for_nobody(side: Side) -> None:
    side.serve(MODEL, scripted.model(answer=2))
    asking = side.client()
    old = asking.infer(QUESTION)
    side.switch(2)
    assert not asking.report(old, "bad")
    assert asking.report(asking.infer(QUESTION), "good")


def test_an_answer_of_another_client_is_unknown(side: Side) -> None:
    side.serve(MODEL)
    asking, other = side.client(), side.client()
    answer = asking.infer(QUESTION)
    with pytest.raises(errors.UnknownAnswerError):
        other.report(answer, "bad")
    assert asking.report(answer, "bad")


def test_an_answer_got_before_the_runtime_was_started_again_counts_for_nobody(side: Side) -> None:
    side.serve(MODEL)
    asking = side.client()
    answer = asking.infer(QUESTION)
    side.kill()
    side.revive()
    assert not asking.report(answer, "bad")
    assert asking.report(asking.infer(QUESTION), "bad")


@pytest.mark.parametrize(("verdict", "note"), [("fine", ""), (None, ""), ("bad", "x" * 201), ("bad", "\ud800")])
def test_what_is_no_report_is_not_sent(side: Side, verdict: object, note: str) -> None:
    side.serve(MODEL)
    asking = side.client()
    answer = asking.infer(QUESTION)
    with pytest.raises(errors.ReportError):
        asking.report(answer, verdict, note)  # type: ignore[arg-type]
    assert asking.report(answer, "good")


def test_who_reports_too_often_waits_as_long_as_the_runtime_says(side: Side) -> None:
    side.serve(MODEL)
    asking = side.client(latest=True)
    answer = asking.infer(QUESTION)
    if isinstance(side, FakeSide):
        side.be_busy(3)
    assert all(asking.report(answer, "good") for _ in range(130))


def test_a_subscriber_reports_what_others_were_answered_and_misses_nothing(side: Side) -> None:
    side.serve(MODEL)
    listening, asking = side.subscription(), side.client()
    asking.infer(QUESTION)
    first = listening.next()
    assert first is not None
    for number in range(4):
        asking.infer(bytes([number] * 4))
    assert listening.report(first, "bad", "no cat")
    until(lambda: votes(side)[1:] == (1, ["no cat"]), "a vote")
    later = [listening.next() for _ in range(4)]
    assert [result.id for result in later if result] == [2, 3, 4, 5]
    with pytest.raises(errors.UnknownAnswerError):
        listening.report(replace(first, id=99), "bad")
    assert listening.report(first, "good")
