"""REPORT: its bytes, and what is no report."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral import errors
from littoral.wire import query
from littoral.wire.report import MAX_NOTE_BYTES, REPORT_HEAD, Report, parse_report, report

numbers = st.integers(0, 2**64 - 1)
notes = st.text(max_size=50).filter(lambda text: len(text.encode("utf-8", "replace")) <= MAX_NOTE_BYTES)


def parsed(data: bytes) -> tuple[int, Report]:
    reader = query.Reader(1_000)
    reader.feed(data)
    frame = reader.next()
    assert frame is not None
    assert frame.kind is query.Kind.REPORT
    return frame.id, parse_report(frame)


@given(st.builds(Report, numbers, numbers, st.booleans(), notes), numbers)
def test_a_report_arrives_as_it_was_sent(value: Report, id: int) -> None:
    assert parsed(report(value, id)) == (id, value)


def test_its_bytes_are_as_the_protocol_has_them() -> None:
    body = report(Report(0x0102, 3, good=True, note="é"), 9)[query.HEADER.size :]
    assert body == bytes([2, 1, *[0] * 6, 3, *[0] * 7, 1, *[0] * 7]) + b"\xc3\xa9"


def test_bytes_that_are_reserved_are_ignored() -> None:
    body = REPORT_HEAD.pack(1, 2, 0)[:-7] + b"\xff" * 7
    assert parse_report(query.Frame(query.Kind.REPORT, 1, body)) == Report(1, 2, good=False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        REPORT_HEAD.pack(1, 1, 0)[:-1],
        REPORT_HEAD.pack(1, 1, 2),
        REPORT_HEAD.pack(1, 1, 0) + b"\xff",
        REPORT_HEAD.pack(1, 1, 0) + b"\xed\xa0\x80",
        REPORT_HEAD.pack(1, 1, 0) + b"x" * (MAX_NOTE_BYTES + 1),
    ],
)
def test_what_is_no_report_has_a_name(body: bytes) -> None:
    with pytest.raises(errors.ReportError):
        parse_report(query.Frame(query.Kind.REPORT, 1, body))


@pytest.mark.parametrize("note", ["x" * (MAX_NOTE_BYTES + 1), "é" * 101, "\ud800"])
def test_a_note_that_cannot_travel_is_refused_before(note: str) -> None:
    with pytest.raises(errors.ReportError):
        report(Report(1, 1, good=False, note=note), 1)


def test_the_longest_note_travels() -> None:
    assert parsed(report(Report(1, 1, good=False, note="é" * 100), 1))[1].note == "é" * 100
