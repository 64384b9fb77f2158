"""Rehearsals as the host sees them: one child at a time, which leaves the CPU to everybody else."""

import json
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from agent import control
from agent.runtime import ring
from agent.runtime.engine import Delegate, Engine
from agent.runtime.host.loop import Loop
from agent.runtime.release import Release
from agent.runtime.trial.limited import Limited, Limits, Outcome
from agent.runtime.trial.trials import failure
from littoral import errors

MAPPED_BYTES = 512 * 1024 * 1024  # of address space, by numpy and Pillow
TOUCHED_BYTES = 160 * 1024 * 1024  # of that, and by inputs and answers that are compared
THREADS = 4
SLACK_S = 30.0  # beyond its budget, for loading and one last run


@dataclass(frozen=True, slots=True)
class Settings:
    """What all rehearsals share. budget_s: how long one may take. delegate: as for trials."""

    release: Callable[[str], Release]
    engine: Engine
    budget_s: float
    delegate: Callable[[str, Release], Delegate | None]


@dataclass(frozen=True, slots=True)
class _Running:
    """The one rehearsal there is."""

    asked: control.Rehearse
    child: Limited
    room_bytes: int


class Rehearsals:
    """Runs what it is asked one after the other. ring: of a model, None where its inputs are not kept. room_bytes: what
    one more release of it may take now. tell: hears the end.
    """

    def __init__(
        self,
        settings: Settings,
        loop: Loop,
        ring_of: Callable[[str], int | None],
        room_bytes: Callable[[], int],
        tell: Callable[[control.Message], None],
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._ring_of = ring_of
        self._room_bytes = room_bytes
        self._tell = tell
        self._queue: deque[control.Rehearse] = deque()
        self._running: _Running | None = None

    def ask(self, asked: control.Rehearse) -> None:
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
            held = self._ring_of(asked.model)
            if held is None:
                self._answer(asked, why="inputs are not kept on this device")
                continue
            try:
                self._start(asked, held)
            except (errors.LittoralError, OSError) as error:
                self._answer(asked, why=f"it cannot be rehearsed: {error}")

    def _start(self, asked: control.Rehearse, held: int) -> None:
        settings = self._settings
        ours, theirs = settings.release(asked.bundle), settings.release(asked.baseline)
        on = settings.delegate(asked.model, ours)
        if on is not None and on.exclusive:
            raise errors.IncompatibleError(f"the {on.kind} delegate is in use, and it is alone")
        room_bytes = self._room_bytes()
        need_bytes = max(
            each.manifest.limits.memory_bytes or each.manifest.blobs["model"].length for each in (ours, theirs)
        )
        if need_bytes > room_bytes:
            raise errors.NoRoomError(f"it needs {need_bytes} bytes beside what is served, {room_bytes} are free")

        def body(end: socket.socket) -> None:
            from agent.runtime.rehearsal import rehearsal  # numpy, in this child alone

            subjects = (
                rehearsal.Subject("release", ours, on, asked.threads),
                rehearsal.Subject("baseline", theirs, settings.delegate(asked.model, theirs), asked.baseline_threads),
            )
            rehearsal.run(end, settings.engine, *subjects, ring.read_all(held), settings.budget_s)

        space_bytes = room_bytes + MAPPED_BYTES + settings.engine.address_space_bytes(THREADS)
        limits = Limits(space_bytes, settings.budget_s + SLACK_S, gentle=True)
        self._running = _Running(asked, Limited(self._loop, body, limits, self._ended, keep=(held,)), room_bytes)

    def _ended(self, outcome: Outcome) -> None:
        running, self._running = self._running, None
        assert running is not None
        self._tell(_rehearsed(running, outcome, self._settings.budget_s + SLACK_S))
        self._next()

    def _answer(self, asked: control.Rehearse, why: str) -> None:
        self._tell(control.Rehearsed(asked.id, asked.model, asked.bundle, facts={"why": why}))


def _rehearsed(running: _Running, outcome: Outcome, timeout_s: float) -> control.Rehearsed:
    """What the child told, or what its end says; nothing at all where it was the baseline that killed it."""
    asked = running.asked
    found = control.Rehearsed(asked.id, asked.model, asked.bundle)
    try:
        told = [json.loads(message) for message in outcome.messages]
    except ValueError:
        return replace(found, facts={"why": "the rehearsal's report cannot be read"})
    failed = failure(outcome, running.room_bytes + TOUCHED_BYTES, timeout_s)
    if failed is None and told and "facts" in told[-1]:
        found = replace(found, **told[-1])
        took_bytes = found.facts.get("memory_bytes", 0)
        if not found.code and took_bytes > running.room_bytes:
            why = f"it takes {took_bytes} bytes on what it was shown, {running.room_bytes} are free"
            return replace(found, code=errors.NoRoomError.code, reason=why)
        return found
    if failed is None:
        return replace(found, facts={"why": "the rehearsal ended without a report"})
    turns = [message["turn"] for message in told if "turn" in message]
    if turns[-1:] != ["release"]:
        return replace(found, facts={"why": f"the rehearsal failed, and not in the release's turn: {failed.reason}"})
    return replace(found, code=failed.code, reason=f"while it was rehearsed: {failed.reason}", proven=failed.proven)
