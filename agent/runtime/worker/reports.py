"""What apps say of a worker's answers, made into votes. Only a worker that is told something imports this.

A client here is a user of the device: however many connections it has, and however much it says, it has one vote a
second. It is bad when more than half of what the client said in that second was.
"""

from collections import deque

from agent.control import MOST_NOTES
from agent.runtime.worker.connection import Connection
from agent.runtime.worker.rates import Rates
from littoral import errors
from littoral.wire import query
from littoral.wire.report import parse_report

MOST_PER_S = 100  # reports of one client


class Reports:
    """Those of one worker. `notes`: of the newest bad ones that had any."""

    def __init__(self) -> None:
        self.notes: deque[str] = deque(maxlen=MOST_NOTES)
        self._rates = Rates()
        self._said: dict[int, tuple[int, int]] = {}  # since votes were counted: (good, bad) of each client

    def wait_ms(self, client: int, now_ns: int) -> int:
        """0 where the client may report now, else milliseconds until it may. Time is of the monotonic clock."""
        return self._rates.wait_ms(client, MOST_PER_S, now_ns)

    def take(self, connection: Connection, frame: query.Frame) -> bool:
        """Whether the report counts; not where the answer is another release's. Raises ReportError, UnknownAnswerError.

        A subscriber reports copies, whose ids count all answers of its signature.
        """
        report, signature = parse_report(frame), connection.signature
        if report.release != signature.welcome.release:
            return False
        newest = signature.answers if connection.subscribes else connection.answered
        if not 0 < report.answer <= newest:
            raise errors.UnknownAnswerError(f"this connection got no answer {report.answer}")
        good, bad = self._said.get(connection.uid, (0, 0))
        self._said[connection.uid] = (good + report.good, bad + (not report.good))
        if not report.good and (note := plain(report.note)):
            self.notes.append(note)
        return True

    def votes(self) -> tuple[int, int]:
        """(votes, bad ones of them) since it was asked last."""
        said, self._said = self._said, {}
        return len(said), sum(bad > good for good, bad in said.values())


def plain(note: str) -> str:
    """One line of what can be printed: an app's words end up in terminals and on pages."""
    return " ".join("".join(c if c.isprintable() else " " for c in note).split())
