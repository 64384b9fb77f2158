"""Bytes that are not the protocol, and frames that nearly are: answered by a named error, they harm nobody."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from littoral.wire import query, report, vision
from littoral.wire.query import Kind
from tests.attacks.victim import Victim, named

LIVE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
FRAMES = [
    pytest.param(2_000, id="short"),
    pytest.param(100_000, id="long", marks=[pytest.mark.long, pytest.mark.timeout(1_800)]),
]


@pytest.mark.parametrize("frames", FRAMES)
def test_spoiled_frames_harm_nobody(victim: Victim, frames: int) -> None:
    spoil = random.Random(frames)
    hello = query.hello(query.Hello("classifier"))
    whole = list(frames_of(victim))
    with victim.unharmed():
        sent = 0
        while sent < frames:
            batch = [spoiled(spoil.choice(whole), spoil) for _ in range(spoil.choice((1, 5, 30)))]
            sent += len(batch)
            said = victim.converse(hello + b"".join(batch) + end(spoil.choice(whole), spoil))
            assert named(said).count("protocol") <= 1
            assert len(batch) + 1 <= len(said) <= len(batch) + 3, "not every frame was answered"  # WELCOME, and the end


def spoiled(frame: bytes, spoil: random.Random) -> bytes:
    """Some bytes of the frame's body, or its id, are others: it still is a frame."""
    changed = bytearray(frame)
    for _ in range(spoil.choice((0, 1, 1, 2, 8))):
        place = spoil.randrange(8, min(len(frame), 120 if spoil.random() < 0.8 else len(frame)))
        changed[place] = spoil.choice((0, 1, 127, 255, spoil.randrange(256)))
    return bytes(changed)


def end(frame: bytes, spoil: random.Random) -> bytes:
    """What cannot be read as a frame, or not to its end, or nothing."""
    header = bytearray(frame)
    header[spoil.randrange(8)] = spoil.randrange(256)
    cut = frame[: spoil.randrange(len(frame))]
    return spoil.choice((b"", bytes(header), cut, spoil.randbytes(40), query.hello(query.Hello("classifier"))))


def frames_of(victim: Victim) -> Iterator[bytes]:
    """One of each kind, as it should be."""
    digest, size = victim.welcome.interface.digest, victim.welcome.interface.input_bytes
    place = query.Place(0, 0)
    picture = vision.Layout(vision.Format.RGB24, 4, 4)
    options = vision.Options(threshold=0.5, top=3, labels=("cat",)).encode()
    yield b"".join(query.infer(query.Infer(digest, bytes(size)), 1))
    yield b"".join(query.infer(query.Infer(digest, b"", place=place), 2))
    yield b"".join(vision.detect(vision.Detect(picture, bytes(48), options), 3))
    yield b"".join(vision.detect(vision.Detect(picture, place=place, size_bytes=48), 4))
    yield query.json_frame(Kind.SHARE, {"size": 4096}, 5)
    yield query.json_frame(Kind.SHARE, {"drop": 0}, 6)
    yield query.json_frame(Kind.LIST, {}, 7)
    yield query.json_frame(Kind.STATS, {}, 8)
    yield report.report(report.Report(1, 1, good=False, note="a cat, no dog"), 9)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
HELLO = {"protocol": 1, "model": "classifier", "client": "x", "mode": "infer", "signature": "", "queue": "all"}


def changed(value: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The object with some fields being anything."""
    fields = st.dictionaries(st.sampled_from(sorted(value)) | st.text(max_size=10), anything, max_size=3)
    return fields.map(lambda other: {**value, **other})


@settings(LIVE, max_examples=150)
@given(data=st.data())
def test_a_hello_of_any_fields_is_greeted_or_refused_by_name(victim: Victim, data: st.DataObject) -> None:
    body = json.dumps(data.draw(changed(HELLO))).encode("utf-8", "surrogatepass")
    assert answered(victim.converse(query.frame(Kind.HELLO, body)))


@settings(LIVE, max_examples=150)
@given(first=st.binary(max_size=200) | st.binary(max_size=60).map(lambda body: query.frame(Kind.HELLO, body)))
def test_any_first_bytes_are_answered_by_name(victim: Victim, first: bytes) -> None:
    whole = query.MAGIC.startswith(first[:2])  # else it is an end in the middle of HELLO, where nobody listens any more
    assert answered(victim.converse(first)) or whole


@settings(LIVE, max_examples=100)
@given(
    kind=st.sampled_from([Kind.SHARE, Kind.LIST, Kind.STATS, Kind.REPORT]),
    body=anything,
    mode=st.sampled_from(["infer", "info"]),
)
def test_any_json_after_hello_is_answered_by_name(victim: Victim, kind: Kind, body: Any, mode: str) -> None:
    model = "classifier" if mode == "infer" else ""
    hello = query.hello(query.Hello(model, mode=query.Mode(mode)))
    said = victim.converse(hello + query.frame(kind, json.dumps(body).encode("utf-8", "surrogatepass"), 1))
    assert answered(said)
    assert len(said) == 2


@settings(LIVE, max_examples=150)
@given(
    numbers=st.tuples(*[st.sampled_from([0, 1, 2, 1 << 63, (1 << 64) - 1])] * 2),
    verdict=st.integers(0, 255),
    note=st.binary(max_size=230) | st.text(max_size=60).map(lambda note: note.encode("utf-8", "surrogatepass")),
    mode=st.sampled_from(["infer", "subscribe"]),
)
def test_any_report_is_answered_by_name(
    victim: Victim, numbers: tuple[int, int], verdict: int, note: bytes, mode: str
) -> None:
    body = report.REPORT_HEAD.pack(*numbers, verdict) + note
    hello = query.hello(query.Hello("classifier", mode=query.Mode(mode)))
    said = victim.converse(hello + query.frame(Kind.REPORT, body, 1))
    assert answered(said)
    assert [frame.id for frame in said] == [0, 1]


@settings(LIVE, max_examples=150)
@given(data=st.data())
def test_any_head_and_options_of_detect_are_answered_by_name(victim: Victim, data: st.DataObject) -> None:
    numbers = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 48, 16_384, 16_385, 1 << 31, (1 << 32) - 1]) | st.integers(0, 64)
    fields = data.draw(st.tuples(*[numbers] * 15))
    options = data.draw(st.just(b"") | changed({"threshold": 0.5, "top": 3}).map(lambda o: json.dumps(o).encode()))
    frame = data.draw(st.binary(max_size=100))
    head = vision.DETECT_HEAD.pack(
        0, *fields[:10], *data.draw(st.sampled_from([fields[10:12], (len(frame), len(options))])), *fields[12:]
    )
    said = victim.converse(query.hello(query.Hello("classifier")) + query.frame(Kind.DETECT, head + options + frame, 1))
    assert answered(said)
    assert len(said) == 2


def answered(said: list[query.Frame]) -> bool:
    """Whether the runtime said anything; all it said must have a name."""
    named(said)
    return bool(said)
