"""A worker that is to do less: it rests, clients wait, and nothing is lost, reordered or refused."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.engine import Tuning
from agent.runtime.worker.pace import GATHERED_NS, LONGEST_NS, Pace, rest_ns
from littoral.wire import query
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeLone
from tests.agent.runtime.lone import Lone, Peer
from tests.agent.runtime.worker.test_server import ANSWER, TWO, ask, wait_for_runs

MS = 1_000_000
ONE = Tuning()


# --- the arithmetic -----------------------------------------------------------------------------------------------


def runs(pace: Pace, run_ns: int, until_ns: int, every_ns: int = 0) -> int:
    """How many runs of this length there are until then, of a client that asks at once, or so often."""
    now_ns = count = 0
    while now_ns < until_ns:
        now_ns += round(pace.left_s(now_ns) * 1e9)
        pace.ran(now_ns, now_ns + run_ns)
        now_ns += max(run_ns, every_ns)
        count += 1
    return count


@pytest.mark.parametrize("run_ns", [20_000, 3 * MS, 40 * MS])
@pytest.mark.parametrize(("rest_percent", "share"), [(50, 2 / 3), (100, 1 / 2), (300, 1 / 4)])
def test_of_all_time_so_much_is_left_for_runs(run_ns: int, rest_percent: int, share: float) -> None:
    while_ns = 10_000 * MS
    assert runs(Pace(rest_percent), run_ns, while_ns) == pytest.approx(share * while_ns / run_ns, rel=0.02, abs=2)


def test_a_worker_that_is_idle_long_enough_anyway_rests_no_more() -> None:
    pace = Pace(100)
    assert runs(pace, 10 * MS, 1_000 * MS, every_ns=50 * MS) == 20
    assert pace.left_s(1_000 * MS) == 0.0


@given(st.integers(0, 10**11), st.integers(0, 10_000))
def test_no_rest_is_longer_than_a_second(run_ns: int, rest_percent: int) -> None:
    assert 0 <= rest_ns(run_ns, rest_percent) <= LONGEST_NS
    pace = Pace(rest_percent)
    now_ns = 0
    for _ in range(5):
        now_ns += round(pace.left_s(now_ns) * 1e9)
        pace.ran(now_ns, now_ns + run_ns)
        now_ns += run_ns
        assert pace.left_s(now_ns) * 1e9 <= LONGEST_NS + GATHERED_NS


# --- a worker -----------------------------------------------------------------------------------------------------


def paced(worker: Lone, rest_percent: int) -> None:
    worker.channel.send("pace", {"rest_percent": rest_percent})


def answers_in_order(peer: Peer, count: int) -> None:
    for number in range(count):
        assert peer.answer(number).data == bytes([number + 1] * 4)


@pytest.mark.parametrize("tuning", [ONE, TWO], ids=["in the loop", "in threads"])
def test_every_request_is_answered_in_its_order_and_none_is_told_to_come_again(lone: MakeLone, tuning: Tuning) -> None:
    worker = lone(scripted.model(answer=1, delay_ms=2), queue_bytes=200, tuning=tuning)
    peers = [worker.greeted() for _ in range(3)]
    paced(worker, 200)
    assert ask(peers[0]) == ANSWER
    for peer in peers:  # more than may wait in a worker: the rest stays with the clients
        peer.send(*(peer.infer(bytes([n] * 4), n) for n in range(40)))
    for peer in peers:
        answers_in_order(peer, 40)
    worker.counts(answers=121, busy=0, errors=0)


@pytest.mark.parametrize("tuning", [ONE, TWO], ids=["in the loop", "in threads"])
def test_a_paced_worker_answers_less_than_one_that_is_not(lone: MakeLone, tuning: Tuning) -> None:
    """Counted beside each other, on the same machine at the same time."""
    counted: Counter[str] = Counter()
    enough = threading.Event()

    def ask_all_the_time(name: str, peer: Peer) -> None:
        while not enough.is_set():
            ask(peer)
            counted[name] += 1
            if counted["free"] >= 120:
                enough.set()

    free, slow = (lone(scripted.model(answer=1, delay_ms=8), tuning=tuning) for _ in range(2))
    paced(slow, 400)
    clients = [
        threading.Thread(target=ask_all_the_time, args=(name, worker.greeted()))
        for name, worker in (("free", free), ("slow", slow))
        for _ in range(2)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert 0 < counted["slow"] < counted["free"] / 2


def test_of_each_client_only_one_request_is_read_ahead(lone: MakeLone, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    worker = lone(scripted.model(answer=1, gate=str(gate)), tuning=TWO)
    paced(worker, 100)
    peer = worker.greeted()
    peer.send(*(peer.infer(bytes([n] * 4), n) for n in range(30)))
    wait_for_runs(gate, 1)
    worker.counts(answers=0, waiting=1)
    gate.touch()
    answers_in_order(peer, 30)


def test_of_a_client_that_wants_only_its_newest_the_newest_is_kept(lone: MakeLone) -> None:
    worker = lone(scripted.model(delay_ms=20))
    paced(worker, 100)
    peer = worker.greeted(latest=True)
    peer.send(*(peer.infer(bytes([n] * 4), n) for n in range(9)))
    for number in range(8):
        assert peer.code(number) == "replaced"
    assert peer.answer(8).data == bytes([8] * 4)


@pytest.mark.parametrize("tuning", [ONE, TWO], ids=["in the loop", "in threads"])
def test_while_it_rests_it_takes_in_clients_and_ends_when_it_is_told_to(lone: MakeLone, tuning: Tuning) -> None:
    worker = lone(scripted.model(answer=1, delay_ms=30), tuning=tuning)
    paced(worker, 10_000)  # a second after each run
    first = worker.greeted()
    ask(first)
    first.send(*(first.infer(bytes([n] * 4), n) for n in range(4)))
    worker.greeted()  # is told its welcome during a rest
    carried = worker.drain()
    assert len(carried) == 2
    heir = lone(scripted.model(answer=1), release=2)
    for each in carried:
        heir.give(each)
    first_frame = first.next()
    while first_frame is not None and first_frame.kind is query.Kind.EVENT:
        first_frame = first.next()
    assert first_frame is not None
    assert query.parse_answer(first_frame).data == bytes([1] * 4)
    for number in range(1, 4):
        assert answer_after_events(first, number) == bytes([number + 1] * 4)


def answer_after_events(peer: Peer, id: int) -> bytes:
    frame = peer.next()
    while frame is not None and frame.kind is query.Kind.EVENT:
        frame = peer.next()
    assert frame is not None
    assert (frame.kind, frame.id) == (query.Kind.ANSWER, id)
    return bytes(query.parse_answer(frame).data)


def test_at_full_pace_again_it_reads_ahead_and_answers_as_before(lone: MakeLone, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    worker = lone(scripted.model(answer=1, gate=str(gate)), tuning=TWO)
    paced(worker, 10_000)
    peer = worker.greeted()
    peer.send(*(peer.infer(bytes([n] * 4), n) for n in range(30)))
    wait_for_runs(gate, 1)
    paced(worker, 0)
    worker.counts(answers=0, waiting=29)
    gate.touch()
    answers_in_order(peer, 30)
    worker.greeted()
    assert ask(peer) == ANSWER


def test_a_handed_over_connection_keeps_to_the_pace_of_its_new_worker(lone: MakeLone, tmp_path: Path) -> None:
    old = lone(scripted.model(answer=1, delay_ms=30))
    peer = old.greeted()
    peer.send(*(peer.infer(bytes([n] * 4), n) for n in range(20)))
    assert peer.answer(0).data == bytes([1] * 4)
    carried = old.drain()
    new = lone(scripted.model(answer=1, delay_ms=1))
    paced(new, 300)
    for each in carried:
        new.give(each)
    for number in range(1, 20):
        assert answer_after_events(peer, number) == bytes([number + 1] * 4)
