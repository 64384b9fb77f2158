"""Faults by name, and what becomes of a device that one of them strikes.

Release 1 serves and release 2 is wanted. The fault strikes when the update comes into a given state for the first time;
then sixteen days pass. In `rollback` and `stuck` release 2 was found bad, and in `stuck` release 1 could not be loaded
when it was gone back to.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path

from agent import control, slots
from agent.updater.machine import State
from littoral.errors import MetadataError
from tests.durability.around import Around
from tests.durability.device import Device, Seen
from tests.durability.explore import STATE, fresh_disk, on
from tests.durability.story import RELEASES, Story, cats
from tests.durability.watched import WatchedDisk

FIRST, SECOND = RELEASES["cats", 1], RELEASES["cats", 2]
STORY = Story("faults", (cats(1), cats(1, evidence="full"), cats(2)))
YEARS_S = 20 * 365 * 86_400.0
ONCE_TURNS = 3  # how long it lasts what comes once
QUICK_TURNS, QUICK_S = 200, 2.0
SLOW_TURNS, SLOW_S = 800, 1_800.0  # sixteen days
ASIDE = ("update-started", "rehearsed", "judged")  # told of every update
CUTS = 100  # more boots than that prove no more


class Struck:
    """A device and its fault."""

    def __init__(self, state: State, fault: str) -> None:
        self.state = state
        self.disk = fresh_disk()
        self.around = Around()
        self._strike, self._lasts = FAULTS[fault]
        self._failing = False
        self._struck_at: int | None = None
        self._cuts = 0
        self.device: Device

    def live(self) -> None:
        """Until the end of it all. Raises BrokenError where a promise is broken."""
        self._start(Seen())
        with on(self._watched()):
            self.device.play_act()
            self.device.play_act()  # the same again, until its evidence is full
        self.around.told.clear()
        if self.state in (State.ROLLBACK, State.STUCK):
            self.around.bad = frozenset({2})
        if self.state is State.STUCK:
            self.around.runtime.cannot_load = {FIRST.bundle}
        for number in range(QUICK_TURNS + SLOW_TURNS):
            self._trouble(number)
            with on(self._watched()):
                seconds = QUICK_S if number < QUICK_TURNS else SLOW_S
                self.around.wall += seconds
                self.device.turn(seconds)
        if self._struck_at is None:
            raise ValueError(f"the update never came into {self.state}")

    @property
    def end(self) -> str:
        """What is served, and how the last update ended or where it still is."""
        update = self.device.updates.models["cats"]
        served = self.around.runtime.serving["cats"].release
        last, state = update.record.last, update.state
        if state in (State.IDLE, State.STUCK) or last is None or last.bundle == SECOND.bundle:
            text = "stuck" if state is State.STUCK else f"{last.outcome} {last.code}".strip() if last else ""
        else:
            text = "waits there" if state is self.state else f"in {state}"
        return f"serves {served}; {text}"

    @property
    def told(self) -> str:
        """The milestones after the update began, each at its first time, and whether a warning stands at the end."""
        warning = self.device.updates.models["cats"].symptom or self.device.safety.warning
        kinds = [kind for kind in dict.fromkeys(self.around.told) if kind not in ASIDE]
        return " ".join([*kinds, *(["(warning)"] if warning else [])])

    def cut_power(self) -> None:
        """Everything ends at once, and what no sync has covered is lost."""
        if self._cuts == CUTS:
            return
        self._cuts += 1
        self.disk = self.disk.after_power_cut(frozenset())
        self.around.runtime.serving = {}
        self._start(self.device.seen)

    def kill_agent(self) -> None:
        self._start(self.device.seen)

    def fail(self, failing: bool) -> None:
        self._failing = failing

    def _start(self, seen: Seen) -> None:
        with on(self._watched()):
            self.device = Device(STORY, seen, STATE, self.around)

    def _trouble(self, number: int) -> None:
        update = self.device.updates.models.get("cats")
        here = update is not None and update.state is self.state
        if here and self._struck_at is None:
            self._struck_at = number
            if self.state is State.STUCK:
                self.around.runtime.cannot_load = set()
            self._strike(self, True)
        elif self._struck_at is not None and self._lasts == "every time":
            if here:
                self._strike(self, True)
        elif self._struck_at is not None and self._lasts == "once" and number == self._struck_at + ONCE_TURNS:
            self._strike(self, False)

    def _watched(self) -> WatchedDisk:
        def watch(operation: str, path: Path) -> None:
            if self._failing and ("/releases/" in str(path) or "/blobs/" in str(path)):
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

        return WatchedDisk(self.disk, watch)


def _error(struck: Struck, begins: bool) -> None:
    """What this state rests on fails."""
    around, runtime = struck.around, struck.around.runtime
    match struck.state:
        case State.PLAN:
            around.planner.error = MetadataError("nothing verifies") if begins else None
        case State.FETCH:
            around.wrong = begins
        case State.STAGE:
            struck.fail(begins)
        case State.SELF_TEST:
            runtime.untestable = frozenset({SECOND.bundle}) if begins else frozenset()
        case State.READY:
            runtime.connected = not begins
        case State.PROBATION:
            around.bad = frozenset({2})
        case State.ACTIVATE | State.COMMIT:
            runtime.cannot_load = {SECOND.bundle} if begins else set()
        case _:
            runtime.cannot_load = {FIRST.bundle} if begins else set()


def _hang(struck: Struck, begins: bool) -> None:
    """Whoever is waited for never answers; the disk is not waited for: its hang ends the agent, by its watchdog."""
    match struck.state:
        case State.PLAN:
            struck.around.planner.hangs = True
        case State.FETCH:
            struck.around.silent = True
        case State.STAGE:
            struck.kill_agent()
        case State.READY:
            struck.around.runtime.leases = {"cats": 1}
        case State.PROBATION:
            struck.around.quiet = True
        case _:
            struck.around.runtime.deaf = True


def _want_of_memory(struck: Struck, begins: bool) -> None:
    """Whoever needs memory in this state does not get it, or is killed for it."""
    runtime = struck.around.runtime
    match struck.state:
        case State.PLAN:
            struck.around.planner.error = MetadataError("the updater child ended: status -9") if begins else None
        case State.FETCH | State.STAGE | State.READY | State.COMMIT:
            if begins:
                struck.kill_agent()
        case State.PROBATION:
            if not begins:  # a little later
                runtime.serving["cats"] = control.Serving("cats", 1, FIRST.bundle, "committed", "died")
                runtime.said.append(control.Died("cats", 2, SECOND.bundle, "trial", 9, 0, memory=True))
        case _:
            runtime.short = begins


def _corrupt(struck: Struck, begins: bool) -> None:
    """A file at rest that this state rests on: a held one, a fetched one, the trial's, or the baseline's."""
    match struck.state:
        case State.PLAN:
            path = slots.release_folder(STATE, FIRST.bundle) / "labels"
        case State.FETCH | State.STAGE:
            path = STATE / "partial" / SECOND.manifest.blobs["model"].sha256
        case State.ROLLBACK | State.STUCK:
            path = slots.release_folder(STATE, FIRST.bundle) / "model"
        case _:
            path = slots.release_folder(STATE, SECOND.bundle) / "model"
    if struck.disk.is_folder(path.parent) and path.name in struck.disk.names(path.parent):
        struck.disk.spoil(path)
        with on(struck.disk):
            struck.device.excuse()


def _clock_at_1970(struck: Struck, begins: bool) -> None:
    struck.around.wall = 0.0  # it runs, but nobody sets it


def _clock_jumps(struck: Struck, begins: bool) -> None:
    struck.around.wall += -YEARS_S if struck.around.wall > YEARS_S else 2 * YEARS_S


FAULTS: dict[str, tuple[Callable[[Struck, bool], None], str]] = {
    "error once": (_error, "once"),
    "error for ever": (_error, "for ever"),
    "power cut once": (lambda struck, begins: struck.cut_power() if begins else None, "once"),
    "power cut every time": (lambda struck, begins: struck.cut_power(), "every time"),
    "hang": (_hang, "for ever"),
    "disk full": (lambda struck, begins: struck.disk.fill(), "for ever"),
    "disk read-only": (lambda struck, begins: setattr(struck.disk, "read_only", True), "for ever"),
    "clock at 1970": (_clock_at_1970, "for ever"),
    "clock jumping years": (_clock_jumps, "every time"),
    "out of memory": (_want_of_memory, "once"),
    "blob corrupted at rest": (_corrupt, "for ever"),
}
