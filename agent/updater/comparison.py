"""A release beside its baseline on what this device was asked: asked of the runtime, awaited, and weighed.

Comparison is one rehearsal. Shadow makes one after the other while a release answers on trial or waits to, as far as
the device has time for it.
"""

from agent import control
from agent.slots import Slot, Update
from agent.updater import evidence
from agent.updater.machine import Outcome, Result
from agent.updater.steps import Rooms
from littoral.bundle.manifest import Manifest

FIRST_S = 30.0  # a shadow begins so long after its release, as what is new of what is asked comes with time
LEAST_S = 60.0  # between the end of one and the beginning of the next
SILENCE_S = (
    300.0  # after which a runtime that said nothing of it is asked anew: the child's own time is over long before
)
FIGURES = ("inputs", "scenes", "skill_ppm", "sure", "disagreements", "boxes_ppm", "ratio_ppm", "memory_bytes")
IN_A_ROW = 2  # shadows that must say the same: one more look a minute is one more chance to be wrong


class Comparison:
    """part: what it is called in the evidence."""

    _number = 0

    def __init__(self, rooms: Rooms, update: Update, manifest: Manifest, baseline: Slot, part: str) -> None:
        Comparison._number += 1
        self.result: Result | None = None
        self.took_s = 0.0
        self._id = Comparison._number
        self._rooms = rooms
        self._update = update
        self._manifest = manifest
        self._baseline = baseline
        self._part = part
        self._asked_on = 0
        self._asked_at = 0.0

    def poll(self, now: float) -> Result | None:
        voucher = self._rooms.voucher
        if self._asked_on and now - self._asked_at >= SILENCE_S:
            return self.result or Result(Outcome.DONE, reason="the runtime says nothing of its comparison")
        if self.result is None and voucher.connected and self._asked_on != voucher.connections:
            self._asked_on, self._asked_at = voucher.connections, now
            asked = (self._id, self._manifest.model, self._update.bundle, self._baseline.bundle)
            voucher.send(control.Rehearse(*asked, self._update.threads, self._baseline.threads))
        return self.result

    def notice(self, message: control.Message, now: float) -> None:
        if isinstance(message, control.Rehearsed) and message.id == self._id and message.bundle == self._update.bundle:
            self.took_s = int(message.facts.get("took_ms", 0)) / 1_000
            self.result = self._weigh(message)

    def _weigh(self, told: control.Rehearsed) -> Result:
        """DONE, or why the release is bad or cannot be here."""
        facts = dict(told.facts)
        policy = self._rooms.config.rehearsal.gate or self._update.gate
        if told.code:
            found = {"evidence": "none", "verdict": told.code, "reason": told.reason, **facts}
            self._keep(found)
            outcome = Outcome.BAD if told.proven else Outcome.REFUSED
            return Result(outcome, told.code, told.reason, facts=_figures(facts))
        weighed = self._rooms.weigh(facts, self._manifest, policy)
        self._keep(weighed.evidence)
        if weighed.code and weighed.decides:
            return Result(Outcome.BAD, weighed.code, weighed.reason, facts=_figures(weighed.evidence))
        learned = {}
        if facts.get("memory_bytes", 0) > self._update.memory_bytes:
            learned["memory_bytes"] = facts["memory_bytes"]  # of the inputs it will really see
        return Result(Outcome.DONE, weighed.code, weighed.reason or weighed.evidence["why"], learned=learned)

    def _keep(self, found: dict[str, object]) -> None:
        found = {**found, "baseline_release": self._baseline.release}
        state, anew = self._rooms.config.state, self._part == "rehearsal"  # with it each attempt begins
        evidence.keep(state, self._manifest.model, self._update.bundle, {self._part: found}, anew)


class Shadow:
    """Looks again and again, for as long as poll() is called. It costs `rehearsal.cpu_share` of one processor at most,
    and nothing while the device has no time for it.
    """

    def __init__(self, rooms: Rooms, update: Update, manifest: Manifest, baseline: Slot, now: float) -> None:
        self.looks = 0
        self._rooms = rooms
        self._made = (rooms, update, manifest, baseline)
        self._due = now + FIRST_S
        self._look: Comparison | None = None
        self._said = ("", 0)  # the last bad code, and how often in a row

    def poll(self, now: float) -> Result | None:
        """A Result once the release was found bad."""
        share = self._rooms.config.rehearsal.cpu_share
        if self._look is None:
            if now >= self._due and share > 0 and self._rooms.shadows() and self._rooms.voucher.connected:
                self._look = Comparison(*self._made, "shadow")
            else:
                return None
        result = self._look.poll(now)
        if result is None:
            return None
        self.looks += 1
        self._due = now + max(LEAST_S, self._look.took_s / share if share else LEAST_S)
        self._look = None
        code, times = self._said
        bad = result.code if result.outcome is Outcome.BAD else ""
        self._said = (bad, times + 1 if bad and bad == code else 1)
        return result if bad and self._said[1] >= IN_A_ROW else None

    def notice(self, message: control.Message, now: float) -> None:
        if self._look is not None:
            self._look.notice(message, now)


def _figures(facts: dict[str, object]) -> dict[str, int | str]:
    """The numbers that matter most, for the slot record; all of them are in the evidence."""
    return {name: value for name, value in facts.items() if name in FIGURES and isinstance(value, int)}
