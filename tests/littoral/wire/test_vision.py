"""littoral/wire/vision.py: DETECT and RESULT as bytes."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral import errors
from littoral.wire import query, vision

LAYOUT = vision.Layout(vision.Format.NV12, 640, 480, (704, 704, 0), (64, 400_000, 0))


def one(parts: list[bytes | memoryview]) -> query.Frame:
    reader = query.Reader(query.MAX_FRAME_BYTES)
    reader.feed(b"".join(parts))
    frame = reader.next()
    assert frame is not None
    assert reader.pending() == b""
    return frame


def test_a_frame_on_the_socket_survives_the_wire() -> None:
    options = vision.Options(threshold=0.25, top=3, labels=("person", "hen")).encode()
    parsed = vision.parse_detect(one(vision.detect(vision.Detect(LAYOUT, b"pixels", options, 5_000), 9)))
    assert (parsed.layout, bytes(parsed.data), parsed.size_bytes, parsed.deadline_us) == (LAYOUT, b"pixels", 6, 5_000)
    assert vision.parse_options(parsed.options) == vision.Options(threshold=0.25, top=3, labels=("person", "hen"))


def test_a_frame_in_shared_memory_names_its_place_and_carries_no_pixel() -> None:
    sent = vision.Detect(LAYOUT, place=query.Place(2, 2**33), size_bytes=460_800)
    assert vision.parse_detect(one(vision.detect(sent, 9))) == sent


def head(**changed: int) -> bytes:
    fields = dict.fromkeys(("deadline", "flags", "format", "width", "height"), 0) | {"format": 1} | changed
    size, options = fields.pop("size", 0), fields.pop("options", 0)
    return vision.DETECT_HEAD.pack(*fields.values(), *([0] * 6), size, options, 0, 0, 0)


@pytest.mark.parametrize(
    "body",
    [
        head()[:-1],
        head(format=0),
        head(format=8),
        head(flags=2),
        head(width=vision.MAX_SIDE + 1),
        head(height=2**32 - 1),
        head(size=1),
        head() + b"x",
        head(flags=1, size=1) + b"x",
        head(options=1),
        head(options=vision.MAX_OPTIONS_BYTES + 1) + bytes(vision.MAX_OPTIONS_BYTES + 1),
    ],
)
def test_a_detect_that_does_not_hold_together_is_refused(body: bytes) -> None:
    with pytest.raises(errors.PictureError):
        vision.parse_detect(query.Frame(query.Kind.DETECT, 1, body))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_detect_or_a_named_error(body: bytes) -> None:
    with suppress(errors.PictureError):
        vision.parse_detect(query.Frame(query.Kind.DETECT, 1, body))


def test_options_nobody_set_take_no_bytes() -> None:
    assert vision.Options().encode() == b""
    assert vision.parse_options(b"") == vision.Options()


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"\xff",
        b"[" * 5_000,
        b'{"treshold": 1}',
        b'{"threshold": "1"}',
        b'{"threshold": true}',
        b'{"threshold": NaN}',
        b'{"threshold": 1' + b"0" * 400 + b"}",
        b'{"overlap": 1.5}',
        b'{"top": 0}',
        b'{"top": 1.0}',
        b'{"top": 1001}',
        b'{"labels": "person"}',
        b'{"labels": [1]}',
    ],
)
def test_options_that_make_no_sense_are_refused(data: bytes) -> None:
    with pytest.raises(errors.PictureError):
        vision.parse_options(data)


RESULT = vision.Result(
    interface="0f" * 16,
    release=4,
    stage=query.Stage.LOCAL,
    queued_us=1,
    prepared_us=2,
    invoked_us=3,
    decoded_us=4,
    width=640,
    height=480,
    kind=vision.ResultKind.BOXES,
    item_bytes=vision.BOX_ITEM.size,
    count=2,
    items=vision.BOX_ITEM.pack(7, 0.5, 1, 2, 3, 4) * 2,
)


def test_a_result_survives_the_wire() -> None:
    assert vision.parse_result(one(vision.result(RESULT, 9))) == RESULT


@pytest.mark.parametrize(("at", "byte"), [(48, 9), (49, 99), (50, 23), (52, 3)])
def test_a_result_that_does_not_hold_together_is_a_protocol_error(at: int, byte: int) -> None:
    body = bytearray(one(vision.result(RESULT, 9)).body)
    body[at] = byte
    with pytest.raises(errors.ProtocolError):
        vision.parse_result(query.Frame(query.Kind.RESULT, 1, bytes(body)))


def test_a_head_of_a_result_cut_short_is_a_protocol_error() -> None:
    with pytest.raises(errors.ProtocolError):
        vision.parse_result(query.Frame(query.Kind.RESULT, 1, bytes(vision.RESULT_HEAD.size - 1)))


def test_the_heads_have_the_sizes_that_the_protocol_names() -> None:
    assert (vision.DETECT_HEAD.size, vision.RESULT_HEAD.size) == (72, 56)
