"""A worker's loop and its clients: queues, rates, turns, threads, states, signatures, subscribers."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from agent.runtime.engine import Tuning
from agent.runtime.handover import Carried, State
from littoral.wire import query
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeLone
from tests.agent.runtime.lone import Peer

QUESTION = b"\x00\x01\x02\x03"
ANSWER = b"\x01\x02\x03\x04"
BIG = 200_000
TWO = Tuning(interpreters=2)


def ask(peer: Peer, data: bytes = QUESTION, id: int = 1) -> bytes:
    peer.send(peer.infer(data, id))
    return bytes(peer.answer(id).data)


def wait_for_runs(gate: Path, count: int) -> None:
    """Until so many runs have come to the gate."""
    runs = gate.with_name(f"{gate.name}.runs")
    while not runs.exists() or runs.stat().st_size < count:
        time.sleep(0.002)


def big(**more: object) -> bytes:
    """A model of large answers."""
    return scripted.model(outputs=[["out", "uint8", [BIG], 0.0, 0]], **more)


def slow_input(size: int, **more: object) -> bytes:
    """A model of large inputs, whose every run takes a while."""
    return scripted.model(inputs=[["in", "uint8", [size], 0.0, 0]], **more)


# --- what waits -------------------------------------------------------------------------------------------------


def test_beyond_the_bytes_that_may_wait_a_request_is_busy_and_told_when_to_come_again(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1, delay_ms=20), queue_bytes=200)
    peer = worker.greeted()
    assert ask(peer) == ANSWER
    peer.send(*(peer.infer(QUESTION, n) for n in range(12)))  # in one piece, so that they are received together
    codes = []
    for number in range(12):
        frame = peer.next()
        assert frame is not None
        assert frame.id == number
        if frame.kind is query.Kind.ERROR:
            assert frame.json()["retry_after_ms"] >= 1
            codes.append(frame.json()["code"])
    assert codes == ["busy"] * len(codes) != []
    worker.counts(busy=len(codes), answers=13 - len(codes))


def test_a_client_with_nothing_else_waiting_is_not_refused_because_of_greedy_ones(
    lone: MakeLone, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    worker = lone(scripted.model(answer=1, gate=str(gate)), tuning=TWO, queue_bytes=40)
    greedy = [worker.greeted() for _ in range(6)]
    for peer in greedy:
        peer.send(peer.infer(QUESTION, 0), peer.infer(QUESTION, 1))
    wait_for_runs(gate, 2)
    modest = worker.greeted()  # by now more wait than may
    modest.send(modest.infer(QUESTION, 0))
    worker.greeted()
    gate.touch()
    for peer in (modest, *greedy):
        assert peer.answer(0).data == ANSWER
    assert greedy[-1].code(1) == "busy"


def test_only_the_newest_waits_where_the_client_wants_that(lone: MakeLone) -> None:
    worker = lone(scripted.model(delay_ms=20))
    peer = worker.greeted(latest=True)
    peer.send(*(peer.infer(bytes([n] * 4), n) for n in range(9)))  # in one piece, so that they are received together
    for number in range(8):
        assert peer.code(number) == "replaced"
    assert peer.answer(8).data == bytes([8] * 4)
    worker.counts(replaced=8, answers=1)


def test_what_a_newer_request_replaces_is_answered_in_its_order(lone: MakeLone, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    worker = lone(scripted.model(gate=str(gate)), tuning=TWO)
    peer = worker.greeted(latest=True)
    peer.send(peer.infer(bytes(4), 0))
    wait_for_runs(gate, 1)
    peer.send(peer.infer(bytes([1] * 4), 1), peer.infer(bytes([2] * 4), 2))
    worker.greeted()  # and these were received
    gate.touch()
    assert peer.answer(0).data == bytes(4)
    assert peer.code(1) == "replaced"
    assert peer.answer(2).data == bytes([2] * 4)


def test_large_frames_that_replace_each_other_do_not_pile_up(lone: MakeLone) -> None:
    size = 700_000
    worker = lone(slow_input(size, delay_ms=30))
    peer = worker.greeted(latest=True)
    sender = threading.Thread(target=lambda: peer.send(*(peer.infer(bytes([n]) * size, n) for n in range(12))))
    sender.start()
    kinds = []
    for number in range(12):
        frame = peer.next()
        assert frame is not None
        assert frame.id == number
        kinds.append(frame.kind)
    assert kinds[-1] is query.Kind.ANSWER
    sender.join()


def test_a_user_who_asks_too_often_is_busy_on_all_his_connections_and_others_are_not(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1))
    first, second = (worker.greeted(uid=5, requests_per_s=0.01) for _ in range(2))
    assert ask(first) == ANSWER
    for peer in (first, second):
        peer.send(peer.infer(QUESTION, 2))
        error = peer.error(2)
        assert error["code"] == "busy"
        assert error["retry_after_ms"] > 50_000
    assert ask(worker.greeted(uid=6, requests_per_s=0.01)) == ANSWER
    worker.counts(answers=2, busy=2)


def test_a_client_that_sends_no_whole_frame_holds_up_nobody(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1))
    silent, other = worker.greeted(), worker.greeted()
    silent.send(silent.infer(QUESTION, 1)[:-1])
    for number in range(20):
        assert ask(other, id=number) == ANSWER
    silent.send(QUESTION[-1:])
    assert silent.answer(1).data == ANSWER


def test_frames_of_any_size_within_the_limit_arrive_though_most_are_small(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1))
    peer = worker.greeted()
    for number in range(3):
        assert ask(peer) == ANSWER
        peer.send(query.frame(query.Kind.INFER, bytes(900_000), number))
        assert peer.code(number) == "stale-interface"


def test_a_frame_above_the_limit_of_access_is_refused_though_the_model_takes_more(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1))
    peer = worker.greeted(capped=True, limit_bytes=100)
    assert peer.welcome is not None
    assert peer.welcome.max_frame_bytes == 100
    assert ask(peer) == ANSWER
    peer.send(query.frame(query.Kind.INFER, bytes(101), 2))
    assert peer.code(0) == "frame-too-large"
    assert peer.next() is None


def test_the_limit_of_access_holds_for_a_request_as_the_model_takes_it_too(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1))
    peer = worker.greeted(capped=True, limit_bytes=35)
    peer.send(peer.infer(QUESTION, 1))
    assert peer.code(0) == "frame-too-large"
    assert peer.next() is None


# --- threads ----------------------------------------------------------------------------------------------------


def test_two_interpreters_run_at_the_same_time(lone: MakeLone) -> None:
    worker = lone(scripted.model(run="hang", on=9, answer=1), tuning=TWO)
    stuck, other = worker.greeted(), worker.greeted()
    stuck.send(stuck.infer(b"\x09\0\0\0", 1))
    for number in range(10):
        assert ask(other, id=number) == ANSWER
    worker.process.kill()


def test_with_threads_every_client_gets_its_own_answers_in_order(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1, delay_ms=1), tuning=Tuning(interpreters=3))
    peers = [worker.greeted() for _ in range(5)]
    for number in range(20):
        for n, peer in enumerate(peers):
            peer.send(peer.infer(bytes([n, number, 0, 0]), number))
    for n, peer in enumerate(peers):
        for number in range(20):
            assert peer.answer(number).data == bytes([n + 1, number + 1, 1, 1])
    worker.counts(answers=100)


def test_a_drain_waits_for_what_runs_in_threads_and_hands_back_the_rest(lone: MakeLone, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    worker = lone(scripted.model(answer=1, gate=str(gate)), tuning=TWO)
    peers = [worker.greeted() for _ in range(2)]
    for peer in peers:
        peer.send(*(peer.infer(QUESTION, n) for n in range(5)))
    wait_for_runs(gate, 2)
    found = worker.drain(gate)
    successor = lone(scripted.model(answer=2), release=2)
    for carried in found:
        successor.give(carried)
    for peer in peers:
        assert peer.answer(0).data == ANSWER
        assert releases(peer, range(1, 5))[-1] == 2


def releases(peer: Peer, ids: Iterable[int]) -> list[int]:
    """That answered QUESTION; a switch is told before the first answer of release 2."""
    found = []
    for id in ids:
        frame = peer.next()
        if frame is not None and frame.kind is query.Kind.EVENT:
            assert 2 not in found
            frame = peer.next()
        assert frame is not None
        assert (frame.id, frame.kind) == (id, query.Kind.ANSWER)
        answer = query.parse_answer(frame)
        assert answer.data == bytes(n + answer.release for n in QUESTION)
        found.append(answer.release)
    return found


def test_a_client_that_goes_while_its_request_runs_leaves_nothing_behind(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1, delay_ms=50), tuning=TWO)
    first = worker.greeted()
    before = worker.descriptors()
    for _ in range(5):
        peer = worker.greeted()
        peer.send(peer.infer(QUESTION, 1))
        peer.close()
    for _ in range(5):
        worker.expect("closed")
    assert ask(first) == ANSWER
    assert worker.descriptors() == before


# --- states -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tuning", [Tuning(), TWO], ids=["loop", "threads"])
def test_a_model_that_keeps_a_state_keeps_one_for_each_connection(lone: MakeLone, tuning: Tuning) -> None:
    worker = lone(scripted.model(stateful=True), tuning=tuning)
    first, second = worker.greeted(), worker.greeted()
    assert [ask(first, bytes(4))[0] for _ in range(3)] == [0, 1, 2]
    assert [ask(second, bytes(4))[0] for _ in range(2)] == [0, 1]
    assert ask(first, bytes(4))[0] == 3
    assert ask(worker.greeted(), bytes(4))[0] == 0


# --- signatures -------------------------------------------------------------------------------------------------

SIGNATURES = {"one": {"answer": 1}, "two": {"answer": 2, "inputs": [["other", "uint8", [2], 0.0, 0]]}}


def test_each_connection_runs_the_signature_it_named(lone: MakeLone) -> None:
    worker = lone(scripted.model(signatures=SIGNATURES))
    first, one, two = (worker.greeted(signature=name) for name in ("", "one", "two"))
    assert [ask(peer, b"\0\0\0\0") for peer in (first, one)] == [b"\1\1\1\1"] * 2
    assert ask(two, b"\0\0") == b"\2\2\2\2"
    assert two.welcome is not None
    assert (two.welcome.signature, two.welcome.signatures) == ("two", ("one", "two"))
    assert two.welcome.interface.input_bytes == 2


def test_a_request_made_for_another_signature_is_stale(lone: MakeLone) -> None:
    worker = lone(scripted.model(signatures=SIGNATURES))
    one, two = worker.greeted(), worker.greeted(signature="two")
    two.send(one.infer(b"\0\0\0\0", 1))
    error = two.error(1)
    assert error["code"] == "stale-interface"
    assert error["welcome"]["signature"] == "two"


def test_an_unknown_signature_is_unsupported_names_those_there_are_and_closes(lone: MakeLone) -> None:
    worker = lone(scripted.model(signatures=SIGNATURES))
    peer = worker.connect(signature="three")
    error = peer.error(0)
    assert error["code"] == "unsupported"
    assert "one, two" in error["cause"]
    assert peer.next() is None
    worker.expect("closed")


# --- switches ---------------------------------------------------------------------------------------------------


def test_a_switch_is_told_once_and_before_the_first_answer_of_the_new_release(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1))
    peer = worker.greeted()
    assert ask(peer) == ANSWER
    for release in (2, 3):
        (carried,) = worker.drain()
        worker = lone(scripted.model(answer=release), release=release)
        worker.give(carried)
        event = peer.frame(query.Kind.EVENT).json()
        assert event["event"] == "changed"
        assert query.parse_welcome(event["welcome"]).release == release
        assert ask(peer, bytes(4)) == bytes([release] * 4)


def test_the_same_release_started_anew_is_no_change(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1))
    peer = worker.greeted()
    (carried,) = worker.drain()
    lone(scripted.model(answer=1)).give(carried)
    assert ask(peer) == ANSWER


def test_requests_that_wait_through_a_switch_are_not_busy_afterwards(lone: MakeLone, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    worker = lone(scripted.model(answer=1, gate=str(gate)), tuning=TWO)
    peer = worker.greeted()
    peer.send(*(peer.infer(QUESTION, n) for n in range(10)))
    wait_for_runs(gate, 1)
    found = worker.drain(gate)
    assert len(State.from_memfd(found[0].state).received_ns) > 3
    successor = lone(scripted.model(answer=2), release=2, queue_bytes=100)
    for carried in found:
        successor.give(carried)
    releases(peer, range(10))


def test_a_replaced_request_that_waits_through_a_switch_is_answered_in_its_order(
    lone: MakeLone, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    worker = lone(scripted.model(answer=1, gate=str(gate)), tuning=TWO)
    peer = worker.greeted(latest=True)
    peer.send(peer.infer(QUESTION, 0))
    wait_for_runs(gate, 1)
    peer.send(peer.infer(QUESTION, 1), peer.infer(QUESTION, 2))
    worker.greeted()  # and these were received
    found = worker.drain(gate)
    successor = lone(scripted.model(answer=2), release=2)
    for carried in found:
        successor.give(carried)
    assert peer.answer(0).data == ANSWER
    assert peer.code(1) == "replaced"
    releases(peer, (2,))


# --- what the host is told --------------------------------------------------------------------------------------


def test_times_and_what_waits_are_counted(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1, delay_ms=20))
    peer = worker.greeted()
    peer.send(*(peer.infer(QUESTION, n) for n in range(3)), peer.infer(QUESTION, 3, deadline_us=1_000))
    for number in range(3):
        peer.answer(number)
    assert peer.code(3) == "deadline"
    counts = worker.counts(answers=3, expired=1)
    assert counts["invoked_us"] >= 60_000
    assert counts["queued_us"] >= 60_000  # one waited 20 ms, the other 40
    assert counts["waiting"] == 0


def test_the_stage_shows_in_answers_as_soon_as_the_host_says_so(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1), stage="trial")
    peer = worker.greeted()
    peer.send(peer.infer(QUESTION, 1))
    assert peer.answer(1).stage is query.Stage.TRIAL
    worker.channel.send("stage", {"stage": "committed"})
    worker.greeted()  # by now it is read
    peer.send(peer.infer(QUESTION, 2))
    assert peer.answer(2).stage is query.Stage.COMMITTED


def test_a_local_file_is_marked_so(lone: MakeLone) -> None:
    peer = lone(scripted.model(), stage="local").greeted()
    peer.send(peer.infer(QUESTION, 1))
    assert peer.answer(1).stage is query.Stage.LOCAL


def test_a_connection_that_the_worker_has_no_room_for_stays_the_hosts(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1))
    peer = worker.greeted()
    before = worker.descriptors()
    ours, theirs = socket.socketpair()
    end, other = os.pipe()  # no memory that can be mapped
    state = State(greet=True, shares=((0, 1_000),), next_share=1)
    worker.give(Carried(9, theirs.detach(), state.to_memfd(), (end,)))
    assert worker.expect("lost").body == {"id": 9}
    assert worker.descriptors() == before
    assert ask(peer) == ANSWER
    os.close(other)
    ours.close()
