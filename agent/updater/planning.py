"""Runs the updater child, one at a time: it verifies, and asks for what it needs through this side's source.

The agent itself holds neither The Update Framework nor cryptography. Nothing here blocks.
"""

import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from agent.source import Source, Wanted
from agent.updater.child_protocol import ABSENT, NOANSWER, ChildReader, Fail, Get, Plan, Request, have
from littoral import errors

_READ_BYTES = 65_536
PATIENCE_LAST_S = 120.0
LONGEST_S = 300.0  # a job that takes longer is given up: the child asks for a dozen small files


@dataclass(slots=True, eq=False)
class Job:
    """One question to the child. Exactly one of `plan` and `error` is set once it is done."""

    request: Request
    plan: Plan | None = None
    error: errors.LittoralError | None = None

    @property
    def done(self) -> bool:
        return self.plan is not None or self.error is not None


class Planner:
    """A queue of jobs and the child that works on the first of them. `verified` is told how a job ended of which at
    least a root verified.
    """

    def __init__(self, source: Source, answer_timeout_s: float, verified: Callable[[Plan | Fail], None]) -> None:
        self._source = source
        self._verified = verified
        self._answer_timeout_s = self._patience_s = answer_timeout_s
        self._queue: deque[Job] = deque()
        self._child: _Child | None = None

    def submit(self, request: Request) -> Job:
        job = Job(request)
        self._queue.append(job)
        return job

    def cancel(self, job: Job) -> None:
        """Gives up on a job; its result is of no interest any more."""
        if self._queue and self._queue[0] is job and self._child is not None:
            self._end_child()
        if job in self._queue:
            self._queue.remove(job)

    def fileno(self) -> int | None:
        return None if self._child is None else self._child.socket.fileno()

    def take(self, name: str, data: bytes | None) -> None:
        """What was asked for has come; None: it surely does not exist."""
        child = self._child
        if child is None or child.asked is None or child.asked.name != name:
            return
        limit = child.asked.max_bytes
        child.asked = None
        self._patience_s = self._answer_timeout_s
        if data is None:
            child.send(ABSENT)
        elif len(data) > limit:
            child.send(NOANSWER)  # endless data is no answer, and no proof of anything
        else:
            child.send(have(data))

    def tick(self, now: float) -> None:
        """Starts the next job, reads what the child asks, and ends what takes too long."""
        if self._child is None:
            if not self._queue:
                return
            try:
                self._child = _Child(self._queue[0].request, now)
            except OSError as error:  # no descriptor, no process, no memory: later there may be
                self._queue.popleft().error = errors.NoAnswerError(f"the updater child cannot be started: {error}")
                return
        child = self._child
        for message in child.read():
            if isinstance(message, Get):
                child.asked, child.asked_at = message, now
                self._source.ask([Wanted(message.name)])
            else:
                self._finish(message)
                return
        if child.asked is not None and now - child.asked_at >= self._patience_s:
            kind, _, digest = child.asked.name.partition("/")
            self._source.forget([child.asked.name])
            if kind == "chunk":
                self._source.need([digest])
            child.asked = None
            child.send(NOANSWER)
            self._patience_s = min(2 * self._patience_s, PATIENCE_LAST_S)  # the link may be slow
        if child.ended:
            self._finish(Fail(errors.MetadataError.code, f"the updater child ended: {child.status()}"))
        elif now - child.started_at >= LONGEST_S:
            self._finish(Fail(errors.NoAnswerError.code, f"planning took over {LONGEST_S:.0f} s"))

    def close(self) -> None:
        if self._child is not None:
            self._end_child()
        self._queue.clear()

    def _finish(self, message: Plan | Fail) -> None:
        job = self._queue.popleft()
        if isinstance(message, Fail):
            job.error = message.error()
        else:
            job.plan = message
        if message.root_version:
            self._verified(message)
        self._end_child()

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.asked is not None:
            self._source.forget([child.asked.name])
        child.close()


class _Child:
    """The process and this side of its socketpair."""

    def __init__(self, request: Request, now: float) -> None:
        self.started_at = now
        self.asked: Get | None = None
        self.asked_at = now
        self.ended = False
        self._reader = ChildReader()
        self.socket, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agent.updater.child", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        except OSError:
            self.socket.close()
            raise
        finally:
            theirs.close()
        self.socket.sendall(request.encode())
        self.socket.setblocking(False)

    def read(self) -> list[Get | Plan | Fail]:
        messages: list[Get | Plan | Fail] = []
        while not self.ended:
            try:
                data = self.socket.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.ended = True
                break
            try:
                messages += self._reader.feed(data)
            except ValueError:
                self.ended = True
        return messages

    def send(self, data: bytes) -> None:
        """The child waits for each answer, so that one always fits into the socket or soon does."""
        try:
            self.socket.settimeout(10.0)
            self.socket.sendall(data)
        except OSError:
            self.ended = True
        finally:
            self.socket.setblocking(False)

    def status(self) -> str:
        status = self._process.poll()
        return "it runs and closed its socket" if status is None else f"status {status}"

    def close(self) -> None:
        self.socket.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
