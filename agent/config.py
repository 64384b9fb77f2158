"""agent.toml: the settings of a device, read by both daemons. `littoral-agent enroll` writes a complete one.

docs/settings.md describes every setting; a test compares it with the classes here.
"""

import math
import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from littoral.errors import ConfigError
from littoral.names import check_name

_MODE = re.compile(r"0?[0-7]{3}")


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
    engine: str = "auto"  # auto, litert, tflite
    memory_budget_bytes: int = 0  # for all models together; 0: half of the machine's memory
    vouch_grace_s: float = 10.0  # how long a trial is served while the agent is away
    hello_timeout_s: float = 5.0
    max_connections: int = 256
    trial_timeout_s: float = 60.0
    queue_per_connection: int = 64  # requests read ahead of one connection before it has to wait
    socket_mode: str = "0660"


@dataclass(frozen=True, slots=True)
class Updates:
    window_chunks: int = 8  # chunks asked for at the same time
    max_bytes_per_s: int = 0  # 0: as fast as the link
    answer_timeout_s: float = 10.0  # a broker that is silent for longer gave no answer
    retry_first_s: float = 1.0  # back-off after bytes that did not come or were wrong; doubles
    retry_last_s: float = 300.0
    trial_loads: int = 3  # how often a trial may be loaded before it is given up
    disk_reserve_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Probation:
    healthy_s: float = 600.0
    answers: int = 100
    longest_s: float = 86_400.0  # commits with evidence low when too few answers came by then
    canary_s: float = 5.0  # an inference through the real socket, this often


@dataclass(frozen=True, slots=True)
class Reports:
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
    probation: Probation = Probation()
    reports: Reports = Reports()

    @property
    def identity(self) -> Path:
        """Folder of root.json, ca.pem, device.pem, device.key."""
        return self.state / "identity"


SECTIONS: dict[str, Any] = {
    "broker": Broker,
    "runtime": Runtime,
    "updates": Updates,
    "probation": Probation,
    "reports": Reports,
}
_TOP = ("device", "tenant", "query_socket", "control_socket", "tags")


def read(path: Path) -> Config:
    """Raises ConfigError for a file that cannot be read, an unknown setting, or a value that is none for it."""
    try:
        value = tomllib.loads(path.read_text())
    except OSError as error:
        remedy = "`littoral-agent enroll` writes it."
        raise ConfigError(f"{path} cannot be read: {error.strerror}", remedy=remedy) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    unknown = sorted(set(value) - set(SECTIONS) - set(_TOP))
    if unknown:
        raise ConfigError(f"{path}: unknown setting {', '.join(unknown)}")
    state = path.absolute().parent
    tags = value.get("tags", {})
    if not isinstance(tags, dict):
        raise ConfigError(f"{path}: tags is a table")
    return Config(
        state=state,
        device=check_name(value["device"], "device") if value.get("device") else "",
        tenant=check_name(value.get("tenant", "main"), "tenant"),
        query_socket=state / str(value.get("query_socket", "query.sock")),
        control_socket=state / str(value.get("control_socket", "control.sock")),
        tags={check_name(k, "tag"): check_name(v, "tag value") for k, v in tags.items()},
        **{name: _section(cls, value.get(name, {}), f"{path}: {name}") for name, cls in SECTIONS.items()},
    )


def _section(cls: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is a table")
    known = {f.name: f for f in fields(cls)}
    checked = {}
    for key, item in value.items():
        if key not in known:
            raise ConfigError(f"{where}: unknown setting {key}")
        checked[key] = _typed(item, type(known[key].default), f"{where}.{key}")
        if key == "socket_mode" and not _MODE.fullmatch(item):
            raise ConfigError(f"{where}.{key} is {item!r}; it is three octal digits, as in 0660")
    return cls(**checked)


def _typed(item: Any, wanted: type, where: str) -> Any:
    if wanted is float and type(item) is int:
        item = float(item)
    if type(item) is not wanted:
        raise ConfigError(f"{where} is {item!r}; it is of type {wanted.__name__}")
    if isinstance(item, float) and not math.isfinite(item):
        raise ConfigError(f"{where} is {item}; it is a finite number")
    if isinstance(item, int | float) and item < 0:
        raise ConfigError(f"{where} is negative")
    return item
