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
    sent = query.Hello("m@trial", "camera", query.Mode.SUBSCRIBE, "embed", query.Queue.LATEST)
    parsed = query.parse_hello(one(query.hello(sent)))
    assert parsed == sent
    assert (parsed.name, parsed.alias) == ("m", "trial")


def test_an_alias_that_is_not_served_is_unsupported() -> None:
    frame = one(query.json_frame(query.Kind.HELLO, {"protocol": 1, "model": "m@newest"}))
    with pytest.raises(errors.UnsupportedError, match="newest"):
        query.parse_hello(frame)


def test_a_queue_nobody_knows_is_a_protocol_error() -> None:
    with pytest.raises(errors.ProtocolError, match="oldest"):
        query.parse_hello(one(query.json_frame(query.Kind.HELLO, {"protocol": 1, "model": "m", "queue": "oldest"})))


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
    welcome = query.Welcome(
        model="m",
        release=7,
        version="v7",
        stage=query.Stage.TRIAL,
        engine="litert 2",
        interface=INTERFACE,
        max_frame_bytes=1_000,
        card={"input": []},
        signature="classify",
        signatures=("classify", "embed"),
        detect="classes",
        max_shares=8,
        max_share_bytes=4_096,
    )
    parsed = query.parse_welcome(one(query.welcome(welcome)).json())
    assert parsed == welcome
    assert parsed.interface.digest == INTERFACE.digest


def test_infer_survives_the_wire() -> None:
    sent = query.Infer(INTERFACE.digest, b"0123456789ab", deadline_us=5)
    parsed = query.parse_infer(one(b"".join(query.infer(sent, 9))))
    assert (parsed.interface, bytes(parsed.data)) == (sent.interface, sent.data)
    assert (parsed.deadline_us, parsed.place) == (5, None)


def test_an_infer_of_shared_memory_names_a_place_and_carries_no_tensor() -> None:
    sent = query.Infer(INTERFACE.digest, b"", place=query.Place(share=3, offset=2**40))
    assert query.parse_infer(one(b"".join(query.infer(sent, 9)))) == sent


@pytest.mark.parametrize(("flags", "error"), [(2, errors.UnsupportedError), (1, errors.WrongSizeError)])
def test_an_infer_of_unknown_flags_or_half_a_place_is_refused(flags: int, error: type[Exception]) -> None:
    body = query.INFER_HEAD.pack(bytes(16), 0, flags, 0) + bytes(query.SHARED.size - 1)
    with pytest.raises(error):
        query.parse_infer(one(query.frame(query.Kind.INFER, body)))


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
