"""What every step of an update is, and what it may use. delivery.py and trial.py hold the steps, one class a state.

A step does its part bit by bit and ends with a Result. None blocks, and none knows what comes after it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from agent import control
from agent.alarms import Symptom
from agent.config import Config
from agent.slots import Slot, SlotRecord
from agent.source import Source
from agent.updater.machine import Outcome, Result
from agent.updater.planning import Planner
from agent.updater.voucher import Voucher
from littoral.bundle.manifest import Manifest

DAY_S = 86_400.0
SPENT_SHARES = 24  # of a deadline: so much time in a state is remembered at once, as it costs a write ...
SPENT_FEWEST_S, SPENT_MOST_S = 60.0, 3_600.0  # ... within these bounds
SPENT_MOST_SHARES = 240  # but not so often that a shadow of a month comes to machine.MAX_WRITES by that alone


class Verdict(Protocol):
    """A judge's word that a trial is bad, with the numbers behind it."""

    @property
    def code(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def facts(self) -> dict[str, int | str]: ...


class Judge(Protocol):
    """Weighs what a trial does on live traffic."""

    answers: int

    def counters(self, counters: control.Counters, now_s: float) -> None: ...
    def noted(self, notes: tuple[str, ...]) -> None: ...
    def died(self, died: control.Died, now_s: float) -> None: ...
    def canary(self, ok: bool, code: str, text: str, now_s: float) -> None: ...
    def external(self, name: str, required: bool, bad: bool, text: str, now_s: float) -> None: ...
    def device(self, troubled: bool, now_s: float) -> None: ...
    def evidence(self) -> dict[str, dict[str, int]]: ...
    def remember(self) -> dict[str, int]: ...
    def verdict(self, now_s: float) -> Verdict | None: ...
    def healthy(self, now_s: float) -> bool: ...


class Weighed(Protocol):
    """What a comparison with the baseline means; agent/health/gate.py."""

    @property
    def code(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def decides(self) -> bool: ...
    @property
    def evidence(self) -> dict[str, Any]: ...


class Canary(Protocol):
    """Asks a model through the real socket, again and again while it is watched."""

    def watch(self, model: str, release: int, golden: Path | None) -> None: ...
    def unwatch(self, model: str) -> None: ...


class CanaryResult(Protocol):
    """One question of the canary and what came of it."""

    @property
    def model(self) -> str: ...
    @property
    def release(self) -> int: ...
    @property
    def ok(self) -> bool: ...
    @property
    def code(self) -> str: ...
    @property
    def text(self) -> str: ...


class CheckResult(Protocol):
    """What one health check of the device's owner said. state: good, bad, unknown."""

    @property
    def name(self) -> str: ...
    @property
    def required(self) -> bool: ...
    @property
    def state(self) -> str: ...
    @property
    def text(self) -> str: ...


class CheckRounds(Protocol):
    """What the checks say of one release, round by round, until end()."""

    def take(self) -> Sequence[Sequence[CheckResult]]:
        """Whole rounds since this was last asked."""
        ...

    def end(self) -> None: ...


class Checks(Protocol):
    """Asks all health checks of the device's owner about a release, again and again. stage: ready, trial, committed."""

    def watch(self, model: str, release: int, stage: str) -> CheckRounds: ...


@dataclass(slots=True)
class Rooms:
    """What an update needs from the rest of the agent.

    known_time: seconds since 1970 that surely passed; wall: what the system's clock says. safe: whether the agent is in
    safe mode. tell(kind, model, release, text, facts) reports a milestone. make_room(model, wanted, fits) removes what
    can be spared from a full disk until `fits()` (eviction.py). folder: where an update comes from that somebody at
    this device wished for. weigh(measured, manifest, policy): what a comparison of a release with its baseline means.
    shadows: whether anything may run now beside what apps ask for; unfit: why no release may be tried now, as the
    device is in trouble. judge: of the release with this manifest in this slot.
    """

    config: Config
    architecture: str
    planner: Planner
    source: Source
    folder: Source
    voucher: Voucher
    canary: Canary
    checks: Checks
    judge: Callable[[Manifest, Slot], Judge]
    online: Callable[[], bool]
    known_time: Callable[[], int]
    wall: Callable[[], float]
    safe: Callable[[], bool]
    may_activate: Callable[[str], bool]
    tell: Callable[[str, str, int, str, dict[str, Any]], None]
    weigh: Callable[[dict[str, Any], Manifest, str], Weighed]
    shadows: Callable[[], bool] = lambda: True
    make_room: Callable[[str, Manifest, Callable[[], bool]], None] = lambda model, wanted, fits: None
    unfit: Callable[[], tuple[Symptom, ...]] = tuple

    def at_the_folder(self) -> "Rooms":
        """The same for an update out of the folder: there is no network to wait for."""
        return replace(self, source=self.folder, online=lambda: True)


@dataclass(slots=True)
class Work:
    """What the steps of one update hand to each other in memory. vouched_on: the connection Apply was sent over."""

    encoded: bytes = b""
    manifest: Manifest | None = None
    chunk_lists: dict[str, tuple[str, ...]] | None = None
    vouched_on: int = 0


class Step:
    """Base of all steps. `detail` and `code` say why it waits. `deadline_s` is how long it may take, over restarts;
    while what it `needs` is away (the network, the runtime) that time does not run.
    """

    deadline_s = DAY_S
    needs = ""

    def __init__(self, rooms: Rooms, record: SlotRecord, work: Work, now: float) -> None:
        assert record.update is not None
        self.rooms = rooms
        self.record = record
        self.update = record.update
        self.work = work
        self.started_at = now
        self.detail = ""
        self.code = ""

    def poll(self, now: float) -> Result | None:
        """Goes on; a Result once it has ended."""
        raise NotImplementedError

    def waits_for(self) -> str:
        """What it waits for that may take any time, so that its deadline does not run; "" while it runs."""
        if self.needs == "runtime" and not self.rooms.voucher.connected:
            return "waiting for the runtime"
        if self.needs == "network" and not self.rooms.online():
            return "waiting for the network"
        return ""

    def unfit(self) -> Symptom | None:
        """Why the device is not fit to try a release now. What is urgent is tried all the same."""
        return None if self.update.urgent else next(iter(self.rooms.unfit()), None)

    def expired(self) -> Result:
        """How it ends at its deadline."""
        return Result(Outcome.EXPIRED, "deadline", f"{self.update.state} took over {self.deadline_s:.0f} s")

    def notice(self, message: control.Message, now: float) -> None:
        """The runtime said something about this model."""

    def canary(self, result: CanaryResult, now: float) -> None:
        """The canary asked this model."""

    def device(self, troubled: bool, now: float) -> None:
        """Whether the device is in trouble now."""

    def arrived(self, name: str, data: bytes | None, now: float) -> None:
        """The source delivered `name`."""

    def remember(self) -> dict[str, Any]:
        """Fields of the active slot worth a durable write of their own now; mostly none."""
        return {}

    def spent(self) -> dict[str, float]:
        """Seconds that count for something else than its deadline and add up over restarts too, each by a name."""
        return {}

    def seen(self) -> dict[str, Any]:
        """Fields of the active slot as they are now, for a write that comes anyway."""
        return {}

    @property
    def judge(self) -> Judge | None:
        """Of the release on trial, while it is watched."""
        return None

    def progress(self) -> tuple[int, int]:
        """(bytes fetched, bytes in all); (0, 0) where nothing is fetched."""
        return 0, 0

    def close(self) -> None:
        """Lets go of everything; called once, however the step ended."""


def spent_share_s(deadline_s: float) -> float:
    """How much time in a state with this deadline is worth a write."""
    often_s = min(deadline_s / SPENT_SHARES, SPENT_MOST_S)
    return max(SPENT_FEWEST_S, often_s, deadline_s / SPENT_MOST_SHARES)
