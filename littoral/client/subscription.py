"""Reads along what a model answers to others, and asks nothing itself."""

import math
import os
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType

from littoral import errors
from littoral.client.link import RETRY_FIRST_S, RETRY_LAST_S, GoneError, Link, refusal, socket_path
from littoral.client.reports import Verdict, frame_of, receipt
from littoral.client.requests import Served
from littoral.client.results import Result, read_answer, read_detection
from littoral.wire import query


class Subscription:
    """An iterator over the results of one model, each as an Answer (its outputs as bytes) or a Detection.

    dropped: results left out so far, because this subscriber did not take them in time, as far as the runtime says.
    connections: made so far; between two of them results are missing as well. Reconnecting, it raises UnreachableError
    after timeout_s, and at once what the runtime refuses with; waiting for results it waits as long as it takes.
    """

    def __init__(
        self, model: str, socket: str | os.PathLike[str] | None = None, *, timeout_s: float = 10.0, name: str = ""
    ) -> None:
        self.model = model
        self.timeout_s = timeout_s
        self.dropped = 0
        self.connections = 0
        self._path = socket_path(socket)
        self._hello = query.hello(query.Hello(model, name, query.Mode.SUBSCRIBE))
        self._link: Link | None = None
        self._kept: deque[Result] = deque()  # that came while a report was answered
        self._reports = 0
        self._served = self._connect(time.monotonic() + timeout_s)

    @property
    def welcome(self) -> query.Welcome:
        """Of the release whose results come now."""
        return self._served.welcome

    def next(self, timeout_s: float = math.inf) -> Result | None:
        """The next result; None where none came in time."""
        if self._kept:
            return self._kept.popleft()
        until = time.monotonic() + timeout_s
        while True:
            try:
                if self._link is None:
                    self._served = self._connect_again()
                    assert self._link is not None
                frame = self._link.receive(until)
                if frame is None:
                    return None
                if (result := self._take(frame)) is not None:
                    return result
            except GoneError:
                self.close()
            except BaseException:
                self.close()
                raise

    def report(self, result: Result, verdict: Verdict, note: str = "", *, timeout_s: float | None = None) -> bool:
        """Says whether a result that this subscriber got was good; as Client.report."""
        self._reports += 1
        frame = frame_of(result, verdict, note, self._reports)
        if self._link is None:
            return False
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        try:
            self._link.send([frame], deadline)
            return receipt(self._answer(self._link, self._reports, deadline)).counted
        except GoneError:
            self.close()
            return False
        except errors.UnknownAnswerError:
            if self.connections == 1:
                raise
            return False
        except errors.DeadlineError:
            self.close()  # half of it may have been sent
            raise

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        result = self.next()
        assert result is not None
        return result

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.close()

    def _answer(self, link: Link, id: int, deadline: float) -> query.Frame:
        """What a report is answered with; results that come before are kept. Raises what an ERROR says, DeadlineError,
        GoneError.
        """
        while (frame := link.receive(deadline)) is not None:
            if frame.kind is query.Kind.ERROR:
                if frame.id == 0:
                    self.close()
                raise refusal(frame)
            if frame.kind is query.Kind.INFO and frame.id == id:
                return frame
            if (result := self._take(frame)) is not None:
                self._kept.append(result)
        raise errors.DeadlineError(f"{self._path}: no answer in time")

    def _take(self, frame: query.Frame) -> Result | None:
        match frame.kind:
            case query.Kind.ANSWER:
                return read_answer(frame, self._served.interface)
            case query.Kind.RESULT:
                return read_detection(frame, self._served.interface, self._served.digest)
            case query.Kind.ERROR:
                raise query.parse_error(frame)
            case query.Kind.EVENT:
                event = frame.json()
                if event.get("event") == "changed":
                    self._served = Served.told_in(event)
                elif event.get("event") == "dropped":
                    count = event.get("count")
                    self.dropped += count if isinstance(count, int) else 0
        return None

    def _connect_again(self) -> Served:
        deadline, backoff_s = time.monotonic() + self.timeout_s, RETRY_FIRST_S
        while True:
            try:
                return self._connect(deadline)
            except errors.UnreachableError:
                if time.monotonic() + backoff_s >= deadline:
                    raise
                time.sleep(backoff_s)
                backoff_s = min(RETRY_LAST_S, backoff_s * 2)

    def _connect(self, deadline: float) -> Served:
        link = Link(self._path, deadline)
        try:
            link.send([self._hello], deadline)
            served = Served(query.parse_welcome(link.expect(0, deadline).json()))
        except GoneError as error:
            link.close()
            raise errors.UnreachableError(f"{self._path}: the runtime closed the connection") from error
        except BaseException:
            link.close()
            raise
        self._link = link
        self.connections += 1
        return served


def subscribe(
    model: str, socket: str | os.PathLike[str] | None = None, *, timeout_s: float = 10.0, name: str = ""
) -> Subscription:
    """Follows the answers that a model gives to others. Raises as Client does."""
    return Subscription(model, socket, timeout_s=timeout_s, name=name)
