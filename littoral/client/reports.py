"""What an app says of an answer that it got, as a frame, and what came of it. It sends nothing."""

from dataclasses import dataclass
from typing import Literal

from littoral import errors
from littoral.client.results import Result
from littoral.wire import query, report

Verdict = bool | Literal["good", "bad"]
_GOOD: dict[object, bool] = {True: True, False: False, "good": True, "bad": False}


@dataclass(frozen=True, slots=True)
class Receipt:
    """counted: not where the answer was another release's than the one that is served now."""

    counted: bool


def frame_of(answer: Result, verdict: Verdict, note: str, id: int) -> bytes:
    """The REPORT. Raises ReportError."""
    good = _GOOD.get(verdict)
    if good is None:
        raise errors.ReportError(f"a verdict of {verdict!r}")
    return report.report(report.Report(answer.id, answer.release, good, note), id)


def receipt(frame: query.Frame) -> Receipt:
    """Raises ProtocolError."""
    if frame.kind is not query.Kind.INFO:
        raise errors.ProtocolError(f"{frame.kind.name} in place of INFO")
    return Receipt(frame.json().get("counted") is True)
