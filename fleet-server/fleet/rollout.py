"""What the fleet server wants of each device, and how each stands. Pure: no clock, no disk, no network.

A rollout offers one release of one model to the devices that its selector names. `resolve` says which rollouts a device
follows; `standing_of` reads how far it came from what the device reports; `judge` sums up a rollout. Only a fault of
the model itself halts one. What was offered stays offered: nothing here takes a desired release back.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeGuard, TypeVar

from littoral.errors import BadNameError, BadRequestError
from littoral.names import check_name
from littoral.wire.messages import Ending, ModelState, Progress, Want

ALL = "all"
WOUND_UP = 2**48  # a generation that no server reaches by itself


class RolloutState(StrEnum):
    RUNNING = "running"
    DONE = "done"  # every device it names committed; a device that joins or falls back makes it run again
    HALTED = "halted"  # a fault of the model: no further device is offered it
    ABORTED = "aborted"  # a newer rollout of the model took its place before it was done


class Outcome(StrEnum):
    """How one device stands in one rollout."""

    PENDING = "pending"  # named by the selector, and not offered it
    OFFERED = "offered"  # its desired state names the release; it has not begun to fetch
    FETCHING = "fetching"
    STAGED = "staged"  # whole and verified on its disk
    TESTING = "testing"  # loaded in the trial child
    HELD = "held"  # ready, and waiting on the device for its turn; or cancelled there
    TRIAL = "trial"  # answers clients, and is watched
    COMMITTED = "committed"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"  # proven bad before it answered anyone, or with nothing to go back to
    STUCK = "stuck"  # bad, and what it replaced cannot be served
    BLOCKED = "blocked"  # refused by the device: no fault is proven of the release
    SUPERSEDED = "superseded"  # a newer rollout took its place on this device


FAULTS = frozenset({Outcome.ROLLED_BACK, Outcome.FAILED, Outcome.STUCK})
ENDED = FAULTS | {Outcome.COMMITTED, Outcome.BLOCKED, Outcome.SUPERSEDED}
_OPEN = (RolloutState.RUNNING, RolloutState.DONE)

_UPDATE_STATES = {
    "plan": Outcome.OFFERED,
    "fetch": Outcome.FETCHING,
    "stage": Outcome.STAGED,
    "self-test": Outcome.TESTING,
    "ready": Outcome.HELD,
    "activate": Outcome.TRIAL,
    "probation": Outcome.TRIAL,
    "commit": Outcome.COMMITTED,
    "rollback": Outcome.ROLLED_BACK,
    "stuck": Outcome.STUCK,
}
_ENDINGS = {
    "rolled-back": Outcome.ROLLED_BACK,
    "failed": Outcome.FAILED,
    "stuck": Outcome.STUCK,
    "refused": Outcome.BLOCKED,
    "blocked": Outcome.BLOCKED,
    "cancelled": Outcome.HELD,
}


@dataclass(frozen=True, slots=True)
class Rollout:
    """A staged change of desired state. Times are seconds since 1970, 0 for not yet.

    window: when devices may activate it, as littoral.windows reads it; empty: as each is configured. urgent: at any
    time, leases and a running trial notwithstanding. gate, shadow_s: as in Want.
    """

    id: int
    model: str
    release: int
    bundle: str
    attempt: int
    selector: str
    state: RolloutState
    created: int
    ended: int = 0
    reason: str = ""
    window: str = ""
    urgent: bool = False
    gate: str = ""
    shadow_s: int = 0

    @property
    def want(self) -> Want:
        return Want(self.release, self.bundle, self.attempt, self.urgent, self.window, self.gate, self.shadow_s)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a device stands in a rollout, with the numbers behind it. `release` is what it serves now, 0 for none."""

    outcome: Outcome
    release: int = 0
    evidence: str = ""
    reason: str = ""
    code: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    fetched_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """What `devices` of the `of` devices that found a fault of the release found. reason: in the words of most."""

    code: str
    reason: str
    devices: int
    of: int


def check_selector(selector: str) -> str:
    """`selector` itself if it is `all`, `tag=value` or a device's id. Raises BadRequestError."""
    try:
        for part in selector.split("=", 1):
            check_name(part)
    except BadNameError as error:
        remedy = "Say `all`, a device's id, or `tag=value`."
        raise BadRequestError(f"{selector!r} selects nothing", remedy=remedy) from error
    return selector


def matches(selector: str, device: str, tags: Mapping[str, str]) -> bool:
    tag, equals, value = selector.partition("=")
    if equals:
        return tags.get(tag) == value
    return selector in (ALL, device)


def resolve(
    device: str, tags: Mapping[str, str], rollouts: Iterable[Rollout], offered: Collection[int]
) -> dict[str, Rollout]:
    """The rollout that the device follows for each model: the newest that it was offered or may be offered.

    `offered` are the ids of rollouts it was offered before.
    """
    followed: dict[str, Rollout] = {}
    for rollout in sorted(rollouts, key=lambda r: r.id, reverse=True):
        may_begin = rollout.state in _OPEN and matches(rollout.selector, device, tags)
        if rollout.model not in followed and (may_begin or rollout.id in offered):
            followed[rollout.model] = rollout
    return followed


def next_attempt(bundle: str, rollouts: Iterable[Rollout]) -> int:
    """A higher attempt than any rollout of this bundle had: it clears the devices' blocklists."""
    return 1 + sum(rollout.bundle == bundle for rollout in rollouts)


def believed(generation: int) -> int:
    """What a device reports as its generation; 0 where only a thief of the director's key can have brought it so far.
    Then nothing is heard any more until that key is replaced, and numbers count anew under the next one.
    """
    return generation if generation < WOUND_UP else 0


def next_generation(stored: int, reported: int) -> int:
    """Above what was ever said to the device, even where this server was restored from an old copy."""
    return 1 + max(stored, believed(reported))


def standing_of(rollout: Rollout, state: ModelState | None) -> Standing:
    """How a device that follows `rollout` stands, from what it reports of the model."""
    if state is None:
        return Standing(Outcome.OFFERED)
    if _concerns(state.update, rollout):
        return _of_update(state, state.update)
    if _concerns(state.last, rollout) and state.last.outcome in _ENDINGS:
        return _of_ending(state, state.last)
    if state.bundle == rollout.bundle and state.stage in ("committed", "trial"):
        outcome = Outcome.COMMITTED if state.stage == "committed" else Outcome.TRIAL
        return Standing(outcome, state.release, state.evidence)
    return Standing(Outcome.OFFERED, state.release, reason=_waits(state) or _fell_back(state, rollout))


_T = TypeVar("_T", Progress, Ending)


def _concerns(thing: _T | None, rollout: Rollout) -> TypeGuard[_T]:
    return thing is not None and (thing.bundle, thing.attempt) == (rollout.bundle, rollout.attempt)


def _of_update(state: ModelState, update: Progress) -> Standing:
    outcome = _UPDATE_STATES.get(update.state, Outcome.OFFERED)
    standing = Standing(
        outcome,
        state.release,
        state.evidence if outcome is Outcome.COMMITTED else "",
        reason=update.detail,
        code=update.code,
        fetched_bytes=update.fetched_bytes,
        total_bytes=update.total_bytes,
    )
    if outcome in FAULTS and state.last is not None:
        return _of_ending(state, state.last, outcome)
    return standing


def _of_ending(state: ModelState, last: Ending, outcome: Outcome | None = None) -> Standing:
    return Standing(
        outcome or _ENDINGS[last.outcome],
        state.release,
        reason=last.reason or last.outcome,
        code=last.code,
        facts=last.facts,
    )


def _waits(state: ModelState) -> str:
    """Never a trial on a trial: something newer waits for the verdict."""
    if state.update is None or state.stage != "trial":
        return ""
    so_far = f": {state.update.detail}" if state.update.detail else ""
    return f"it waits for the verdict on release {state.update.release}{so_far}"


def _fell_back(state: ModelState, rollout: Rollout) -> str:
    if _concerns(state.last, rollout) and state.last.outcome == "committed":
        return f"it committed release {rollout.release} and serves {state.release or 'none'} now"
    return ""


def commonest_fault(standings: Iterable[Standing]) -> Fault | None:
    """What most devices that found a fault found; None where none did."""
    faults = [standing for standing in standings if standing.outcome in FAULTS]
    if not faults:
        return None
    [(code, devices)] = Counter(standing.code for standing in faults).most_common(1)
    [(reason, _)] = Counter(standing.reason for standing in faults if standing.code == code).most_common(1)
    return Fault(code, reason, devices, len(faults))


def judge(state: RolloutState, outcomes: Collection[Outcome]) -> RolloutState:
    """The state of a rollout whose devices came to `outcomes`."""
    if state in (RolloutState.HALTED, RolloutState.ABORTED):
        return state
    if FAULTS.intersection(outcomes):
        return RolloutState.HALTED
    if outcomes and all(outcome is Outcome.COMMITTED for outcome in outcomes):
        return RolloutState.DONE
    return RolloutState.RUNNING
