from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral import errors
from littoral.tensors import Interface, Tensor
from littoral.wire import query

LIMIT = 10_000
INTERFACE = Interface(
    inputs=(Tensor("image", "int8", (1, 2, 2, 3), 0.1, -3),),
    outputs=(Tensor("scores", "float32", (1, 4)),),
    labels=("a", "b"),
)

frames = st.lists(
    st.builds(
        query.Frame,
        kind=st.sampled_from(query.Kind),
        id=st.integers(0, 2**64 - 1),
        body=st.binary(max_size=300),
    ),
    max_size=8,
)


def all_of(reader: query.Reader) -> list[query.Frame]:
    found = []
    while (frame := reader.next()) is not None:
        found.append(frame)
    return found


@given(frames, st.data())
def test_any_split_of_any_frames_gives_the_same_frames(sent: list[query.Frame], data: st.DataObject) -> None:
    stream = b"".join(query.frame(frame.kind, frame.body, frame.id) for frame in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    reader = query.Reader(LIMIT)
    received = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:end])
        received += all_of(reader)
    assert received == sent
    assert reader.pending() == b""


@given(frames, st.integers(0, 500))
def test_a_reader_made_from_what_another_had_pending_goes_on_where_it_was(sent: list[query.Frame], cut: int) -> None:
    stream = b"".join(query.frame(frame.kind, frame.body, frame.id) for frame in sent)
    first = query.Reader(LIMIT)
    first.feed(stream[:cut])
    received = all_of(first)
    second = query.Reader(LIMIT, first.pending())
    second.feed(stream[cut:])
    assert received + all_of(second) == sent


@given(st.binary(max_size=400))
def test_random_bytes_end_in_named_errors_only(data: bytes) -> None:
    reader = query.Reader(LIMIT)
    reader.feed(data)
    try:
        all_of(reader)
    except (errors.ProtocolError, errors.FrameTooLargeError):
        return


@given(st.sampled_from(query.Kind), st.binary(max_size=200))
def test_random_bodies_end_in_named_errors_only(kind: query.Kind, body: bytes) -> None:
    frame = query.Frame(kind, 1, body)
    for parse in (query.parse_hello, query.parse_infer, query.parse_answer, query.parse_error):
        try:
            parse(frame)
        except errors.QueryError:
            continue


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.dictionaries(st.text(), v)))
def test_a_welcome_that_is_none_ends_in_a_named_error(value: Any) -> None:
    body = value if isinstance(value, dict) else {"model": value}
    with pytest.raises(errors.ProtocolError):
        query.parse_welcome(body)


def test_a_frame_that_begins_with_other_bytes_is_refused_at_its_first_byte() -> None:
    reader = query.Reader(LIMIT)
    reader.feed(b"G")
    with pytest.raises(errors.ProtocolError, match="begins with"):
        reader.next()


def test_another_version_is_refused() -> None:
    reader = query.Reader(LIMIT)
    reader.feed(query.HEADER.pack(query.MAGIC, 2, query.Kind.HELLO, 0, 0))
    with pytest.raises(errors.ProtocolError, match="version 2"):
        reader.next()


def test_an_unknown_kind_is_refused() -> None:
    reader = query.Reader(LIMIT)
    reader.feed(query.HEADER.pack(query.MAGIC, query.VERSION, 99, 0, 0))
    with pytest.raises(errors.ProtocolError, match="99"):
        reader.next()


def test_a_frame_over_the_limit_is_refused_by_its_header_alone() -> None:
    reader = query.Reader(LIMIT)
    reader.feed(query.HEADER.pack(query.MAGIC, query.VERSION, query.Kind.INFER, LIMIT + 1, 0))
    with pytest.raises(errors.FrameTooLargeError):
        reader.next()


def one(data: bytes) -> query.Frame:
    reader = query.Reader(LIMIT)
    reader.feed(data)
    frame = reader.next()
    assert frame is not None
    return frame


def test_hello_survives_the_wire() -> None:
    hello = query.Hello("person-detect", client="door camera", mode=query.Mode.INFO)
    assert query.parse_hello(one(query.hello(hello))) == hello


@pytest.mark.parametrize("mode", ["subscribe", "lease"])
def test_a_mode_that_is_not_built_is_unsupported(mode: str) -> None:
    frame = one(query.json_frame(query.Kind.HELLO, {"protocol": 1, "model": "m", "mode": mode}))
    with pytest.raises(errors.UnsupportedError, match=mode):
        query.parse_hello(frame)


def test_a_signature_is_unsupported() -> None:
    with pytest.raises(errors.UnsupportedError, match="signature"):
        query.parse_hello(one(query.hello(query.Hello("m", signature="serve"))))


@pytest.mark.parametrize(
    "body",
    [{"protocol": 2}, {"model": "m"}, {"protocol": 1, "model": 7}, {"protocol": 1, "mode": "dance"}],
    ids=["other protocol", "no protocol", "model is a number", "no such mode"],
)
def test_a_hello_that_makes_no_sense_is_a_protocol_error(body: dict[str, Any]) -> None:
    with pytest.raises(errors.ProtocolError):
        query.parse_hello(one(query.json_frame(query.Kind.HELLO, body)))


def test_json_nested_too_deeply_is_a_protocol_error() -> None:
    with pytest.raises(errors.ProtocolError):
        query.parse_hello(query.Frame(query.Kind.HELLO, 0, b"[" * query.MAX_HELLO_BYTES))


def test_a_connection_begins_with_hello() -> None:
    with pytest.raises(errors.ProtocolError, match="begins with HELLO"):
        query.parse_hello(one(query.json_frame(query.Kind.LIST, {})))


def test_welcome_survives_the_wire_to_the_last_bit_of_its_scale() -> None:
    welcome = query.Welcome("m", 7, "v7", query.Stage.TRIAL, "litert 2", INTERFACE, 1_000, {"input": []})
    parsed = query.parse_welcome(one(query.welcome(welcome)).json())
    assert parsed == welcome
    assert parsed.interface.digest == INTERFACE.digest


def test_infer_survives_the_wire() -> None:
    sent = query.Infer(INTERFACE.digest, b"0123456789ab", deadline_us=5, flags=1)
    parsed = query.parse_infer(one(b"".join(query.infer(sent, 9))))
    assert (parsed.interface, bytes(parsed.data)) == (sent.interface, sent.data)
    assert (parsed.deadline_us, parsed.flags) == (5, 1)


def test_an_infer_shorter_than_its_head_is_of_wrong_size() -> None:
    with pytest.raises(errors.WrongSizeError):
        query.parse_infer(one(query.frame(query.Kind.INFER, bytes(query.INFER_HEAD.size - 1))))


def test_answer_survives_the_wire_and_long_times_are_clipped() -> None:
    sent = query.Answer(3, query.Stage.TRIAL, 2**40, 7, b"xyz")
    parsed = query.parse_answer(one(b"".join(query.answer(sent, 9))))
    assert (parsed.release, parsed.stage, bytes(parsed.data)) == (3, query.Stage.TRIAL, b"xyz")
    assert (parsed.queued_us, parsed.invoked_us) == (2**32 - 1, 7)


def test_an_error_keeps_its_code_and_facts() -> None:
    frame = one(query.error(errors.BusyError("too many"), 4, retry_after_ms=10))
    assert isinstance(query.parse_error(frame), errors.BusyError)
    assert frame.json()["retry_after_ms"] == 10


def test_an_error_of_no_code_of_the_protocol_becomes_internal() -> None:
    assert one(query.error(errors.FloorError("low"))).json()["code"] == "internal"


def test_a_socket_path_over_107_bytes_is_a_named_error() -> None:
    assert query.check_socket_path("x" * 107) == "x" * 107
    with pytest.raises(errors.SocketPathError):
        query.check_socket_path("x" * 108)
