"""The step before the switch: waits for the maintenance window, for apps that hold a lease, for its turn, and for a
device that is fit; then for the health checks of the device's owner, so that the release is not blamed for what was bad
before.

All of it is decided on the device, with or without a network. The wall clock decides only whether a window is open.
"""

import time

from agent import control
from agent.slots import MAX_CHECKS_BAD, SlotRecord
from agent.updater import staging
from agent.updater.clock import BUILT_AT
from agent.updater.comparison import Shadow
from agent.updater.machine import Outcome, Result
from agent.updater.steps import DAY_S, CheckRounds, Rooms, Step, Work
from littoral import windows

URGENT_CHECKS_S = 30.0  # what is urgent waits no longer for a round of checks: time for one of them to hang
EXTERNAL = "external"
SHADOW = "shadow"  # in `spent_s` of the record: how long it answered beside its baseline
SHADOW_MOST_S = 60.0  # counted between two polls, a second apart: a device that slept meanwhile compared nothing


class ReadyStep(Step):
    """A release that passed its self-test. Its deadline runs only while another model is in probation: windows may be
    far apart, a summer long, a bad check is for its owner to mend, and how long leases are waited for has a limit of
    its own. The time for which a rollout has it answer beside its baseline comes on top.

    Raises WindowError for a wish whose window is none.
    """

    deadline_s = 7 * DAY_S
    needs = "runtime"

    def __init__(self, rooms: Rooms, record: SlotRecord, work: Work, now: float) -> None:
        super().__init__(rooms, record, work, now)
        self.deadline_s += self.update.shadow_s
        texts = (self.update.window,) if self.update.window else rooms.config.updates.windows
        self._windows = [windows.parse(text) for text in texts]
        self._leased_since: float | None = None
        self._shadowed_s = float(self.update.spent_s.get(SHADOW, 0))
        self._counted_at: float | None = None  # None: it did not answer beside its baseline then
        self._shadow = self._beside(now) if self.update.shadow_s else None
        self._checks: CheckRounds | None = None
        self._checks_since = now
        self._bad: dict[str, str] | None = None  # required checks, and what they said; None: not known yet

    def poll(self, now: float) -> Result | None:
        if self._shadow is not None and (bad := self._shadow.poll(now)) is not None:
            return bad
        self._count(now)
        unfit = self.unfit()
        self.code = unfit.code if unfit else ""
        self.detail = self._away() or self._shadowed() or self._turn() or self._leases(now)
        if self.detail:
            self._stop_checks()
            return None
        if self._asks_checks(now):
            return None
        if self._leased_since is not None and self._held:
            hold_s = self.rooms.config.updates.lease_hold_s
            text = f"apps held leases for over {hold_s:.0f} s; it is switched to all the same"
            self.rooms.tell("lease-overrun", self.record.model, self.update.release, text, {"held": self._held})
        return Result(Outcome.DONE, learned={"checks_bad": self._checks_bad()})

    def notice(self, message: control.Message, now: float) -> None:
        if self._shadow is not None:
            self._shadow.notice(message, now)

    def close(self) -> None:
        self._stop_checks()

    def spent(self) -> dict[str, float]:
        return {} if self._shadow is None else {SHADOW: self._shadowed_s}

    def waits_for(self) -> str:
        return self._away() or self._hindered()

    def _away(self) -> str:
        return self._held_up() or self._window_closed()

    def _held_up(self) -> str:
        unfit = self.unfit()
        return super().waits_for() or (unfit.text if unfit else "")

    def _beside(self, now: float) -> Shadow | None:
        """The comparison with what is served, for as long as the rollout asks; a first release has none."""
        baseline = self.record.baseline
        if baseline is None or not self.rooms.config.rehearsal.ring:
            return None
        manifest = staging.manifest_of(self.rooms.config.state, self.update.bundle)
        return Shadow(self.rooms, self.update, manifest, baseline, now)

    def _count(self, now: float) -> None:
        """The time for which it answers beside its baseline: in a closed window too, but only while it can."""
        if self._shadow is None or self._held_up() or not self.rooms.shadows():
            self._counted_at = None
            return
        if self._counted_at is not None:
            self._shadowed_s += min(now - self._counted_at, SHADOW_MOST_S, max(0.0, self._shadow_left_s))
        self._counted_at = now

    @property
    def _shadow_left_s(self) -> float:
        return self.update.shadow_s - self._shadowed_s

    def _shadowed(self) -> str:
        """Empty once it has answered beside its baseline for long enough."""
        left_s = self._shadow_left_s
        if self._shadow is None or left_s <= 0:
            return ""
        hours, left = self.update.shadow_s / 3_600, f"{left_s // 3_600:.0f} h {left_s % 3_600 // 60:.0f} min are left"
        rests = "" if self.rooms.shadows() else "; not now, as the device has no time for it"
        return f"answers beside its baseline for {hours:g} h, {left}{rests}"

    @property
    def _held(self) -> int:
        return self.rooms.voucher.leases.get(self.record.model, 0)

    def _window_closed(self) -> str:
        if not self._windows or self.update.urgent:
            return ""
        told = "; ".join(window.text for window in self._windows)
        at = self.rooms.wall()
        if at < BUILT_AT:
            return f"this device's clock is wrong, so that it is never in the window {told}"
        opens_in_s = min(window.opens_in(time.localtime(at)) for window in self._windows)
        opens = time.strftime("%a %H:%M", time.localtime(at + opens_in_s))
        return f"outside of the window {told}; it opens {opens}" if opens_in_s else ""

    def _turn(self) -> str:
        return "" if self.rooms.may_activate(self.record.model) else "another model is in probation"

    def _leases(self, now: float) -> str:
        """Counted from when nothing else was in the way, so that leases hold it up no longer than they may."""
        if not self._held or self.update.urgent:
            self._leased_since = None
            return ""
        if self._leased_since is None:
            self._leased_since = now
        hold_s = self.rooms.config.updates.lease_hold_s
        if now - self._leased_since >= hold_s:
            return ""
        held = "a lease is held" if self._held == 1 else f"{self._held} leases are held"
        return f"{held}; that is waited for {hold_s:.0f} s at most"

    # --- the owner's checks ---------------------------------------------------------------------------------------

    def _asks_checks(self, now: float) -> bool:
        """Whether it waits for the checks: to say something, or to be good."""
        if self._checks is None:
            self._checks_since = now
            self._checks = self.rooms.checks.watch(self.record.model, self.update.release, "ready")
        for results in self._checks.take():
            self._bad = {each.name: each.text for each in results if each.required and each.state == "bad"}
        if self._bad is None:
            self.detail = "the health checks of this device are asked"
            return not (self.update.urgent and now - self._checks_since >= URGENT_CHECKS_S)
        self.detail = self._hindered()
        self.code = EXTERNAL if self.detail else ""
        return bool(self.detail)

    def _hindered(self) -> str:
        """A required check that is bad already. Nothing waits for it that may be what mends it."""
        if not self._bad or self.update.urgent or self.record.serves is None:
            return ""
        name, text = next(iter(self._bad.items()))
        others = f" (and {len(self._bad) - 1} more)" if len(self._bad) > 1 else ""
        return f"the required check {name} is bad already: {text}{others}"

    def _checks_bad(self) -> str:
        """As the slot keeps it."""
        names = "*" if self._bad is None else " ".join(self._bad)
        return names if len(names) <= MAX_CHECKS_BAD else "*"

    def _stop_checks(self) -> None:
        if self._checks is not None:
            self._checks.end()
            self._checks = self._bad = None
