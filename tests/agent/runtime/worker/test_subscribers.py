"""Connections that listen to a worker's answers, and ask nothing."""

from __future__ import annotations

from agent.runtime.worker.connection import UNSENT_BYTES
from littoral.wire import query
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeLone
from tests.agent.runtime.worker.test_server import (
    ANSWER,
    BIG,
    QUESTION,
    ask,
    big,
)


def test_a_subscriber_gets_a_copy_of_every_answer_with_ids_of_its_own(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1))
    subscriber, peer = worker.greeted(subscribes=True), worker.greeted()
    for number in range(5):
        assert ask(peer, bytes([number] * 4), id=77) == bytes([number + 1] * 4)
    for number in range(5):
        assert subscriber.answer(number + 1).data == bytes([number + 1] * 4)
    assert worker.counts(answers=5)["subscribers"] == 1


def test_a_subscriber_that_does_not_take_results_loses_them_is_told_and_holds_up_nobody(lone: MakeLone) -> None:
    worker = lone(big())
    subscriber, peer = worker.greeted(subscribes=True), worker.greeted()
    for number in range(30):
        assert len(ask(peer, id=number)) == BIG
    ids = [subscriber.frame(query.Kind.ANSWER).id for _ in range(3)]
    assert ids == [1, 2, 3]
    dropped = 0
    while True:  # until it has caught up: the next result is told what was lost before it
        peer.send(peer.infer(QUESTION, 99))
        peer.answer(99)
        frame = subscriber.next()
        assert frame is not None
        if frame.kind is query.Kind.EVENT:
            dropped = frame.json()["count"]
            break
        ids.append(frame.id)
    after = subscriber.frame(query.Kind.ANSWER).id
    assert ids == list(range(1, len(ids) + 1))
    assert after == ids[-1] + dropped + 1
    assert len(ids) * BIG > UNSENT_BYTES


def test_a_subscriber_that_sends_something_is_ended(lone: MakeLone) -> None:
    worker = lone(scripted.model())
    subscriber = worker.greeted(subscribes=True)
    subscriber.send(subscriber.infer(QUESTION, 1))
    assert subscriber.code(0) == "protocol"
    assert subscriber.next() is None


def test_a_subscriber_that_goes_is_forgotten(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1))
    worker.greeted(subscribes=True).close()
    peer = worker.greeted()
    worker.expect("closed")
    assert ask(peer) == ANSWER
    assert worker.counts(answers=1)["subscribers"] == 0


def test_subscribers_go_on_through_a_switch(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1))
    subscriber, peer = worker.greeted(subscribes=True), worker.greeted()
    ask(peer)
    assert subscriber.answer(1).data == ANSWER
    successor = lone(scripted.model(answer=2), release=2)
    for carried in worker.drain():
        successor.give(carried)
    for each in (subscriber, peer):
        assert each.frame(query.Kind.EVENT).json()["event"] == "changed"
    ask(peer)
    assert subscriber.answer(1).data == b"\2\3\4\5"
