from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import control
from littoral.errors import ProtocolError

ONE_OF_EACH: tuple[control.Message, ...] = (
    control.Try(1, "m", "b"),
    control.Apply("m", handover=True),
    control.Unload("m"),
    control.Measure(),
    control.Greeting("litert 2.3.0", 1_000, "XNNPACK is off"),
    control.Tried(1, "m", "b", "crashed", "killed by SIGSEGV", True, {"load_us": 5}),
    control.Serving("m", 3, "b", "trial", "unvouched"),
    control.Failed("m", "b", "no-room", "needs more"),
    control.Counters("m", 3, "b", "trial", 77, answers=2, histogram=(1, 1, *(0,) * 30)),
    control.Died("m", 3, "b", "trial", 11, 0),
    control.Memory(1_000, {"m": 10}),
)


def test_every_message_survives_the_wire() -> None:
    stream = b"".join(control.encode(message) for message in ONE_OF_EACH)
    assert tuple(control.Reader().feed(stream)) == ONE_OF_EACH
    assert {type(message) for message in ONE_OF_EACH} == set(control.Message.__args__)


@given(st.lists(st.integers(0, 2_000), max_size=10))
def test_any_split_of_the_stream_gives_the_same_messages(cuts: list[int]) -> None:
    stream = b"".join(control.encode(message) for message in ONE_OF_EACH)
    reader = control.Reader()
    received: list[control.Message] = []
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in pairwise(edges):
        received += reader.feed(stream[start:end])
    assert tuple(received) == ONE_OF_EACH


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b"{}",
        b"[]",
        b'{"op": "dance"}',
        b'{"op": "apply"}',
        b'{"op": "apply", "model": "m", "x": 1}',
        b"[" * 9_000,
    ],
)
def test_a_line_that_is_no_message_is_a_protocol_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        control.Reader().feed(line + b"\n")


@given(st.binary(max_size=300))
def test_random_bytes_end_in_a_named_error_only(data: bytes) -> None:
    try:
        control.Reader().feed(data)
    except ProtocolError:
        return


def test_a_line_without_end_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="over"):
        control.Reader().feed(b"x" * (control.MAX_LINE_BYTES + 1))
