"""submit and poll: many requests on their way at once, and what becomes of them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from littoral import errors
from littoral.client import Answer, Client, stats
from littoral.client.exchange import Outcome
from tests.agent.runtime import scripted
from tests.agent.runtime.device import PATIENCE_S, until
from tests.littoral.client.sides import RealSide, Side

MIB = 1024 * 1024
LARGE = {"inputs": [["in", "uint8", [MIB], 0.0, 0]], "outputs": [["out", "uint8", [MIB], 0.0, 0]]}


def question(number: int) -> bytes:
    return bytes((number, 0, 0, 0))


def collect(asking: Client, count: int) -> list[tuple[int, Outcome]]:
    """The next `count` that end."""
    ended: list[tuple[int, Outcome]] = []
    while len(ended) < count:
        more = asking.poll(PATIENCE_S)
        assert more, f"{len(ended)} of {count} ended"
        ended += more
    return ended


def firsts(ended: list[tuple[int, Outcome]]) -> list[int]:
    """The first byte of each answer."""
    return [outcome.data[0] for _, outcome in ended if isinstance(outcome, Answer)]


def test_answers_come_in_the_order_of_the_questions(side: Side) -> None:
    side.serve(scripted.model(answer=1))
    asking = side.client()
    ids = [asking.submit(question(n)) for n in range(50)]
    ended = collect(asking, 50)
    assert [id for id, _ in ended] == ids
    assert firsts(ended) == list(range(1, 51))


def test_poll_gives_each_answer_once_and_does_not_wait_when_nothing_was_asked(side: Side) -> None:
    side.serve(scripted.model())
    asking = side.client()
    assert asking.poll(PATIENCE_S) == []
    asking.submit(question(1))
    assert len(collect(asking, 1)) == 1
    assert asking.poll(PATIENCE_S) == []


def test_one_answer_can_be_waited_for_and_the_others_are_kept(side: Side) -> None:
    side.serve(scripted.model())
    asking = side.client()
    ids = [asking.submit(question(n)) for n in range(3)]
    answer = asking.wait(ids[1])
    assert isinstance(answer, Answer)
    assert answer.data[0] == 1
    assert asking.infer(question(9)).data[0] == 9
    assert [id for id, _ in collect(asking, 2)] == [ids[0], ids[2]]
    with pytest.raises(KeyError):
        asking.wait(ids[1])


def test_what_was_submitted_may_be_overwritten_at_once(side: Side) -> None:
    side.serve(scripted.model())
    asking = side.client()
    buffer = bytearray(question(1))
    side.kill()
    asking.submit(buffer)  # nobody has taken it yet
    buffer[:] = question(2)
    side.revive()
    assert firsts(collect(asking, 1)) == [1]


def test_large_requests_and_large_answers_do_not_wait_for_each_other(side: Side) -> None:
    side.serve(scripted.model(**LARGE))
    asking = side.client()
    for number in range(12):
        asking.submit(bytes([number]) * MIB)
    assert firsts(collect(asking, 12)) == list(range(12))


def test_what_was_not_answered_is_asked_again_in_order_when_the_runtime_is_back(side: Side) -> None:
    side.serve(scripted.model(answer=1))
    asking = side.client()
    side.kill()
    ids = [asking.submit(question(n)) for n in range(5)]
    assert asking.poll() == []
    side.revive()
    ended = collect(asking, 5)
    assert ([id for id, _ in ended], firsts(ended)) == (ids, [1, 2, 3, 4, 5])
    assert asking.connections == 2


def test_a_worker_that_is_killed_is_not_noticed(tmp_path: Path) -> None:
    side = RealSide(tmp_path)
    side.serve(scripted.model(answer=1, delay_ms=20))
    try:
        asking = side.client()
        until(lambda: stats(side.socket), "the worker's counters")
        worker = stats(side.socket)["m"]["worker"]
        ids = [asking.submit(question(n)) for n in range(30)]
        ended = asking.poll(PATIENCE_S)
        os.kill(worker, signal.SIGKILL)
        ended += collect(asking, 30 - len(ended))
    finally:
        side.stop()
    assert ([id for id, _ in ended], firsts(ended)) == (ids, list(range(1, 31)))
    assert asking.connections == 2


def test_each_request_fails_by_itself_when_the_runtime_stays_away(side: Side) -> None:
    side.serve(scripted.model(answer=1))
    asking = side.client()
    side.kill()
    brief, patient = asking.submit(question(1), timeout_s=0.01), asking.submit(question(2))
    [(id, outcome)] = collect(asking, 1)
    assert id == brief
    assert isinstance(outcome, errors.UnreachableError)
    side.revive()
    assert isinstance(asking.wait(patient), Answer)


def test_requests_go_on_through_a_switch(side: Side) -> None:
    side.serve(scripted.model(answer=1), scripted.model(answer=2))
    asking = side.client()
    asking.submit(question(0))
    asking.wait(1)
    side.switch(2)
    ended = collect(asking, 1) if asking.submit(question(0)) else []
    assert firsts(ended) == [2]
    assert asking.release == 2


def test_with_latest_the_newest_is_answered_and_those_it_replaced_say_so(side: Side) -> None:
    side.serve(scripted.model(delay_ms=100))
    asking = side.client(latest=True)
    ids = [asking.submit(question(n)) for n in range(8)]
    ended = collect(asking, 8)
    assert [id for id, _ in ended] == ids
    kinds = [type(outcome) for _, outcome in ended]
    assert kinds[-1] is Answer
    assert set(kinds) == {Answer, errors.ReplacedError}
    assert kinds.count(errors.ReplacedError) >= 5


# --- an interface that changes while requests are on their way -----------------------------------------------------

INT8 = {"inputs": [["in", "int8", [1, 4], 0.5, 10]], "outputs": [["out", "int8", [1, 4], 0.25, -8]]}
REQUANTIZED = {**INT8, "inputs": [["in", "int8", [1, 4], 0.25, 0]]}


def test_bytes_for_the_old_interface_are_refused_until_the_app_has_been_told(side: Side) -> None:
    side.serve(scripted.model(**INT8), scripted.model(**REQUANTIZED))
    asking = side.client()
    side.switch(2)
    first, second = asking.submit(question(1)), asking.submit(question(2))
    with pytest.raises(errors.StaleInterfaceError):
        asking.wait(first)
    assert asking.interface.inputs[0].scale == 0.25
    with pytest.raises(errors.StaleInterfaceError):
        asking.wait(second)
    assert asking.infer(question(3)).release == 2
