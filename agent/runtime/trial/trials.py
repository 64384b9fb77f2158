"""Trial children as the host sees them: forked one at a time under limits, watched, judged by how they ended.

The host goes on serving while one runs. A failure under a tight memory limit is repeated once under a wide one, because
an engine that is refused memory may crash or call a good model bad: only what fails under both is the release's own.
"""

import signal
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent import control
from agent.runtime import release
from agent.runtime.engine import Delegate, Engine
from agent.runtime.host.loop import Loop
from agent.runtime.trial.limited import Limited, Limits, Outcome
from agent.runtime.trial.report import MOST_INTERPRETERS, MOST_THREADS, Report
from littoral import errors

THREADS = MOST_THREADS + MOST_INTERPRETERS  # that a trial has at the same time, at most
WIDE_BYTES = 1024 * 1024 * 1024  # of room: no model for such devices fails for want of more
MEMORY_CODES = ("crashed", errors.ModelLoadError.code, errors.InferenceError.code, errors.NoRoomError.code)


@dataclass(frozen=True, slots=True)
class Settings:
    """What all trials share. delegate: which accelerator a release of a model runs on here; it raises
    IncompatibleError.
    """

    state: Path
    engine: Engine
    timeout_s: float
    delegate: Callable[[str, release.Release], Delegate | None]


@dataclass(slots=True)
class _Running:
    """The one trial child there is."""

    asked: control.Try
    found: release.Release
    delegate: Delegate | None
    room_bytes: int
    child: Limited
    before: Report | None  # what the first, tight attempt ended in


class Trials:
    """Runs what it is asked one after the other. `room_bytes` says what a model may take; `tell` hears the end."""

    def __init__(
        self,
        settings: Settings,
        loop: Loop,
        room_bytes: Callable[[str], int],
        tell: Callable[[control.Message], None],
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._room_bytes = room_bytes
        self._tell = tell
        self._queue: deque[control.Try] = deque()
        self._running: _Running | None = None

    def ask(self, asked: control.Try) -> None:
        self._queue.append(asked)
        self._next()

    def cancel(self) -> None:
        """Nobody waits for the answers any more."""
        self._queue.clear()
        if self._running is not None:
            self._running.child.cancel()
            self._running = None

    def _next(self) -> None:
        while self._running is None and self._queue:
            asked = self._queue.popleft()
            try:
                found = release.read(self._settings.state, asked.bundle)
                delegate = self._settings.delegate(asked.model, found)
            except errors.LittoralError as error:
                proven = isinstance(error, errors.ManifestError)
                self._answer(asked, Report(error.code, str(error), proven))
                continue
            try:
                self._start(asked, found, delegate, self._room_bytes(asked.model), None)
            except OSError as error:
                reason = f"no trial child can be made: {error}"
                self._answer(asked, Report(errors.NoRoomError.code, reason, False))

    def _start(
        self,
        asked: control.Try,
        found: release.Release,
        delegate: Delegate | None,
        room_bytes: int,
        before: Report | None,
    ) -> None:
        engine, timeout_s = self._settings.engine, self._settings.timeout_s
        # a hundred pictures or more
        golden_bytes = found.manifest.blobs["golden"].length if found.manifest.golden else 0

        def body(end: socket.socket) -> None:
            from agent.runtime.trial import trial  # half a megabyte that host and workers have no use for

            trial.run(end, engine, found, delegate, room_bytes)

        limits = Limits(room_bytes + golden_bytes + engine.address_space_bytes(THREADS), timeout_s)
        child = Limited(self._loop, body, limits, self._ended)
        self._running = _Running(asked, found, delegate, room_bytes, child, before)

    def _ended(self, outcome: Outcome) -> None:
        running, self._running = self._running, None
        assert running is not None
        report = _report(outcome, running.room_bytes, self._settings.timeout_s)
        if running.before is None and running.room_bytes < WIDE_BYTES and report.code in MEMORY_CODES:
            self._start(running.asked, running.found, running.delegate, WIDE_BYTES, report)
            return
        self._answer(running.asked, _judged(running.before, report))
        self._next()

    def _answer(self, asked: control.Try, report: Report) -> None:
        self._tell(
            control.Tried(asked.id, asked.model, asked.bundle, report.code, report.reason, report.proven, report.facts)
        )


def _judged(before: Report | None, report: Report) -> Report:
    """What two attempts prove together: what passes, or fails in another way, with more memory lacked memory."""
    if before is None or report.code == before.code != errors.NoRoomError.code:
        return report
    if report.code and report.code not in MEMORY_CODES:
        return report
    reason = "it needs more memory than is free here"
    if before.reason:
        reason += f" (with what is free: {before.reason})"
    return Report(errors.NoRoomError.code, reason, False, report.facts)


def _report(outcome: Outcome, room_bytes: int, timeout_s: float) -> Report:
    """What the child reported, or what its end says."""
    if (failed := failure(outcome, room_bytes, timeout_s)) is not None:
        return failed
    try:
        return Report.decode(outcome.messages[-1])
    except (IndexError, ValueError, TypeError) as error:
        return Report("crashed", f"the trial child ended without a report: {error!r}", True)


def failure(outcome: Outcome, room_bytes: int, timeout_s: float) -> Report | None:
    """What a child's end says by itself; None where it came to its own end."""
    ended = outcome.ended
    if outcome.hung:
        return Report("hung", f"it did not end within {timeout_s:g} s", outcome.busy)
    if not ended.signal and not ended.status:
        return None
    if ended.memory or outcome.took_bytes > room_bytes:
        return Report(errors.NoRoomError.code, "the trial child was killed for want of memory", False)
    if ended.signal:
        name = signal.Signals(ended.signal).name
        return Report("crashed", f"the process that loaded it was killed by {name}", True)
    return Report("crashed", f"the process that loaded it ended with status {ended.status}", True)
