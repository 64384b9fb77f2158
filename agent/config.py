"""agent.toml: the settings of a device, read by both daemons. `littoral-agent enroll` writes a complete one.

docs/settings.md describes every setting; a test compares it with the classes here.
"""

import math
import re
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from littoral.errors import ConfigError, WindowError
from littoral.names import check_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

STATE = Path("/var/lib/littoral")
SOCKETS = Path("/run/littoral")
"""Of the device whose daemons are services of the machine: what the packages' units name."""

GATES = ("lineage", "strict", "advisory")
_MODE = re.compile(r"0?[0-7]{3}")
_TYPES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list of texts",
    dict: "a table of texts",
}


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the MQTT broker is. With tls, the device's own certificate says who it is."""

    host: str = ""
    port: int = 8883
    tls: bool = True
    username: str = ""
    password: str = ""


@dataclass(frozen=True, slots=True)
class Runtime:
    """How models are served."""

    engine: str = "auto"  # auto, litert, tflite
    memory_budget_bytes: int = 0  # for all models together; 0: half of the machine's memory, or of its cgroup's
    vouch_grace_s: float = 10.0  # how long a trial is served while the agent is away
    hello_timeout_s: float = 5.0
    max_connections: int = 256
    trial_timeout_s: float = 60.0
    queue_per_connection: int = 64  # requests read ahead of one connection before it has to wait
    socket_mode: str = "0660"
    idle_unload_s: float = 0.0  # a model that nobody asks for so long is unloaded until somebody does; 0: never
    queue_bytes: int = 16 * 1024 * 1024  # of requests that wait in one worker; beyond them clients are told `busy`
    max_connections_per_user: int = 64
    max_shares: int = 8  # shared memories of one connection
    max_share_bytes: int = 64 * 1024 * 1024  # all shared memories of one connection together


@dataclass(frozen=True, slots=True)
class Model:
    """How one model is treated on this device: a table [models.NAME]."""

    pinned: bool = False  # it is never unloaded for being idle, or to make room
    priority: int = 0  # an idle model makes room for one of its own priority or a higher one
    idle_unload_s: float = 0.0  # left out: as [runtime] says


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use which models, and how much: a table [[access]]. The first that names a caller and a model counts."""

    models: tuple[str, ...] = ("*",)
    users: tuple[str, ...] = ()  # names or numbers; with no users and no groups, everybody
    groups: tuple[str, ...] = ()
    requests_per_s: float = 0.0  # of one user to one model; 0: as many as he likes
    max_frame_bytes: int = 0  # 0: what the model takes


@dataclass(frozen=True, slots=True)
class Delegate:
    """An accelerator of this device: a table [delegates.NAME]."""

    kind: str = ""  # what a card may ask for; empty: its name here
    path: str = ""  # the delegate's library
    options: dict[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ()  # that run on it unasked
    exclusive: bool = True  # only one process may have it open


@dataclass(frozen=True, slots=True)
class Updates:
    """How releases are fetched and tried."""

    max_in_flight_bytes: int = 1536 * 1024  # the most that is on its way at once; the link may ask for less
    max_bytes_per_s: int = 0  # 0: as fast as the link
    jitter_s: float = 60.0  # a device begins to fetch within this time, each at another moment; urgent: at once
    answer_timeout_s: float = 10.0  # a broker that is silent for longer gave no answer
    retry_first_s: float = 1.0  # back-off after bytes that did not come or were wrong; doubles
    retry_last_s: float = 300.0
    trial_loads: int = 3  # how often a trial may be loaded before it is given up
    disk_reserve_bytes: int = 16 * 1024 * 1024
    windows: tuple[str, ...] = ()  # when a release may be switched to, local time; none: at any time
    lease_hold_s: float = 3600.0  # the longest that a lease is kept, and an update waits for leases; 0: none are given


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where blobs lie to be fetched by HTTP, so that they need not come through the broker."""

    url: str = ""  # of the folder that holds blob/; empty: there is none
    ca: str = ""  # file of the authorities that may vouch for an https mirror; empty: the system's


@dataclass(frozen=True, slots=True)
class Probation:
    """How long a trial is watched."""

    healthy_s: float = 600.0
    answers: int = 100
    longest_s: float = 86_400.0  # commits with evidence low when too few answers came by then
    canary_s: float = 5.0  # an inference through the real socket, this often
    health_d: str = "/etc/littoral/health.d"  # folder of the owner's own checks; empty: there are none
    checks_s: float = 60.0  # they are asked this often
    alpha: float = 1e-4  # chance that the soft tests, all together, call a good release bad, in one run of each
    errors_most: float = 0.05  # of answers that a release may call normal to fail
    late_most: float = 0.15  # of answers that a release may call normal to be late
    stalled_s: float = 30.0  # requests come and wait, and nothing comes out; 0: that is not judged
    understudy: bool = True  # the baseline stays loaded beside a trial, where memory allows


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Whether inputs are kept in memory, and how a release is compared with its baseline on them."""

    ring: bool = True  # the switch: false, and no input is kept
    ring_bytes: int = 12 * 1024 * 1024  # of memory, for the inputs of one model
    gate: str = ""  # lineage, strict or advisory, before what the rollout asks for; empty: as the rollout says
    budget_s: float = 60.0  # how long one comparison may take
    cpu_share: float = 0.05  # of one processor, for comparisons while a release is on trial or waits; 0: none are made


@dataclass(frozen=True, slots=True)
class Hardware:
    """When this device counts as being in trouble, and how much less it is then asked."""

    hot_c: float = 0.0  # degrees Celsius; 0: where the zone itself throttles, 80 where it does not say
    critical_c: float = 0.0  # 0: 10 above hot, and at least 5 below where the kernel ends the machine
    zones: tuple[str, ...] = ()  # types of thermal zones that count; none: those of processors
    pressure_percent: float = 10.0  # of the time in which something waits for memory
    disk_low_bytes: int = 8 * 1024 * 1024  # less is left free than any download leaves
    rest_percent: int = 100  # of each run's time, that a worker rests after it while the device is hot; 0: none


@dataclass(frozen=True, slots=True)
class Reports:
    """What the fleet server is told."""

    metrics_s: float = 60.0
    outbox_events: int = 10_000


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a device. Paths are absolute after reading; `state` is the folder agent.toml lies in."""

    state: Path
    device: str = ""
    tenant: str = "main"
    query_socket: Path = Path("query.sock")
    control_socket: Path = Path("control.sock")
    tags: dict[str, str] = field(default_factory=dict)
    broker: Broker = Broker()
    runtime: Runtime = Runtime()
    updates: Updates = Updates()
    mirror: Mirror = Mirror()
    probation: Probation = Probation()
    rehearsal: Rehearsal = Rehearsal()
    hardware: Hardware = Hardware()
    reports: Reports = Reports()
    models: dict[str, Model] = field(default_factory=dict)
    access: tuple[Access, ...] = ()
    delegates: dict[str, Delegate] = field(default_factory=dict)

    def model(self, name: str) -> Model:
        """How this model is treated."""
        return self.models.get(name) or Model(idle_unload_s=self.runtime.idle_unload_s)

    @property
    def identity(self) -> Path:
        """Folder of root.json, ca.pem, device.pem, device.key."""
        return self.state / "identity"


SECTIONS: dict[str, Any] = {
    "broker": Broker,
    "runtime": Runtime,
    "updates": Updates,
    "mirror": Mirror,
    "probation": Probation,
    "rehearsal": Rehearsal,
    "hardware": Hardware,
    "reports": Reports,
}
_OPEN = ("models", "access", "delegates")  # as many tables as the operator writes
_SHARES = {"alpha": 0.1, "errors_most": 0.5, "late_most": 0.25}  # and the most that makes a test of them
_TOP = ("device", "tenant", "query_socket", "control_socket", "tags")


def read(path: Path) -> Config:
    """Raises ConfigError for a file that cannot be read, an unknown setting, or a value that is none for it."""
    import tomllib  # the runtime, which stays, reads once

    try:
        value = tomllib.loads(path.read_text())
    except OSError as error:
        remedy = "Ask as root." if isinstance(error, PermissionError) else "`littoral-agent enroll` writes it."
        raise ConfigError(f"{path} cannot be read: {error.strerror}", remedy=remedy) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    unknown = sorted(set(value) - set(SECTIONS) - set(_OPEN) - set(_TOP))
    if unknown:
        raise ConfigError(f"{path}: unknown setting {', '.join(unknown)}")
    state = path.absolute().parent
    tags = _table(value.get("tags", {}), f"{path}: tags")
    sections = {name: _section(cls(), value.get(name, {}), f"{path}: {name}") for name, cls in SECTIONS.items()}
    model = Model(idle_unload_s=sections["runtime"].idle_unload_s)
    return Config(
        state=state,
        device=check_name(value["device"], "device") if value.get("device") else "",
        tenant=check_name(value.get("tenant", "main"), "tenant"),
        query_socket=state / str(value.get("query_socket", "query.sock")),
        control_socket=state / str(value.get("control_socket", "control.sock")),
        tags={check_name(k, "tag"): check_name(v, "tag value") for k, v in tags.items()},
        **sections,
        models={
            check_name(name, "model"): _section(model, table, f"{path}: models.{name}")
            for name, table in _table(value.get("models", {}), f"{path}: models").items()
        },
        access=_access(value.get("access", []), f"{path}: access"),
        delegates={
            name: _delegate(name, table, f"{path}: delegates.{name}")
            for name, table in _table(value.get("delegates", {}), f"{path}: delegates").items()
        },
    )


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is a table")
    return value


def _section(defaults: T, value: Any, where: str) -> T:
    """`defaults` with what the table says in their place."""
    known = [each.name for each in fields(defaults)]
    checked = {}
    for key, item in _table(value, where).items():
        if key not in known:
            raise ConfigError(f"{where}: unknown setting {key}")
        checked[key] = _typed(item, type(getattr(defaults, key)), f"{where}.{key}")
        if key == "socket_mode" and not _MODE.fullmatch(item):
            raise ConfigError(f"{where}.{key} is {item!r}; it is three octal digits, as in 0660")
        if key == "gate" and item not in ("", *GATES):
            raise ConfigError(f"{where}.{key} is {item!r}; it is one of {', '.join(GATES)}")
        if key in _SHARES and not 0 < checked[key] <= _SHARES[key]:
            raise ConfigError(f"{where}.{key} is {item!r}; it is above 0 and at most {_SHARES[key]:g}")
        if key == "windows":
            _check_windows(checked[key], f"{where}.{key}")
    return replace(defaults, **checked)


def _check_windows(texts: tuple[str, ...], where: str) -> None:
    from littoral import windows  # not for the runtime, which stays

    for text in texts:
        try:
            windows.parse(text)
        except WindowError as error:
            raise ConfigError(f"{where}: {error.cause}", remedy=error.remedy) from error


def _access(value: Any, where: str) -> tuple[Access, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"{where} is a list of tables, each one begins with [[access]]")
    return tuple(_section(Access(), table, where) for table in value)


def _delegate(name: str, value: Any, where: str) -> Delegate:
    found = _section(Delegate(kind=name), value, where)
    if not found.path:
        raise ConfigError(f"{where} names no path", remedy="Set path to the delegate's library.")
    return found


def _typed(item: Any, wanted: type, where: str) -> Any:
    if wanted is float and type(item) is int:
        item = float(item)
    if wanted is tuple and type(item) is list and all(type(each) is str for each in item):
        return tuple(item)
    if type(item) is not wanted or (isinstance(item, dict) and not all(type(each) is str for each in item.values())):
        raise ConfigError(f"{where} is {item!r}; it is {_TYPES[wanted]}")
    if isinstance(item, float) and not math.isfinite(item):
        raise ConfigError(f"{where} is {item}; it is a finite number")
    if isinstance(item, int | float) and item < 0:
        raise ConfigError(f"{where} is negative")
    return item
