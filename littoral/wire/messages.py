"""What travels over MQTT besides chunks and metadata: desired state down; presence, state, metrics, events, need up.

Everything is canonical JSON. Parsing refuses what is malformed by ValueError (or a named error where a caller decides
differently) and ignores fields it does not know, so that a newer end can say more.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from littoral import canonical
from littoral.errors import DesiredStateError
from littoral.names import check_name
from littoral.wire.ending import Ending as Ending

MAX_MESSAGE_BYTES = 61_440
MAX_SIGNATURE = 4_096  # hex digits; RSA with 8,192 bits has 2,048
GATES = ("", "lineage", "strict", "advisory")
MAX_SHADOW_S = 30 * 86_400
MAX_REASON = 200  # characters quoted of what cannot be read: it goes into events
SEVERITIES = ("critical", "warning", "notice")  # of an alarm, the worst first


# --- desired state ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Want:
    """What one model should be: a listed release, named by number and by the digest of its bundle.json.

    window: when it may be activated (littoral/windows.py), empty: as the device is configured. urgent: at any time,
    and a running trial is rolled back first. gate: how its answers are compared with the baseline's: as the signed
    release says (lineage, and empty), strictly whatever it says, or only to be told (advisory). shadow_s: for so long
    it answers sampled live inputs beside the one that serves, before it may be activated.
    """

    release: int
    bundle: str
    attempt: int = 1
    urgent: bool = False
    window: str = ""
    gate: str = ""
    shadow_s: int = 0


@dataclass(frozen=True, slots=True)
class Desired:
    """What the fleet server wants of a device. None removes a model; a model not named is left alone."""

    tenant: str
    device: str
    generation: int
    issued: str  # RFC 3339, for people; decides nothing
    models: dict[str, Want | None]

    def signed_bytes(self) -> bytes:
        """The canonical bytes that the director signs."""
        models = {name: want and asdict(want) for name, want in self.models.items()}
        return canonical.encode({**_fields(self), "models": models})


@dataclass(frozen=True, slots=True)
class SignedDesired:
    """A desired state as it travels. The signature counts for fields too that this version does not know."""

    desired: Desired
    keyid: str
    signature: str  # hex
    received: bytes = field(default=b"", compare=False, repr=False)  # canonical, where it was parsed

    @property
    def signed_bytes(self) -> bytes:
        """What `signature` is over."""
        return self.received or self.desired.signed_bytes()

    def encode(self) -> bytes:
        signed = json.loads(self.signed_bytes)
        return canonical.encode({"signed": signed, "keyid": self.keyid, "signature": self.signature})


def parse_desired(data: bytes) -> SignedDesired:
    """Form only: no signature is checked here. Raises DesiredStateError."""
    try:
        value = _object(data)
        signed = value["signed"]
        models = {check_name(name, "model"): _want(want) for name, want in signed["models"].items()}
        desired = Desired(
            tenant=check_name(signed["tenant"], "tenant"),
            device=check_name(signed["device"], "device"),
            generation=_natural(signed["generation"]),
            issued=str(signed["issued"]),
            models=models,
        )
        return SignedDesired(desired, _hex(value["keyid"]), _hex(value["signature"]), canonical.encode(signed))
    except Exception as error:
        why = f"{type(error).__name__}: {error}"[:MAX_REASON]
        raise DesiredStateError(f"a desired state that cannot be read: {why}") from error


def _hex(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_SIGNATURE or not set(value) <= set("0123456789abcdef"):
        raise ValueError("a key id and a signature are hexadecimal")
    return value


def _want(value: dict[str, Any] | None) -> Want | None:
    if value is None:
        return None
    bundle = str(value["bundle"])
    if len(bundle) != 64 or not set(bundle) <= set("0123456789abcdef"):
        raise ValueError(f"no digest: {bundle!r}")
    return Want(
        release=_natural(value["release"]),
        bundle=bundle,
        attempt=_natural(value.get("attempt", 1)),
        urgent=value.get("urgent") is True,
        window=str(value.get("window", "")),
        gate=_gate(value.get("gate", "")),
        shadow_s=_shadow_s(value.get("shadow_s", 0)),
    )


def _gate(value: Any) -> str:
    if value not in GATES:
        raise ValueError(f"no gate: {value!r}")
    return str(value)


def _shadow_s(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_SHADOW_S:
        raise ValueError(f"no time to run in the shadow: {value!r}")
    return value


# --- reported state ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """An update on its way. `state` is a state of the update machine; `detail` says why it waits or repeats."""

    release: int
    bundle: str
    attempt: int
    state: str
    detail: str = ""
    code: str = ""  # named error behind `detail`
    fetched_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model on a device. release 0: none is served. stage: none, committed, trial. evidence: full, low, first."""

    release: int = 0
    bundle: str = ""
    version: str = ""
    stage: str = "none"
    evidence: str = ""
    floor: int = 0
    update: Progress | None = None
    last: Ending | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something about a device, not about a release, that is not as it should be. What is well has none.

    code stays the same (docs/health.md lists them), severity is one of SEVERITIES; text says what was found here and
    now, remedy what can be done.
    """

    code: str
    title: str
    severity: str
    text: str = ""
    remedy: str = ""


def worst_first(alarms: Iterable[Alarm]) -> tuple[Alarm, ...]:
    """The same alarms in the order in which people should read them."""
    return tuple(sorted(alarms, key=lambda alarm: (SEVERITIES.index(alarm.severity), alarm.code, alarm.text)))


@dataclass(frozen=True, slots=True)
class Reported:
    """What a device is: a projection of what it has on disk."""

    device: str
    boot: str
    agent: str
    architecture: str
    engine: str
    generation: int
    tags: dict[str, str] = field(default_factory=dict)
    models: dict[str, ModelState] = field(default_factory=dict)
    warnings: tuple[Alarm, ...] = ()

    def encode(self) -> bytes:
        return canonical.encode(asdict(self))


def parse_reported(data: bytes) -> Reported:
    """Raises ValueError."""
    try:
        value = _object(data)
        value["models"] = {name: _model_state(state) for name, state in value.get("models", {}).items()}
        value["warnings"] = _alarms(value.get("warnings", []))
        return Reported(**_known(Reported, value))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"a reported state that cannot be read: {error!r}") from error


def _alarms(value: Any) -> tuple[Alarm, ...]:
    """The worst first. Agents before this version tell their warnings as texts; one of a severity that is not known
    here is a warning.
    """
    if not isinstance(value, list):
        raise TypeError("warnings are no list")
    found = []
    for item in value:
        alarm = Alarm("other", "Warning", "warning", item) if isinstance(item, str) else Alarm(**_known(Alarm, item))
        known = alarm.severity in SEVERITIES
        found.append(alarm if known else replace(alarm, severity="warning"))
    return worst_first(found)


def _model_state(value: dict[str, Any]) -> ModelState:
    if value.get("update") is not None:
        value["update"] = Progress(**_known(Progress, value["update"]))
    if value.get("last") is not None:
        value["last"] = Ending(**_known(Ending, value["last"]))
    return ModelState(**_known(ModelState, value))


# --- presence, events, metrics, need, index ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Presence:
    """Retained; the last will is the same with online False."""

    online: bool
    boot: str
    agent: str

    def encode(self) -> bytes:
        return canonical.encode(asdict(self))


def parse_presence(data: bytes) -> Presence:
    """Raises ValueError."""
    value = _object(data)
    return Presence(value.get("online") is True, str(value.get("boot", "")), str(value.get("agent", "")))


@dataclass(frozen=True, slots=True)
class Event:
    """A milestone or alarm. `id` makes it idempotent; `kind` is one of EVENT_KINDS."""

    id: str
    at: int
    kind: str
    model: str = ""
    release: int = 0
    text: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        return canonical.encode(asdict(self))


EVENT_KINDS = (
    "started",  # the agent came up
    "desired-refused",  # a desired state that is not ours, not signed, or old
    "installed-locally",  # somebody at the device wants releases from a folder
    "update-started",
    "wrong-bytes",  # a chunk or file that is not what its name says
    "fetched",
    "tested",  # the trial child passed it
    "rehearsed",  # it was compared with its baseline on what the device was asked, and nothing speaks against it
    "activated",
    "lease-overrun",  # apps held leases for longer than a release waits; it is switched to
    "committed",
    "judged",  # a verdict on a release; facts: the evidence
    "confirmed",  # the evidence of what is committed has become full
    "rolled-back",
    "failed",
    "refused",
    "blocked",
    "cancelled",
    "stuck",
    "removed",
    "worker-died",
    "renewed",  # the worker of a committed release answered no canary; another one takes its place
    "safe-mode",  # the agent started too often: it begins nothing
    "alarm",  # something about the device is not as it should be
    "alarm-ended",  # and is again
)


def parse_event(data: bytes) -> Event:
    """Raises ValueError."""
    try:
        return Event(**_known(Event, _object(data)))
    except TypeError as error:
        raise ValueError(f"an event that cannot be read: {error!r}") from error


@dataclass(frozen=True, slots=True)
class ReleaseMetrics:
    """Counters of one release within one window. Times are microseconds."""

    model: str
    release: int
    stage: str
    answers: int
    errors: int
    invoke_p50_us: int
    invoke_p95_us: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """One window. (boot, seq) names it, so that a repeated message counts once."""

    boot: str
    seq: int
    at: int
    window_s: int
    models: tuple[ReleaseMetrics, ...]

    def encode(self) -> bytes:
        return canonical.encode(asdict(self))


def parse_metrics(data: bytes) -> Metrics:
    """Raises ValueError."""
    try:
        value = _object(data)
        value["models"] = tuple(ReleaseMetrics(**_known(ReleaseMetrics, m)) for m in value.get("models", ()))
        return Metrics(**_known(Metrics, value))
    except (TypeError, AttributeError) as error:
        raise ValueError(f"metrics that cannot be read: {error!r}") from error


def encode_names(names: list[str]) -> bytes:
    """Body of `up/need` (digests of chunks) and of `meta/index` (names of metadata files that exist)."""
    return canonical.encode({"names": sorted(names)})


def parse_names(data: bytes) -> list[str]:
    """Raises ValueError."""
    names = _object(data).get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("no list of names")
    return names


# --- parsing ----------------------------------------------------------------------------------------------------


def _object(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {len(data)} bytes, the limit is {MAX_MESSAGE_BYTES}")
    try:
        value = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _natural(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"not a number from 1 up: {value!r}")
    return value


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _known(cls: Any, value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key in cls.__dataclass_fields__}
