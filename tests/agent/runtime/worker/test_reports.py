"""What apps report of a worker's answers: what counts, what is refused, and the votes that come of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from agent.runtime.engine import Tuning
from agent.runtime.handover import State
from agent.runtime.worker.connection import Connection
from agent.runtime.worker.reports import MOST_PER_S, Reports, plain
from littoral.wire import query
from littoral.wire.report import REPORT_HEAD, Report, report
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeLone
from tests.agent.runtime.lone import Lone, Peer
from tests.agent.runtime.worker.test_connection import LIMIT, pair
from tests.agent.runtime.worker.test_server import QUESTION, ask


def tell(peer: Peer, answer: int, *, good: bool = False, note: str = "", release: int = 1, id: int = 900) -> None:
    peer.send(report(Report(answer, release, good, note), id))


def counts(peer: Peer, answer: int = 1, **fields: object) -> bool:
    """Whether the report was taken and counts."""
    tell(peer, answer, **fields)  # type: ignore[arg-type]
    return bool(peer.info(900)["counted"])


@pytest.fixture
def worker(lone: MakeLone) -> Lone:
    return lone(scripted.model(answer=1))


def test_a_report_becomes_a_vote(worker: Lone) -> None:
    peer = worker.greeted(uid=5)
    ask(peer)
    assert counts(peer)
    worker.counts(votes=1, votes_bad=1, answers=1)


@contextmanager
def clients(*uids: int) -> Iterator[list[Connection]]:
    """A connection of each, which got answers up to 9."""
    with ExitStack() as opened:
        states = [State(limit_bytes=LIMIT, uid=uid, answered=9) for uid in uids]
        yield [opened.enter_context(pair(state))[1] for state in states]


def said(reports: Reports, connection: Connection, verdicts: str) -> None:
    """`b` and `g`, one report each."""
    for verdict in verdicts:
        data = report(Report(9, 1, verdict == "g"), 1)
        assert reports.take(connection, query.Frame(query.Kind.REPORT, 1, data[query.HEADER.size :]))


@pytest.mark.parametrize(("verdicts", "bad"), [("bgb", 1), ("bg", 0), ("g", 0), ("b", 1), ("bbbbggb", 1), ("gggb", 0)])
def test_most_of_what_a_client_says_in_a_second_is_its_one_vote(verdicts: str, bad: int) -> None:
    reports = Reports()
    with clients(5) as [client]:
        said(reports, client, verdicts)
    assert reports.votes() == (1, bad)


def test_a_client_has_one_vote_on_all_its_connections() -> None:
    reports = Reports()
    with clients(5, 5, 5, 6) as [*greedy, modest]:
        for connection in greedy:
            said(reports, connection, "b" * 30)
        said(reports, modest, "g")
    assert reports.votes() == (2, 1)


def test_a_vote_is_counted_once() -> None:
    reports = Reports()
    with clients(5) as [client]:
        said(reports, client, "b")
        assert reports.votes() == (1, 1)
        assert reports.votes() == (0, 0)
        said(reports, client, "g")
        assert reports.votes() == (1, 0)


def test_a_client_that_may_report_no_more_may_again_within_the_second() -> None:
    reports = Reports()
    waits = [reports.wait_ms(5, 0) for _ in range(MOST_PER_S + 1)]
    assert waits[:-1] == [0] * MOST_PER_S
    assert 0 < waits[-1] < 1_000
    assert reports.wait_ms(6, 0) == 0
    assert reports.wait_ms(5, waits[-1] * 1_000_000) == 0


def test_an_answer_of_the_long_way_and_one_of_a_thread_can_be_reported(lone: MakeLone) -> None:
    for tuning in (Tuning(), Tuning(interpreters=2)):
        worker = lone(scripted.model(answer=1), tuning=tuning)
        peer = worker.greeted()
        peer.send(*(peer.infer(QUESTION, id) for id in (1, 2, 3)))
        for id in (1, 2, 3):
            peer.answer(id)
        assert all(counts(peer, id) for id in (3, 2, 1))


def test_a_report_of_another_releases_answer_counts_for_nobody(worker: Lone) -> None:
    peer = worker.greeted()
    ask(peer)
    assert not counts(peer, release=2)
    assert not counts(peer, 77, release=2)
    ask(peer, id=2)
    assert worker.counts(answers=2)["votes"] == 0


@pytest.mark.parametrize("answer", [0, 2, 2**64 - 1])
def test_an_answer_that_this_connection_did_not_get_is_unknown(worker: Lone, answer: int) -> None:
    peer, other = worker.greeted(), worker.greeted()
    ask(peer)
    ask(other, id=5)
    tell(peer, answer)
    assert peer.code(900) == "unknown-answer"
    ask(peer, id=2)
    assert worker.counts(answers=3)["votes"] == 0


def test_reports_and_requests_are_answered_in_their_order(worker: Lone) -> None:
    peer = worker.greeted()
    asked = [peer.infer(QUESTION, 1), report(Report(1, 1, good=True), 2), peer.infer(QUESTION, 3)]
    peer.send(*asked, report(Report(4, 1, good=True), 4), report(Report(3, 1, good=True), 5))
    peer.answer(1)
    assert peer.info(2) == {"counted": True}
    peer.answer(3)
    assert peer.code(4) == "unknown-answer"
    assert peer.info(5) == {"counted": True}


@pytest.mark.parametrize("body", [b"", REPORT_HEAD.pack(1, 1, 7), REPORT_HEAD.pack(1, 1, 0) + b"\xff", bytes(100_000)])
def test_what_is_no_report_is_refused_by_name_and_the_connection_goes_on(worker: Lone, body: bytes) -> None:
    peer = worker.greeted()
    ask(peer)
    peer.send(query.frame(query.Kind.REPORT, body, 4))
    assert peer.code(4) == "bad-report"
    assert counts(peer)


def test_who_reports_too_often_is_busy_on_all_connections_and_others_are_not(worker: Lone) -> None:
    first, second, other = worker.greeted(uid=5), worker.greeted(uid=5), worker.greeted(uid=6)
    for peer in (first, second, other):
        ask(peer)
    refused = 0
    for id in range(8 * MOST_PER_S):  # in turns, so that both connections are heard
        tell((first, second)[id % 2], 1, id=id)
    for id in range(8 * MOST_PER_S):
        frame = (first, second)[id % 2].next()
        assert frame is not None
        assert frame.id == id
        if frame.kind is query.Kind.ERROR:
            assert frame.json()["code"] == "busy"
            assert 1 <= frame.json()["retry_after_ms"] <= 1_000
            refused += 1
    assert refused > 0
    assert counts(other)


def test_a_subscriber_reports_what_it_was_sent(worker: Lone) -> None:
    subscriber, peer = worker.greeted(subscribes=True, uid=6), worker.greeted(uid=5)
    ask(peer, id=40)
    subscriber.answer(1)
    assert counts(subscriber, 1)
    tell(subscriber, 2)
    assert subscriber.code(900) == "unknown-answer"
    ask(peer, id=41)
    subscriber.answer(2)
    assert counts(subscriber, 2)


def test_only_the_newest_waits_and_no_report_is_displaced(lone: MakeLone) -> None:
    worker = lone(scripted.model(delay_ms=20))
    peer = worker.greeted(latest=True)
    reports = [report(Report(1, 1, good=True), id) for id in (2, 4)]
    peer.send(peer.infer(QUESTION, 1), reports[0], peer.infer(QUESTION, 3), reports[1])
    assert peer.code(1) == "replaced"
    assert peer.code(2) == "unknown-answer"
    peer.answer(3)
    assert peer.info(4) == {"counted": True}


def test_a_connection_that_is_handed_on_may_still_report_what_it_got_before(lone: MakeLone) -> None:
    old, again, newer = (lone(scripted.model(answer=1), release=release) for release in (1, 1, 2))
    peer = old.greeted()
    ask(peer, id=7)
    [carried] = old.drain()
    again.give(carried)
    assert counts(peer, 7)
    tell(peer, 8)
    assert peer.code(900) == "unknown-answer"
    [carried] = again.drain()
    newer.give(carried)
    peer.frame(query.Kind.EVENT)
    assert not counts(peer, 7)
    assert ask(peer, id=8)
    assert counts(peer, 8, release=2)


def test_votes_of_the_last_second_are_told_when_it_drains(worker: Lone) -> None:
    peer = worker.greeted()
    ask(peer)
    assert counts(peer, note="no cat")
    worker.channel.send("drain")
    assert worker.expect("notes").body == {"notes": ["no cat"]}
    assert worker.expect("drained").body["votes_bad"] == 1


def test_notes_of_the_newest_bad_reports_are_kept_as_plain_text(worker: Lone) -> None:
    peer = worker.greeted()
    ask(peer)
    for note in ("1", "2\x1b[31m\n", "", "3", "4"):
        counts(peer, note=note)
    counts(peer, good=True, note="well done")
    notes: list[str] = []
    while notes[-1:] != ["4"]:  # a tick may come in between
        notes = worker.expect("notes").body["notes"]
    assert notes == ["2 [31m", "3", "4"]


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        ("a\tb\r\n c", "a b c"),
        ("\x00\x7f\x9b", ""),
        ("über \u202egnoL", "über gnoL"),
        ("\u2028line", "line"),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_a_note_becomes_one_line_of_what_can_be_printed(note: str, kept: str) -> None:
    assert plain(note) == kept
