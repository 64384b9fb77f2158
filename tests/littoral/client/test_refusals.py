"""What a client does when the runtime says no: waits and asks again, or says so at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from littoral import errors
from littoral.client import Answer, Class, Client, Detection, Picture
from littoral.fake import FakeModel, FakeServer
from littoral.wire import query
from littoral.wire.vision import Format
from tests.agent.runtime.device import PATIENCE_S

MODEL = FakeModel(labels=("cat",), sees=(Class("cat", 1.0),))
QUESTION = bytes(MODEL.interface.input_bytes)
FRAME = Picture(Format.GREY, 2, 2, bytes(4))


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer({"m": MODEL, "m@trial": replace(MODEL, release=2, stage=query.Stage.TRIAL)}) as made:
        yield made


@pytest.fixture
def asking(server: FakeServer) -> Iterator[Client]:
    with Client("m", server.socket, timeout_s=PATIENCE_S) as made:
        yield made


def test_a_busy_runtime_is_asked_again_when_it_said_to_come(server: FakeServer, asking: Client) -> None:
    server.be_busy(3)
    assert asking.infer(QUESTION).release == 1
    server.be_busy(3)
    assert asking.detect(FRAME).classes[0].label == "cat"


def test_busy_is_told_where_there_is_no_time_to_come_again(server: FakeServer, asking: Client) -> None:
    server.be_busy(retry_after_s=PATIENCE_S)
    with pytest.raises(errors.BusyError) as raised:
        asking.infer(QUESTION, timeout_s=1)
    assert raised.value.retry_after_s == PATIENCE_S
    assert asking.infer(QUESTION).release == 1


def test_busy_without_a_time_is_told_at_once(server: FakeServer, asking: Client) -> None:
    server.be_busy(retry_after_s=0)
    with pytest.raises(errors.BusyError):
        asking.infer(QUESTION)


def test_others_are_answered_while_one_waits_to_come_again(server: FakeServer, asking: Client) -> None:
    server.be_busy(retry_after_s=0.05)
    refused, answered = asking.submit(QUESTION), asking.submit(QUESTION)
    ended = [id for _ in range(2) for id, _ in [_one(asking)]]
    assert sorted(ended) == [refused, answered]


def _one(asking: Client) -> tuple[int, object]:
    while not (ended := asking.poll(PATIENCE_S)):
        pass
    [one] = ended
    return one


def test_with_latest_a_busy_frame_does_not_push_out_a_newer_one(server: FakeServer) -> None:
    with Client("m", server.socket, latest=True, timeout_s=PATIENCE_S) as asking:
        server.pause()
        first = asking.submit_picture(FRAME)
        newest = asking.submit_picture(FRAME)
        server.be_busy()
        server.resume()
        with pytest.raises(errors.ReplacedError):
            asking.wait(first)
        assert isinstance(asking.wait(newest), Detection)


def test_a_client_without_access_is_told_at_once(server: FakeServer) -> None:
    server.switch("m", replace(MODEL, refuses=errors.AccessDeniedError("join the group camera")))
    with pytest.raises(errors.AccessDeniedError, match="camera"):
        Client("m", server.socket)


def test_all_that_waits_ends_in_what_a_new_connection_is_refused_with(server: FakeServer, asking: Client) -> None:
    server.pause()
    ids = [asking.submit(QUESTION), asking.submit_picture(FRAME)]
    server.switch("m", replace(MODEL, refuses=errors.NoReleaseError("none")))
    server.drop_connections()
    server.resume()
    for id in ids:
        with pytest.raises(errors.NoReleaseError):
            asking.wait(id)
    server.switch("m", MODEL)
    assert asking.infer(QUESTION).release == 1


def test_a_dropped_connection_is_not_noticed_and_the_order_is_kept(server: FakeServer, asking: Client) -> None:
    asked: list[int] = []

    def answer(data: bytes) -> bytes:
        asked.append(data[0])
        return data[:4]

    server.switch("m", replace(MODEL, answer=answer))
    server.pause()
    ids = [asking.submit(bytes([number]) + QUESTION[1:]) for number in range(3)]
    server.drop_connections()
    server.resume()
    assert all(isinstance(asking.wait(id), Answer) for id in ids)
    assert (asked, asking.connections) == ([0, 1, 2], 2)


def test_a_late_answer_is_not_taken_for_the_next_one(server: FakeServer, asking: Client) -> None:
    server.pause()
    late, next = asking.submit(QUESTION, timeout_s=0.01), asking.submit(QUESTION)
    with pytest.raises(errors.DeadlineError):
        asking.wait(late)
    server.resume()
    assert isinstance(asking.wait(next), Answer)
    assert asking.connections == 1


def test_an_error_of_the_engine_is_the_requests_own(server: FakeServer, asking: Client) -> None:
    def fail(_: bytes) -> bytes:
        raise errors.InferenceError("told to fail")

    server.switch("m", replace(MODEL, answer=fail))
    with pytest.raises(errors.InferenceError):
        asking.infer(QUESTION)
    server.switch("m", MODEL)
    assert asking.infer(QUESTION).release == 1


def test_an_alias_and_a_signature_are_asked_for(server: FakeServer) -> None:
    server.switch("m", replace(MODEL, signatures=("first", "second")))
    with Client("m@trial", server.socket) as trial, Client("m", server.socket, signature="second") as second:
        assert (trial.release, trial.stage) == (2, query.Stage.TRIAL)
        assert second.welcome.signature == "second"
    with pytest.raises(errors.UnsupportedError, match="third"):
        Client("m", server.socket, signature="third")


def test_a_frame_over_the_limit_is_refused_before_it_is_sent(server: FakeServer, asking: Client) -> None:
    limit = asking.welcome.max_frame_bytes
    with pytest.raises(errors.FrameTooLargeError, match=str(limit)):
        asking.detect(Picture(Format.GREY, 16_384, 5_000, bytes(limit)))
    asking.infer(QUESTION)
    assert asking.connections == 1
