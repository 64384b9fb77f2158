from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import control
from littoral.errors import ProtocolError

BUNDLE = "b" * 64
ONE_OF_EACH: tuple[control.Message, ...] = (
    control.Try(1, "m", BUNDLE),
    control.Rehearse(4, "m", BUNDLE, "a" * 64, 2, 1),
    control.Rehearsed(4, "m", BUNDLE, facts={"skill_ppm": 1, "probes": [{"name": "half"}], "why": ""}),
    control.Apply("m", handover=True),
    control.Unload("m"),
    control.Measure(),
    control.Pace(50, shadows=False),
    control.Renew("m"),
    control.Well(False),
    control.Greeting("litert 2.3.0", 1_000, "XNNPACK is off"),
    control.Tried(1, "m", BUNDLE, "crashed", "killed by SIGSEGV", True, {"load_us": 5}),
    control.Serving("m", 3, BUNDLE, "trial", "unvouched"),
    control.Failed("m", BUNDLE, "no-room", "needs more"),
    control.Counters("m", 3, BUNDLE, "trial", 77, answers=2, histogram=(1, 1, *(0,) * 30)),
    control.Reported("m", 3, BUNDLE, ("a cat, no dog", "déjà vu")),
    control.Died("m", 3, BUNDLE, "trial", 11, 0),
    control.Memory(1_000, {"m": 10}),
    control.Leases("m", 2),
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
        b'{"op": "measure", "id": 1}',
        b'{"op": ["try"]}',
        b'{"op": "apply", "model": "m", "handover": 1}',
        b'{"op": "pace", "rest_percent": -1, "shadows": true}',
        b'{"op": "pace", "rest_percent": 10001, "shadows": true}',
        b'{"op": "apply", "model": ""}',
        b'{"op": "apply", "model": "../m"}',
        b'{"op": "unload", "model": []}',
        b'{"op": "unload", "model": null}',
        b'{"op": "memory", "budget_bytes": 1, "models": {"M": 1}}',
        b'{"op": "memory", "budget_bytes": 1, "models": {"m": "1"}}',
        b'{"op": "memory", "budget_bytes": NaN, "models": {}}',
        *(
            b'{"op": "try", "id": 1, "model": "m", "bundle": %s}' % bundle
            for bundle in (
                b"5",
                b'""',
                b'"b"',
                b'"a\\u0000b"',
                b'"\\ud800"',
                b'"%s"' % (b"B" * 64),
                b'"../%s"' % (b"b" * 61),
            )
        ),
        b'{"op": "try", "id": true, "model": "m", "bundle": "%s"}' % BUNDLE.encode(),
        control.encode(control.Counters("m", 3, BUNDLE, "trial", 77)).replace(b"[0,", b"[0.5,"),
        control.encode(control.Reported("m", 3, BUNDLE, ("x",) * 4)),
        control.encode(control.Reported("m", 3, BUNDLE, ("x" * 201,))),
        control.encode(control.Reported("m", 3, BUNDLE, ("x",))).replace(b'"x"', b"1"),
        control.encode(control.Reported("m", 3, BUNDLE, ("x",))).replace(b'["x"]', b"7"),
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


@pytest.mark.parametrize("message", [control.Serving("m", 0, "", "none"), control.Failed("m", "", "bad-record", "why")])
def test_where_no_bundle_can_be_named_it_is_empty(message: control.Message) -> None:
    assert control.Reader().feed(control.encode(message)) == [message]


def test_a_line_without_end_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="over"):
        control.Reader().feed(b"x" * (control.MAX_LINE_BYTES + 1))
