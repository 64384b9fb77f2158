"""What REPORT holds: an app's word on one answer that it got.

Without I/O, as littoral/wire/query.py, and described byte by byte in docs/protocol.md.
"""

from dataclasses import dataclass
from struct import Struct

from littoral import errors
from littoral.wire.query import Frame, Kind, frame

REPORT_HEAD = Struct("<QQB7x")  # answer, release, verdict
MAX_NOTE_BYTES = 200
BAD, GOOD = 0, 1


@dataclass(frozen=True, slots=True)
class Report:
    """answer: the id of the ANSWER or RESULT; release: the one it named. note: why, in the app's own words."""

    answer: int
    release: int
    good: bool
    note: str = ""


def report(value: Report, id: int) -> bytes:
    """A REPORT frame. Raises ReportError for a note that is too long, or no text."""
    note = note_bytes(value.note)
    return frame(Kind.REPORT, REPORT_HEAD.pack(value.answer, value.release, GOOD if value.good else BAD) + note, id)


def parse_report(value: Frame) -> Report:
    """Raises ReportError."""
    size = len(value.body)
    if not REPORT_HEAD.size <= size <= REPORT_HEAD.size + MAX_NOTE_BYTES:
        most = REPORT_HEAD.size + MAX_NOTE_BYTES
        raise errors.ReportError(f"REPORT of {size} bytes; it has {REPORT_HEAD.size} to {most}")
    answer, release, verdict = REPORT_HEAD.unpack_from(value.body)
    if verdict not in (BAD, GOOD):
        raise errors.ReportError(f"a verdict of {verdict}; it is {BAD} for bad or {GOOD} for good")
    try:
        note = value.body[REPORT_HEAD.size :].decode()
    except UnicodeDecodeError as error:
        raise errors.ReportError(f"a note that is not UTF-8: {error.reason}") from error
    return Report(answer, release, verdict == GOOD, note)


def note_bytes(note: str) -> bytes:
    """As it travels. Raises ReportError."""
    try:
        data = note.encode()
    except UnicodeEncodeError as error:
        raise errors.ReportError(f"a note that is no text: {error.reason}") from error
    if len(data) > MAX_NOTE_BYTES:
        raise errors.ReportError(f"a note of {len(data)} bytes; it has {MAX_NOTE_BYTES} at most")
    return data
