"""The slot record of a model: what its two slots hold, which one is active, and where its update stands.

One file, one write per decision (agent/record.py). Only the agent writes it; the runtime reads `serves` and
`baseline` of it.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from agent import fsio, record
from littoral.errors import RecordError
from littoral.names import is_name
from littoral.wire.ending import Ending

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

MAX_BLOCKED = 8  # (bundle, attempt) pairs kept; the record has 4 KiB
MAX_REASON = 160  # bytes
MAX_VERSION = 64  # bytes
MAX_CHECKS_BAD = 200  # bytes
MAX_WINDOW = 160  # bytes; what is longer is no window anyway
ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Slot:
    """One release on this device. `bundle` names its folder under releases/. memory_bytes: as its trial measured.

    evidence: what its commit rests on: full, low, first; "" while it was never committed. healthy_s, answers: how long
    it was watched and well, and what it answered meanwhile; they add up over restarts. tests: how far the tests of its
    answers are, and up to which counts of its worker (agent/health/judge.py, remember). baseline_constant: longest run
    of equal answers to distinct inputs seen of the release before it; baseline_votes, baseline_votes_bad: what apps
    reported of that; baseline_rise_bytes: how its memory grew. checks_bad: required health checks that were bad before
    it was switched to, so that it is not to blame for them: names with a space between, or * for all. threads,
    interpreters, cpus: how it runs best here, as its trial measured (agent/runtime/engine.py, Tuning).
    """

    release: int
    bundle: str
    version: str
    memory_bytes: int = 0
    evidence: str = ""
    threads: int = 0
    interpreters: int = 0
    cpus: int = 0
    attempt: int = 0
    healthy_s: int = 0
    answers: int = 0
    baseline_constant: int = 0
    baseline_votes: int = 0
    baseline_votes_bad: int = 0
    baseline_rise_bytes: int = 0
    checks_bad: str = ""
    tests: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Blocked:
    """A bundle that has failed here at this attempt."""

    bundle: str
    attempt: int
    code: str


@dataclass(frozen=True, slots=True)
class Update:
    """The update that runs, and the state it is in (agent/updater/machine.py). Durable facts only.

    `loads_left` counts down before each load of the trial, `power_cuts` counts the loads after which another boot
    came: pulling the plug must not condemn a model. `spent_s` is the time that counts against the deadline of each
    state, over restarts, and under `shadow` for how long the release answered beside its baseline. `since` is when the
    present state began, seconds since 1970, for people. `window`, `gate` and `shadow_s` are of the wish
    (littoral/wire/messages.py, Want), `local`: a person at the device wished for it, not the fleet server.
    """

    release: int
    bundle: str
    attempt: int
    generation: int
    state: str
    urgent: bool = False
    version: str = ""
    floor: int = 0
    memory_bytes: int = 0
    threads: int = 0
    interpreters: int = 0
    cpus: int = 0
    loads_left: int = 0
    power_cuts: int = 0
    boot: str = ""  # of the last load
    baseline_constant: int = 0  # for the slot, as the four below
    baseline_votes: int = 0
    baseline_votes_bad: int = 0
    baseline_rise_bytes: int = 0
    checks_bad: str = ""
    window: str = ""
    gate: str = ""
    shadow_s: int = 0
    local: bool = False
    since: int = 0
    spent_s: dict[str, int] = field(default_factory=dict)

    @property
    def wish(self) -> str:
        """What the writes of this record are counted for: a generation, or one local wish."""
        return f"local {self.bundle[:16]} {self.attempt}" if self.local else str(self.generation)


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """All that is decided about one model on this device.

    active: "a", "b" or "" (nothing is served). stage: "none", "committed" or "trial"; in a trial the other slot is the
    baseline; "local", which is never written: a file that nobody signed (agent/runtime/host/local.py). floor: oldest
    release that may still be installed. writes: how often this record was written for the wish `written_for`.
    """

    model: str
    a: Slot | None = None
    b: Slot | None = None
    active: str = ""
    stage: str = "none"
    floor: int = 0
    update: Update | None = None
    last: Ending | None = None
    blocked: tuple[Blocked, ...] = ()
    removing: bool = False
    writes: int = 0
    written_for: str = ""

    @property
    def serves(self) -> Slot | None:
        """The active slot: what the runtime should serve while the agent vouches for it."""
        return {"a": self.a, "b": self.b, "": None}[self.active]

    @property
    def other(self) -> Slot | None:
        """The slot that is not active."""
        return {"a": self.b, "b": self.a, "": None}[self.active]

    @property
    def baseline(self) -> Slot | None:
        """The last committed release; None where nothing was ever committed."""
        return {"committed": self.serves, "trial": self.other}.get(self.stage)

    @property
    def spare(self) -> str:
        """Name of the slot that the next trial takes."""
        return "b" if self.active == "a" else "a"

    def with_slot(self, name: str, slot: Slot | None) -> "SlotRecord":
        return replace(self, a=slot) if name == "a" else replace(self, b=slot)

    def blocks(self, bundle: str, attempt: int) -> Blocked | None:
        """Why (bundle, attempt) may not be tried; a higher attempt than the one that failed is free."""
        failed = [entry for entry in self.blocked if entry.bundle == bundle and entry.attempt >= attempt]
        return failed[-1] if failed else None

    def with_blocked(self, entry: Blocked) -> "SlotRecord":
        kept = tuple(e for e in self.blocked if e.bundle != entry.bundle)
        return replace(self, blocked=(*kept, entry)[-MAX_BLOCKED:])


def path_of(state: Path, model: str) -> Path:
    return state / "models" / model / "slots.dat"


def read(path: Path) -> SlotRecord | None:
    """The record at `path`, None where there is none. Raises RecordError."""
    found = record.read(path)
    return None if found is None else _parse(found[1], path)


def write(path: Path, value: SlotRecord) -> None:
    """Makes `value` durable; its folder must exist. Raises OSError.

    One that would be too large goes without the numbers of its last ending, which were told when it ended.
    """
    clipped = _clipped(value)
    try:
        record.write(path, asdict(clipped))
    except ValueError:
        if clipped.last is None:
            raise
        record.write(path, asdict(replace(clipped, last=replace(clipped.last, facts={}))))


def names(state: Path) -> list[str]:
    """Models that have a slot record on this device. A folder whose name no model can have holds none."""
    found = fsio.names(state / "models")
    return [name for name in found if is_name(name) and fsio.exists(path_of(state, name))]


def release_folder(state: Path, bundle: str) -> Path:
    return state / "releases" / bundle


def _clipped(value: SlotRecord) -> SlotRecord:
    """Free text cut to what the record's size allows."""
    if value.last is None:
        return value
    return replace(value, last=replace(value.last, reason=clip(value.last.reason, MAX_REASON)))


def clip(text: str, size_bytes: int) -> str:
    """As much of `text` as fits into `size_bytes` of UTF-8, with an ellipsis where something is left out."""
    data = text.encode(errors="replace")
    if len(data) <= size_bytes:
        return data.decode()
    return data[: size_bytes - len(ELLIPSIS.encode())].decode(errors="ignore") + ELLIPSIS


def _parse(value: dict[str, Any], path: Path) -> SlotRecord:
    """Fields that this version does not know are left out: floor and blocklist must outlast a change of versions."""
    try:
        for name in ("a", "b"):
            value[name] = value[name] and _known(Slot, value[name])
        value["update"] = value["update"] and _known(Update, value["update"])
        value["last"] = value["last"] and _known(Ending, value["last"])
        value["blocked"] = tuple(_known(Blocked, entry) for entry in value["blocked"])
        return _known(SlotRecord, value)
    except (KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path}: a slot record that cannot be read: {error!r}") from error


def _known(cls: type[T], value: dict[str, Any]) -> T:
    return cls(**{name: item for name, item in value.items() if name in cls.__dataclass_fields__})
