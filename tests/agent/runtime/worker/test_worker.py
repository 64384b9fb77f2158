"""A worker on a real host, with models that do what their bytes say."""

from __future__ import annotations

import contextlib
import math
import struct
import threading
from dataclasses import replace

import pytest

from agent.runtime.worker.worker import LEAST_FRAME_BYTES, frame_limit
from littoral import client, errors
from littoral.bundle.manifest import Limits
from littoral.tensors import Interface, Tensor
from littoral.wire import query
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import Device, until

QUESTION = b"\x00\x01\x02\x03"
BIG = 200_000


def started(make: MakeDevice, limits: Limits | None = None, **model: object) -> Device:
    device = make()
    device.record("m", device.add("m", 1, scripted.model(**model), limits=limits))
    device.start()
    return device


def infer(welcome: query.Welcome, data: bytes, id: int, deadline_us: int = 0) -> bytes:
    return b"".join(query.infer(query.Infer(welcome.interface.digest, data, deadline_us), id))


def test_answers_keep_the_order_of_the_questions(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, answer=1)
    connection = device.raw()
    welcome = connection.hello("m")
    connection.send(*(infer(welcome, bytes([n] * 4), n) for n in range(200)))
    for number in range(200):
        frame = connection.frame(query.Kind.ANSWER)
        assert frame.id == number
        assert query.parse_answer(frame).data == bytes([number + 1] * 4)


@pytest.mark.parametrize("count", [2_000, 20_000], ids=["206 KB", "2 MB"])
def test_a_model_of_very_many_labels_is_served(scripted_device: MakeDevice, count: int) -> None:
    labels = [f'"{number:099d}' for number in range(count)]
    device = scripted_device()
    device.record("m", device.add("m", 1, scripted.model(answer=1), labels="\n".join(labels).encode()))
    device.start()
    assert device.raw().hello("m").interface.labels == tuple(labels)
    assert device.serves("m") == 1


def test_a_slow_sender_holds_up_nobody(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, answer=1)
    slow = device.raw()
    welcome = slow.hello("m")
    frame = infer(welcome, QUESTION, 1)
    with device.client("m") as quick:
        for at in range(len(frame)):
            slow.send(frame[at : at + 1])
            assert quick.infer(QUESTION).data == b"\1\2\3\4"
    slow.frame(query.Kind.ANSWER)


def test_a_busy_client_does_not_starve_another(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, delay_ms=2)
    busy = device.raw()
    welcome = busy.hello("m")
    busy.send(*(infer(welcome, QUESTION, n) for n in range(1_000)))
    with device.client("m") as other:
        for _ in range(5):
            other.infer(QUESTION)
    answered = 0
    busy.socket.setblocking(False)
    while True:
        try:
            busy.reader.feed(busy.socket.recv(1_000_000))
        except BlockingIOError:
            break
    while busy.reader.next() is not None:
        answered += 1
    assert answered < 1_000


def test_a_client_that_does_not_take_its_answers_is_not_read_from_and_loses_none(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, outputs=[["out", "uint8", [BIG], 0.0, 0]])
    lazy = device.raw()
    welcome = lazy.hello("m")
    questions = 50
    sender = threading.Thread(target=lambda: lazy.send(*(infer(welcome, QUESTION, n) for n in range(questions))))
    sender.start()
    until(lambda: client.stats(device.socket)["m"]["answers"] > 2, "the first answers")
    with device.client("m") as other:
        for _ in range(20):
            other.infer(QUESTION)
    assert client.stats(device.socket)["m"]["answers"] < questions
    for number in range(questions):
        frame = lazy.frame(query.Kind.ANSWER)
        assert (frame.id, len(query.parse_answer(frame).data)) == (number, BIG)
    sender.join()


def test_a_request_past_its_deadline_is_not_run(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, delay_ms=50)
    connection = device.raw()
    welcome = connection.hello("m")
    asked = [infer(welcome, QUESTION, 1), infer(welcome, QUESTION, 2, deadline_us=1_000), infer(welcome, QUESTION, 3)]
    connection.send(b"".join(asked))  # in one piece, so that all are received before the first is run
    connection.frame(query.Kind.ANSWER)
    assert connection.code() == "deadline"
    assert connection.frame(query.Kind.ANSWER).id == 3
    until(lambda: client.stats(device.socket)["m"]["answers"] == 2, "two answers to be counted")


def test_an_engine_that_fails_is_a_named_error_and_counted(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, run="fail", on=9)
    with device.client("m") as asking:
        with pytest.raises(errors.InferenceError, match="scripted"):
            asking.infer(b"\x09\0\0\0")
        assert asking.infer(QUESTION).data == QUESTION
    device.agent().expect_counts("m", answers=1, errors=1)


def test_failures_in_a_row_on_one_connection_are_one_run(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, run="fail", on=9)
    with device.client("m") as asking, device.client("m") as other:
        for first in (9, 9, 9, 0, 9, 9):
            with contextlib.suppress(errors.InferenceError):
                asking.infer(bytes([first, 0, 0, 0]))
            other.infer(QUESTION)
    device.agent().expect_counts("m", answers=7, errors=5, error_runs=2, received=12)


def test_a_client_that_connects_anew_for_each_request_makes_one_run_of_its_failures(
    scripted_device: MakeDevice,
) -> None:
    device = started(scripted_device, run="fail", on=9)
    for first in (0, 9, 9, 9, 0, 9):
        with device.client("m") as asking, contextlib.suppress(errors.InferenceError):
            asking.infer(bytes([first, 0, 0, 0]))
    device.agent().expect_counts("m", answers=2, errors=4, error_runs=2, received=6)


def test_what_is_received_is_counted_whichever_way_it_takes(scripted_device: MakeDevice) -> None:
    """One by one, which is answered at once, and many at once, which wait for their turn."""
    device = started(scripted_device)
    connection = device.raw()
    welcome = connection.hello("m")
    for number in range(3):
        connection.send(infer(welcome, QUESTION, number))
        connection.frame(query.Kind.ANSWER)
    connection.send(b"".join(infer(welcome, QUESTION, 3 + number) for number in range(20)))
    for _ in range(20):
        connection.frame(query.Kind.ANSWER)
    device.agent().expect_counts("m", answers=23, received=23)


def test_answers_that_are_no_numbers_are_delivered_and_counted(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, run="nan", outputs=[["out", "float32", [1], 0.0, 0]])
    with device.client("m") as asking:
        assert asking.infer(QUESTION).data == scripted.NAN
    device.agent().expect_counts("m", answers=1, invalid=1)


@pytest.mark.parametrize("interpreters", [1, 2])
def test_an_answer_to_what_is_no_number_need_not_be_one(scripted_device: MakeDevice, interpreters: int) -> None:
    tensors = {"inputs": [["in", "float32", [2], 0.0, 0]], "outputs": [["out", "float32", [1], 0.0, 0]]}
    device = scripted_device()
    slot = device.add("m", 1, scripted.model(run="nan", **tensors))
    device.record("m", replace(slot, interpreters=interpreters))
    device.start()
    with device.client("m") as asking:
        asking.infer(struct.pack("<2f", 1.0, math.nan))
        asking.infer(struct.pack("<2f", math.inf, 1.0))
        asking.infer(struct.pack("<2f", 1.0, 2.0))
    device.agent().expect_counts("m", answers=3, invalid=1)


def test_late_answers_and_equal_answers_are_counted(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, Limits(p95_us=1_000), run="constant", delay_ms=5)
    with device.client("m") as asking:
        for number in range(12):
            asking.infer(bytes([number, 0, 0, 0]))
    device.agent().expect_counts("m", answers=12, late=12, run_answers=12, run_inputs=12, longest_run_inputs=12)


def test_times_are_told_with_each_answer(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, delay_ms=20)
    connection = device.raw()
    welcome = connection.hello("m")
    connection.send(infer(welcome, QUESTION, 1) + infer(welcome, QUESTION, 2))
    first, second = (query.parse_answer(connection.frame(query.Kind.ANSWER)) for _ in range(2))
    assert first.invoked_us >= 20_000
    assert second.queued_us >= 15_000


def test_a_worker_that_dies_is_replaced_and_the_request_is_asked_again(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, answer=1, run="crash", on=9)
    with device.client("m") as asking:
        assert asking.infer(QUESTION).data == b"\1\2\3\4"
        killer = device.raw()
        killer.send(infer(killer.hello("m"), b"\x09\0\0\0", 1))
        assert killer.next() is None
        assert asking.infer(QUESTION).data == b"\1\2\3\4"


def test_frames_may_be_as_large_as_eight_inputs_and_never_less_than_a_mebibyte() -> None:
    small, large = (Interface((Tensor("in", "float32", (n,)),), ()) for n in (1, 1_000_000))
    assert frame_limit(small) == LEAST_FRAME_BYTES
    assert frame_limit(large) == query.INFER_HEAD.size + 32_000_000


def test_half_closed_connections_get_their_answers(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, delay_ms=20)
    connection = device.raw()
    connection.send(infer(connection.hello("m"), QUESTION, 1))
    connection.socket.shutdown(1)
    connection.frame(query.Kind.ANSWER)
    assert connection.next() is None
