"""Watches one release on live traffic: its judge, its healthy time and its answers. It decides nothing.

Probation rests on it, and so does the watch that goes on after a commit with evidence `first` or `low`.

Healthy time passes only while the runtime is there and the release is known to be well. It and the answers add up over
restarts, and the tests of the answers go on where they were; news() says when that is worth a durable write.
"""

from typing import Any

from agent import control, fsio
from agent.slots import Slot, release_folder
from agent.updater import staging
from agent.updater.machine import Outcome, Result
from agent.updater.steps import CanaryResult, Rooms
from littoral import errors

# What a load can end in that is the release's own fault; want of memory, a slow device or a bad disk are not.
PROVEN = frozenset({errors.ModelLoadError.code, "crashed"})
_SHARE = 8  # of healthy time is remembered at once, and of the answers
_MOVES = 4  # to the bound of a test: a move as far as one of them is remembered at once ...
_MOST_MOVES = 8  # ... so often
_STEPS = 60  # in which healthy time is told


class Watch:
    """One release from now on; `judge` weighs it. Raises BundleError or OSError where its manifest cannot be read."""

    def __init__(self, rooms: Rooms, model: str, slot: Slot, now: float) -> None:
        self.bundle = slot.bundle
        self.canary_ok = False
        self._rooms = rooms
        self._model = model
        self._slot = slot
        self.judge = rooms.judge(staging.manifest_of(rooms.config.state, slot.bundle), slot)
        self._healthy_s = float(slot.healthy_s)
        self._remembered = (slot.healthy_s, slot.answers)
        self._tests = slot.tests
        self._moves = 0
        self._counted_at = now
        self._hard: Result | None = None
        self._asks = True
        self._on_trial = not slot.evidence
        self._excused = frozenset(slot.checks_bad.split())
        self._checks = rooms.checks.watch(model, slot.release, "trial" if self._on_trial else "committed")
        golden = release_folder(rooms.config.state, slot.bundle) / "golden"
        rooms.canary.watch(model, slot.release, golden if fsio.exists(golden) else None)

    @property
    def healthy_s(self) -> int:
        return int(self._healthy_s)

    @property
    def answers(self) -> int:
        return self._slot.answers + self.judge.answers

    @property
    def healthy_for_long(self) -> bool:
        return self._healthy_s >= self._rooms.config.probation.healthy_s

    @property
    def enough(self) -> bool:
        """Whether its evidence is full."""
        return self.healthy_for_long and self.answers >= self._rooms.config.probation.answers

    @property
    def detail(self) -> str:
        """How far it is, in steps: it is part of reported state, which travels whenever it changes."""
        settings = self._rooms.config.probation
        step_s = max(settings.healthy_s / _STEPS, 1.0)
        healthy_s = min(self._healthy_s // step_s * step_s, settings.healthy_s)
        answers = min(self.answers, settings.answers)
        return f"{healthy_s:.0f} of {settings.healthy_s:.0f} s healthy, {answers} of {settings.answers} answers"

    def facts(self) -> dict[str, int]:
        """What was seen so far; fields of Slot too."""
        return {"healthy_s": self.healthy_s, "answers": self.answers}

    def seen(self) -> dict[str, Any]:
        """All fields of Slot that it knows, as they are now."""
        return {**self.facts(), "tests": self.judge.remember()}

    def poll(self, now: float) -> Result | None:
        """Counts the time that has passed; a Result once the release was found bad."""
        if self._rooms.voucher.connected and self.judge.healthy(now):
            self._healthy_s += now - self._counted_at
        self._counted_at = now
        self._hear_checks(now)
        verdict = self.judge.verdict(now)
        if self._hard is None and verdict is not None:
            facts, tests = dict(verdict.facts), self.judge.evidence()
            self._hard = Result(Outcome.BAD, verdict.code, verdict.reason, facts=facts, tests=tests)
        return self._hard

    def notice(self, message: control.Message, now: float) -> None:
        """What the runtime said. A death for want of memory proves nothing, and is the caller's to weigh."""
        if getattr(message, "bundle", "") != self.bundle:
            return
        if isinstance(message, control.Counters):
            self.judge.counters(message, now)
        elif isinstance(message, control.Reported):
            self.judge.noted(message.notes)
        elif isinstance(message, control.Died) and not message.memory:
            self.judge.died(message, now)
        elif isinstance(message, control.Failed) and message.code in PROVEN:
            self._hard = Result(Outcome.BAD, message.code, message.reason)

    def canary(self, result: CanaryResult, now: float) -> None:
        self.canary_ok = result.ok
        self.judge.canary(result.ok, result.code, result.text, now)

    def device(self, troubled: bool, now: float) -> None:
        """Whether the device is in trouble now."""
        self.judge.device(troubled, now)

    def news(self) -> dict[str, Any]:
        """Fields of Slot worth a durable write now; mostly none. All in all a bounded number of writes."""
        settings = self._rooms.config.probation
        healthy_s, answers = self._remembered
        target_s = max(settings.healthy_s / _SHARE, 2.0)
        longer = min(self._healthy_s, settings.healthy_s) - healthy_s >= target_s
        more = min(self.answers, settings.answers) - answers >= max(settings.answers / _SHARE, 1)
        moved = self._moves < _MOST_MOVES and self._has_moved()
        if not longer and not more and not moved:
            return {}
        self._moves += moved
        self._remembered = (self.healthy_s, self.answers)
        seen = self.seen()
        self._tests = seen["tests"]
        return seen

    def _has_moved(self) -> bool:
        """Whether a test speaks so much more against the release, or less, than is remembered."""
        for name, test in self.judge.evidence().items():
            speaks, spoke = max(0, test["ratio_milli"]), max(0, self._tests.get(name, 0))
            if abs(speaks - spoke) * _MOVES >= test["bound_milli"]:
                return True
        return False

    def stop_asking(self) -> None:
        """No canaries and no checks any more: at its end, or as from now on only what apps ask counts."""
        if self._asks:
            self._rooms.canary.unwatch(self._model)
            self._checks.end()
        self._asks = False

    def _hear_checks(self, now: float) -> None:
        """What the owner's checks say. They decide nothing where they were bad before this release answered, nor after
        its commit: what goes wrong on a device days later is mostly something else.
        """
        for result in [result for results in self._checks.take() for result in results]:
            if result.state != "unknown":
                decides = result.required and self._on_trial and not {result.name, "*"} & self._excused
                self.judge.external(result.name, decides, result.state == "bad", result.text, now)
