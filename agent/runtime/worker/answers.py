"""From a request to its answer, without the loop: what can be run, what is refused, and who is told."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.runtime.worker.connection import Connection
from agent.runtime.worker.counters import Tally
from agent.runtime.worker.inbox import Request
from agent.runtime.worker.rates import Rates
from agent.runtime.worker.runs import Inference
from agent.runtime.worker.sampler import Sampler
from littoral import errors
from littoral.wire import query

if TYPE_CHECKING:
    from agent.runtime.worker.reports import Reports

_HEAD_BYTES = query.INFER_HEAD.size
_INFER = int(query.Kind.INFER)
_REPORT = int(query.Kind.REPORT)


class Answers:
    """Those of one worker. `waiting` counts the requests that wait in it."""

    def __init__(self, tally: Tally, waiting: Callable[[], int], sampler: Sampler | None = None) -> None:
        self._tally = tally
        self._sampler = sampler
        self._waiting = waiting
        self._rates = Rates()
        self._reports: Reports | None = None  # once there is one
        self._told_notes: list[str] = []

    def begin(self, connection: Connection, request: Request) -> Inference | None:
        """What is to be run; None where the request was answered without."""
        try:
            if request.refusal is not None:
                raise request.refusal(_REFUSALS[request.refusal])
            if connection.subscribes and request.kind != _REPORT:
                if request.descriptor is not None:
                    os.close(request.descriptor)
                connection.end(errors.ProtocolError("a subscriber sends nothing after HELLO but REPORT"))
                return None
            run = self._inference(connection, request) if request.kind == _INFER else self._other(connection, request)
            if run is not None and connection.requests_per_s:
                return self._paced(run)
            return run
        except Exception as error:  # whatever it is, it is about this request: the others have done nothing
            self.refuse(connection, request.id, _named(error))
            return None

    def finish(self, run: Inference) -> None:
        """Sends what came of it, and counts it."""
        connection, result = run.connection, run.result
        if run.error is not None:
            self.refuse(connection, run.id, _named(run.error))
            return
        connection.send(*run.answer(run.id))
        connection.answered = run.id
        if result is None:
            return  # a window that is not full yet
        connection.failing = False
        signature = run.signature
        signature.answers += 1
        for subscriber in signature.subscribers:
            subscriber.offer(*run.answer(signature.answers))
        self._tally.answered(run.mark, result.data, run.invoked_us, run.sound, run.queued_us)
        if self._sampler is not None and self._sampler.due and result.finite and not signature.key:
            self._sampler.take(run.taken())

    def relay(self, run: Inference, frame: query.Frame, *, failed: bool) -> None:
        """Sends the understudy's answer, as the release has failed, or else is too slow, and counts that."""
        signature, size_bytes = run.signature, len(frame.body)
        head = query.HEADER.pack(query.MAGIC, query.VERSION, frame.kind, size_bytes, run.id)
        run.connection.send(head, frame.body)
        signature.answers += 1
        for subscriber in signature.subscribers:
            head = query.HEADER.pack(query.MAGIC, query.VERSION, frame.kind, size_bytes, signature.answers)
            subscriber.offer(head, frame.body)
        if failed:
            self.outdone(run)
        else:
            self._tally.overtaken += 1

    def outdone(self, run: Inference) -> None:
        """Counts what came of a run whose place was taken: an answer that was not sent shows how long it took."""
        if run.failed:
            self._tally.outdone += 1
        if (result := run.result) is not None:
            self._tally.answered(run.mark, result.data, run.invoked_us, run.sound, run.queued_us)

    def excuse(self, run: Inference) -> None:
        """Sends what came of it, and does not count it against the release: its understudy failed too."""
        self._tally.excused += 1
        if run.result is not None:
            run.result = replace(run.result, finite=True)
            self.finish(run)
        elif run.error is not None:
            run.connection.send(query.error(_named(run.error), run.id))

    def refuse(self, connection: Connection, id: int, error: errors.QueryError, **facts: Any) -> None:
        """Answers with the error, and counts it where it is of the queue's making or the engine's."""
        tally = self._tally
        match error:
            case errors.StaleInterfaceError():
                facts["welcome"] = connection.signature.welcome_json(connection.inbox.limit_bytes)
            case errors.BusyError():
                tally.busy += 1
                mean_us = tally.invoked_us // max(1, tally.answers)
                facts.setdefault("retry_after_ms", 1 + self._waiting() * mean_us // 1_000)
            case errors.ReplacedError():
                tally.replaced += 1
            case errors.DeadlineError():
                tally.expired += 1
            case errors.InferenceError():
                tally.failed(connection.failing)
                connection.failing = True
        connection.send(query.error(error, id, **facts))

    def count_votes(self) -> list[str]:
        """Once a second: what apps reported becomes votes. Gives the notes of bad reports where they are news."""
        if self._reports is None:
            return []
        votes, bad = self._reports.votes()
        self._tally.votes += votes
        self._tally.votes_bad += bad
        notes = list(self._reports.notes)
        told, self._told_notes = self._told_notes, notes
        return [] if notes == told else notes

    # --- what is asked ----------------------------------------------------------------------------------------

    def _inference(self, connection: Connection, request: Request) -> Inference:
        signature = connection.signature
        body = connection.inbox.body(request)
        if len(body) < _HEAD_BYTES:
            raise errors.WrongSizeError(f"INFER of {len(body)} bytes; its head alone has {_HEAD_BYTES}")
        digest, deadline_us, flags, _ = query.INFER_HEAD.unpack_from(body)
        if digest != signature.digest:
            raise errors.StaleInterfaceError("the request was made for another interface than the one now served")
        question = body[_HEAD_BYTES:]
        if flags:
            place = query.parse_infer(query.Frame(query.Kind.INFER, request.id, bytes(body))).place
            assert place is not None, "no other flag is known"
            question = connection.shares.view(place, signature.input_bytes)
        if len(question) != signature.input_bytes:
            raise errors.WrongSizeError(
                f"INFER carries {len(question)} bytes; the inputs of {signature.welcome.model} "
                f"take {signature.input_bytes}"
            )
        return Inference(signature, connection, request, question, deadline_us)

    def _other(self, connection: Connection, request: Request) -> Inference | None:
        if request.kind == query.Kind.DETECT:
            from agent.runtime.worker.detection import read  # what it needs costs memory in every worker without

            return read(connection, request)
        if request.kind == _REPORT:
            self._report(connection, request)
            return None
        if request.kind != query.Kind.SHARE:
            raise errors.UnsupportedError(f"{query.Kind(request.kind).name} is not served on this connection")
        frame = query.Frame(query.Kind.SHARE, request.id, bytes(connection.inbox.body(request)))
        told = connection.shares.obey(frame, request.descriptor)
        connection.send(query.json_frame(query.Kind.INFO, told, request.id))
        return None

    def _report(self, connection: Connection, request: Request) -> None:
        if self._reports is None:
            from agent.runtime.worker.reports import Reports  # most apps never report

            self._reports = Reports()
        if wait_ms := self._reports.wait_ms(connection.uid, time.monotonic_ns()):
            busy = errors.BusyError("this user reports too often")
            self.refuse(connection, request.id, busy, retry_after_ms=wait_ms)
            return
        frame = query.Frame(query.Kind.REPORT, request.id, bytes(connection.inbox.body(request)))
        told = {"counted": self._reports.take(connection, frame)}
        connection.send(query.json_frame(query.Kind.INFO, told, request.id))

    def _paced(self, run: Inference) -> Inference | None:
        """The run; None where its user asks too often."""
        connection = run.connection
        wait_ms = self._rates.wait_ms(connection.uid, connection.requests_per_s, time.monotonic_ns())
        if not wait_ms:
            return run
        busy = errors.BusyError(f"this user may ask {connection.requests_per_s:g} times a second")
        self.refuse(connection, run.id, busy, retry_after_ms=wait_ms)
        return None


_REFUSALS: dict[type[errors.QueryError], str] = {
    errors.ReplacedError: "a newer request of this connection took its place",
    errors.BusyError: "too many requests wait for this model",
}


def _named(error: Exception) -> errors.QueryError:
    """What the client is told of it. What has no name is the runtime's own fault, and logged."""
    if isinstance(error, errors.QueryError):
        return error
    if isinstance(error, MemoryError):
        raise error
    import traceback  # only now: it is half a megabyte

    traceback.print_exception(error, file=sys.stderr)
    return errors.InternalError(f"the runtime failed: {type(error).__name__}")
