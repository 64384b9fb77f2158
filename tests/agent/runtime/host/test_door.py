"""What can come through the query socket, on a real host; each bad input leaves the device answering."""

from __future__ import annotations

import os
import random
import socket

import pytest

from littoral import client, errors
from littoral.tensors import Interface, Tensor
from littoral.wire import query
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import Device, Raw, until

QUESTION = b"\x00\x01\x02\x03"
ANSWER = b"\x01\x02\x03\x04"


def started(make: MakeDevice, **runtime: object) -> Device:
    made = make(**runtime)
    made.record("m", made.add("m", 1, scripted.model(answer=1)))
    made.record("empty", None, active="")
    made.start()
    return made


@pytest.fixture
def device(scripted_device: MakeDevice) -> Device:
    return started(scripted_device)


@pytest.fixture
def impatient_device(scripted_device: MakeDevice) -> Device:
    """It waits for HELLO no longer than it has to."""
    return started(scripted_device, hello_timeout_s=0.2)


def still_answers(device: Device) -> bool:
    with device.client("m") as asking:
        return asking.infer(QUESTION).data == ANSWER


def infer(welcome: query.Welcome, data: bytes = QUESTION, id: int = 1, deadline_us: int = 0) -> bytes:
    return b"".join(query.infer(query.Infer(welcome.interface.digest, data, deadline_us), id))


def answer_of(connection: Raw) -> tuple[int, bytes]:
    frame = connection.frame(query.Kind.ANSWER)
    return frame.id, bytes(query.parse_answer(frame).data)


# --- HELLO ------------------------------------------------------------------------------------------------------


def test_an_unknown_model_is_a_named_error(device: Device) -> None:
    with pytest.raises(errors.UnknownModelError, match="nobody"):
        device.client("nobody")
    assert still_answers(device)


def test_a_known_model_without_a_release_is_another_named_error(device: Device) -> None:
    with pytest.raises(errors.NoReleaseError):
        device.client("empty")


@pytest.mark.parametrize("name", ["", "../m", "M", "m" * 64, "m\n"])
def test_a_name_that_no_model_can_have_is_unknown(device: Device, name: str) -> None:
    with pytest.raises(errors.UnknownModelError):
        device.client(name)


def test_silence_after_connecting_is_ended_with_a_named_error(impatient_device: Device) -> None:
    connection = impatient_device.raw()
    assert connection.code() == "handshake-timeout"
    assert connection.next() is None
    assert still_answers(impatient_device)


def test_a_hello_that_never_ends_is_ended_with_a_named_error(impatient_device: Device) -> None:
    connection = impatient_device.raw()
    connection.send(query.hello(query.Hello("m"))[:-1])
    assert connection.code() == "handshake-timeout"
    assert connection.next() is None


def test_a_hello_over_its_limit_is_refused(device: Device) -> None:
    connection = device.raw()
    connection.send(query.frame(query.Kind.HELLO, b" " * (query.MAX_HELLO_BYTES + 1)))
    assert connection.code() == "frame-too-large"
    assert still_answers(device)


def test_a_hello_nested_too_deeply_is_refused(device: Device) -> None:
    connection = device.raw()
    connection.send(query.frame(query.Kind.HELLO, b"[" * query.MAX_HELLO_BYTES))
    assert connection.code() == "protocol"
    assert still_answers(device)


def test_random_bytes_in_place_of_hello_are_refused(device: Device) -> None:
    numbers = random.Random(7)
    for _ in range(50):
        connection = device.raw()
        connection.send(numbers.randbytes(numbers.randrange(1, 200)))
        frame = connection.next()
        assert frame is not None
        assert frame.json()["code"] in ("protocol", "frame-too-large", "handshake-timeout")
        connection.close()
    assert still_answers(device)


def test_infer_before_hello_is_refused(device: Device) -> None:
    connection = device.raw()
    connection.send(query.frame(query.Kind.INFER, bytes(40), 1))
    assert connection.code() == "protocol"


def test_more_connections_than_allowed_are_told_to_come_again(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, max_connections=20)
    held = [device.raw() for _ in range(20)]
    for connection in held:
        connection.hello("m")
    extra = device.raw()
    error = extra.frame(query.Kind.ERROR).json()
    assert error["code"] == "busy"
    assert error["retry_after_ms"] > 0
    for connection in held:
        connection.close()
    until(lambda: may_enter(device), "a place to become free")


def test_one_user_cannot_take_all_connections(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, max_connections_per_user=3)
    held = [device.raw() for _ in range(3)]
    for connection in held:
        connection.hello("m")
    error = device.raw().frame(query.Kind.ERROR).json()
    assert error["code"] == "busy"
    assert f"user {os.getuid()}" in error["cause"]
    held.pop().close()
    until(lambda: may_enter(device), "a place to become free")


def may_enter(device: Device) -> bool:
    try:
        return still_answers(device)
    except errors.BusyError:
        return False


# --- INFER ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 3, 5, 100_000])
def test_a_wrong_size_is_a_named_error_and_the_stream_goes_on(device: Device, size: int) -> None:
    connection = device.raw()
    welcome = connection.hello("m")
    connection.send(infer(welcome, bytes(size), 5), infer(welcome, QUESTION, 6))
    frame = connection.frame(query.Kind.ERROR)
    assert (frame.id, frame.json()["code"]) == (5, "wrong-size")
    assert answer_of(connection) == (6, ANSWER)


def test_an_infer_without_its_head_is_of_wrong_size_and_the_stream_goes_on(device: Device) -> None:
    connection = device.raw()
    welcome = connection.hello("m")
    connection.send(query.frame(query.Kind.INFER, b"short", 5), infer(welcome))
    assert connection.code() == "wrong-size"
    assert answer_of(connection) == (1, ANSWER)


def test_a_request_for_another_interface_runs_nothing_and_brings_the_new_welcome(device: Device) -> None:
    connection = device.raw()
    welcome = connection.hello("m")
    other = Interface((Tensor("in", "int8", (4,)),), ())
    connection.send(b"".join(query.infer(query.Infer(other.digest, QUESTION), 5)), infer(welcome))
    frame = connection.frame(query.Kind.ERROR)
    assert (frame.id, frame.json()["code"]) == (5, "stale-interface")
    assert query.parse_welcome(frame.json()["welcome"]) == welcome
    assert answer_of(connection) == (1, ANSWER)
    device.agent().expect_counts("m", answers=1, errors=0)


def test_an_oversized_frame_is_told_after_what_came_before_and_the_connection_is_closed(device: Device) -> None:
    connection = device.raw()
    welcome = connection.hello("m")
    head = query.HEADER.pack(query.MAGIC, query.VERSION, query.Kind.INFER, welcome.max_frame_bytes + 1, 9)
    connection.send(infer(welcome), head)
    assert answer_of(connection) == (1, ANSWER)
    assert connection.code() == "frame-too-large"
    assert connection.next() is None
    assert still_answers(device)


def test_a_truncated_frame_is_told_and_the_connection_is_closed(device: Device) -> None:
    connection = device.raw()
    welcome = connection.hello("m")
    connection.send(infer(welcome), infer(welcome)[:-1])
    connection.socket.shutdown(1)
    assert answer_of(connection) == (1, ANSWER)
    assert connection.code() == "protocol"
    assert connection.next() is None
    assert still_answers(device)


def test_random_bytes_after_hello_are_refused(device: Device) -> None:
    numbers = random.Random(8)
    for _ in range(50):
        connection = device.raw()
        connection.hello("m")
        connection.send(numbers.randbytes(numbers.randrange(16, 200)))
        assert connection.code() in ("protocol", "frame-too-large")
        assert connection.next() is None
        connection.close()
    assert still_answers(device)


def test_a_client_that_vanishes_within_a_frame_harms_nobody(device: Device) -> None:
    for cut in (1, 20, 50):
        connection = device.raw()
        welcome = connection.hello("m")
        connection.send(infer(welcome)[:cut])
        connection.close()
    assert still_answers(device)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (query.Kind.REPORT, "bad-report"),
        (query.Kind.LIST, "unsupported"),
        (query.Kind.SHARE, "bad-share"),
        (query.Kind.DETECT, "bad-picture"),
    ],
)
def test_what_cannot_be_answered_is_a_named_error_in_its_turn_and_the_connection_goes_on(
    device: Device, kind: query.Kind, code: str
) -> None:
    connection = device.raw()
    welcome = connection.hello("m")
    connection.send(infer(welcome, id=1), query.frame(kind, b"anything", 2), infer(welcome, id=3))
    assert answer_of(connection) == (1, ANSWER)
    frame = connection.frame(query.Kind.ERROR)
    assert (frame.id, frame.json()["code"]) == (2, code)
    assert answer_of(connection) == (3, ANSWER)


def test_a_descriptor_that_is_no_memory_is_closed(device: Device) -> None:
    connection = device.raw()
    welcome = connection.hello("m")
    here, there = os.pipe()
    socket.send_fds(connection.socket, [query.frame(query.Kind.SHARE, b"", 2)], [there])
    os.close(there)
    assert connection.code() == "bad-share"
    assert os.read(here, 1) == b""  # nobody holds its other end
    os.close(here)
    connection.send(infer(welcome))
    assert answer_of(connection) == (1, ANSWER)


def test_unknown_flags_are_unsupported(device: Device) -> None:
    connection = device.raw()
    welcome = connection.hello("m")
    head = query.INFER_HEAD.pack(bytes.fromhex(welcome.interface.digest), 0, 4, 0)
    connection.send(query.frame(query.Kind.INFER, head + QUESTION, 1), infer(welcome, id=2))
    assert connection.code() == "unsupported"
    assert answer_of(connection) == (2, ANSWER)


# --- users ------------------------------------------------------------------------------------------------------

ANN, BOB, CAMERAS = 60_001, 60_002, 60_010  # ids that nobody has
OF_CAMERAS = f"[[access]]\nmodels = ['m']\ngroups = ['{CAMERAS}']\nrequests_per_s = 2\nmax_frame_bytes = 100\n"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user")
def test_a_user_of_no_named_group_is_told_which_to_join(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, tables=OF_CAMERAS, socket_mode="0666")
    denied = device.raw_of(ANN)
    denied.send(query.hello(query.Hello("m")))
    error = denied.frame(query.Kind.ERROR).json()
    assert error["code"] == "access-denied"
    assert str(CAMERAS) in error["remedy"]
    assert denied.next() is None
    assert still_answers(device)  # root may


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user")
def test_a_user_may_through_a_supplementary_group_and_within_its_limits(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, tables=OF_CAMERAS, socket_mode="0666")
    allowed = device.raw_of(BOB, CAMERAS)
    welcome = allowed.hello("m")
    assert welcome.max_frame_bytes == 100
    allowed.send(*(infer(welcome, id=number) for number in range(10)))
    frames = [allowed.next() for _ in range(10)]
    codes = [frame.json()["code"] for frame in frames if frame is not None and frame.kind is query.Kind.ERROR]
    assert codes
    assert set(codes) == {"busy"}
    allowed.send(infer(welcome, bytes(200)))
    assert allowed.code() == "frame-too-large"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user")
def test_no_table_allows_a_longer_frame_than_the_protocol(scripted_device: MakeDevice) -> None:
    table = f"[[access]]\nusers = ['{ANN}']\nmax_frame_bytes = 4_000_000_000\n"
    device = started(scripted_device, tables=table, socket_mode="0666")
    assert device.raw_of(ANN).hello("m").max_frame_bytes == query.MAX_FRAME_BYTES


# --- mode info --------------------------------------------------------------------------------------------------


def test_models_are_listed_with_those_that_serve_nothing(device: Device) -> None:
    assert still_answers(device)
    empty, serving = client.models(device.socket)
    assert (empty["model"], empty["release"], empty["stage"]) == ("empty", 0, "none")
    assert (serving["model"], serving["release"], serving["stage"]) == ("m", 1, "committed")
    assert serving["engine"] == "scripted 1"
    assert Interface.from_json(serving) == scripted.interface_of(scripted.model())


def test_stats_tell_the_counters_of_what_is_served(device: Device) -> None:
    assert still_answers(device)
    until(lambda: client.stats(device.socket)["m"]["answers"] == 1, "the answer to be counted")
    assert set(client.stats(device.socket)) == {"m"}


def test_an_info_connection_answers_many_questions_in_order(device: Device) -> None:
    connection = device.raw()
    connection.send(query.hello(query.Hello("", mode=query.Mode.INFO)))
    assert connection.frame(query.Kind.INFO).json()["engine"] == "scripted 1"
    connection.send(
        query.json_frame(query.Kind.LIST, {}, 1),
        query.frame(query.Kind.REPORT, b"", 2),
        query.json_frame(query.Kind.STATS, {}, 3),
    )
    assert connection.frame(query.Kind.INFO).id == 1
    assert connection.code() == "unsupported"
    assert connection.frame(query.Kind.INFO).id == 3


def test_an_info_connection_is_closed_after_garbage(device: Device) -> None:
    connection = device.raw()
    connection.send(query.hello(query.Hello("", mode=query.Mode.INFO)))
    connection.frame(query.Kind.INFO)
    connection.send(b"garbage, all of it")
    assert connection.code() == "protocol"
    assert connection.next() is None
    assert still_answers(device)
