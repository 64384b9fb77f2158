"""The MQTT broker that the fleet server brings along, or how to reach one that is there already.

`mosquitto` where it is installed: TLS, client certificates, and rules that keep each device to its own topics. Else the
`iotcore` wheel, which isolates nothing and is therefore kept on this machine. Either runs as a child that is started
again when it dies; neither keeps anything on disk, as the server publishes everything again.
"""

import os
import secrets
import shutil
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from fleet.ca import SERVER_NAME, Identity
from fleet.supervisor import Supervisor
from littoral.errors import BrokerError, ConfigError
from littoral.wire.messages import MAX_MESSAGE_BYTES
from littoral.wire.topics import ROOT

START_TIMEOUT_S = 15.0
PACKET_BYTES = MAX_MESSAGE_BYTES + 4_096  # topic and properties beside the payload
QUEUED_MESSAGES = 10_000  # kept for a fleet server that is away for a while
LOOPBACK = "127.0.0.1"
_SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


class Engine(StrEnum):
    """Which broker runs."""

    AUTO = "auto"
    MOSQUITTO = "mosquitto"
    IOTCORE = "iotcore"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class Address:
    """How to reach a broker. With `tls` and no user name, the client's certificate says who it is."""

    host: str
    port: int
    tls: bool
    username: str = ""
    password: str = ""


class Broker(Protocol):
    """What the server needs of a broker."""

    @property
    def engine(self) -> Engine: ...

    @property
    def server_address(self) -> Address:
        """For the fleet server's own connection."""

    @property
    def device_address(self) -> Address:
        """For devices; enrolment hands it out."""

    @property
    def pid(self) -> int | None:
        """The broker's process, where it is a child of this one."""

    @property
    def warning(self) -> str:
        """What the operator should know of it; empty for nothing."""

    def start(self, started: Callable[[int], None]) -> None:
        """Returns when it takes connections. `started` is called after every start. Raises BrokerError."""

    def stop(self) -> None: ...


class External:
    """A broker that somebody else runs."""

    engine = Engine.EXTERNAL
    pid = None
    warning = ""

    def __init__(self, url: str) -> None:
        """`mqtt(s)://user:password@host:port`. Raises ConfigError."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"{url!r} is no address of a broker: {error}") from error
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path.strip("/"):
            raise ConfigError(
                f"{url!r} is no address of a broker", remedy="It has the form mqtts://user:password@host:8883."
            )
        tls = parts.scheme == "mqtts"
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        self._address = Address(parts.hostname, port or (8883 if tls else 1883), tls, user, password)

    @property
    def server_address(self) -> Address:
        return self._address

    @property
    def device_address(self) -> Address:
        return self._address

    def start(self, started: Callable[[int], None]) -> None:
        return None

    def stop(self) -> None:
        return None


class Embedded:
    """A broker as a child of this process, listening on `host`:`port`."""

    def __init__(self, engine: Engine, command: list[str], listen: tuple[str, int], output: Path) -> None:
        self.engine = engine
        self._host, self._port = listen
        self._pid: int | None = None
        self._started: Callable[[int], None] = lambda pid: None
        self._supervisor = Supervisor(command, output, self._note)

    @property
    def pid(self) -> int | None:
        return self._pid

    @property
    def local_address(self) -> tuple[str, int]:
        return (LOOPBACK if self._host in ("0.0.0.0", "::") else self._host), self._port

    def start(self, started: Callable[[int], None]) -> None:
        if not _is_free(self._host, self._port):  # whoever listens there would be taken for the broker
            raise BrokerError(f"{self._host}:{self._port} is taken by another program")
        self._started = started
        self._supervisor.start()
        pause = threading.Event()
        for _ in range(int(START_TIMEOUT_S / 0.05)):
            if _accepts(*self.local_address):
                return
            pause.wait(0.05)
        words = self._supervisor.last_words()
        self.stop()
        raise BrokerError(f"{self.engine} does not listen on {self._host}:{self._port}: {words}")

    def stop(self) -> None:
        self._supervisor.stop()
        self._pid = None

    def _note(self, pid: int) -> None:
        self._pid = pid
        self._started(pid)


class Mosquitto(Embedded):
    """Each device is who its certificate says, and has its own topics only."""

    warning = ""

    def __init__(self, data: Path, tenant: str, listen: tuple[str, int], public_host: str, own: Identity) -> None:
        """`own` is the broker's certificate. Raises BrokerError where mosquitto is not installed."""
        program = find_mosquitto()
        if program is None:
            raise BrokerError(
                "mosquitto is not installed", remedy="`apt install mosquitto`, or another --broker-engine."
            )
        self._public_host = public_host
        folder = data / "broker"
        acl = folder / "rules.acl"
        acl.write_text(mosquitto_rules(tenant))
        acl.chmod(0o600)
        configuration = folder / "mosquitto.conf"
        configuration.write_text(mosquitto_configuration(listen, own, acl))
        command = [program, "-c", str(configuration)]
        super().__init__(Engine.MOSQUITTO, command, listen, folder / "broker.log")

    @property
    def server_address(self) -> Address:
        return Address(*self.local_address, tls=True)

    @property
    def device_address(self) -> Address:
        return Address(self._public_host, self._port, tls=True)


class Iotcore(Embedded):
    """No certificates and no rules: whoever has the fleet's password may do anything, so it stays on this machine."""

    USER = "fleet"
    warning = (
        "mosquitto is not installed: the broker is iotcore, which does not isolate devices from each other. "
        "It listens on this machine only."
    )

    def __init__(self, data: Path, port: int, password: str) -> None:
        folder = data / "broker"
        folder.mkdir(mode=0o700, exist_ok=True)
        configuration = folder / "iotcore.toml"
        configuration.touch(mode=0o600)
        configuration.write_text(iotcore_configuration(port, self.USER, password))
        command = [sys.executable, "-m", "iotcore", "--config", str(configuration), "--log-level", "ERROR"]
        super().__init__(Engine.IOTCORE, command, (LOOPBACK, port), folder / "broker.log")
        self._address = Address(LOOPBACK, port, False, self.USER, password)

    @property
    def server_address(self) -> Address:
        return self._address

    @property
    def device_address(self) -> Address:
        return self._address


def find_mosquitto() -> str | None:
    """Debian puts it into /usr/sbin, which is not on a user's PATH."""
    return shutil.which("mosquitto", path=_SYSTEM_PATH)


def new_password() -> str:
    return secrets.token_urlsafe(24)


def mosquitto_rules(tenant: str) -> str:
    """The access rules: docs/mqtt.md says them in words. `%u` is the id in the client's certificate."""
    topics = f"{ROOT}/{tenant}"
    return "\n".join(
        [
            f"user {SERVER_NAME}",
            f"topic readwrite {ROOT}/#",
            f"pattern read {topics}/meta/#",
            f"pattern read {topics}/chunk/#",
            f"pattern read {topics}/dev/%u/desired",
            f"pattern read {topics}/dev/%u/cmd/#",
            f"pattern write {topics}/dev/%u/up/#",
            "",
        ]
    )


def mosquitto_configuration(listen: tuple[str, int], own: Identity, acl: Path) -> str:
    lines = [
        f"listener {listen[1]} {listen[0]}",
        f"cafile {own.ca}",
        f"certfile {own.certificate}",
        f"keyfile {own.key}",
        "tls_version tlsv1.2",
        "require_certificate true",
        # Both: with the first alone, a device could take over another's session by its client id.
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "allow_anonymous false",
        f"acl_file {acl}",
        "persistence false",
        f"max_packet_size {PACKET_BYTES}",
        f"max_queued_messages {QUEUED_MESSAGES}",
        "persistent_client_expiration 14d",
        "set_tcp_nodelay true",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "connection_messages false",
    ]
    if os.geteuid() == 0:
        lines.append("user root")  # it would give up its rights before it reads the keys
    return "\n".join([*lines, ""])


def iotcore_configuration(port: int, user: str, password: str) -> str:
    return f"""id = 0

[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "v5-1"
listen = "{LOOPBACK}:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = {PACKET_BYTES}
max_inflight_count = 100
dynamic_filters = true

[v5.1.connections.auth]
{user} = "{password}"
"""


def choose_port(host: str, wanted: int, kept: int | None) -> int:
    """`wanted`, or for 0 the one `kept` from last time if it is free, else any free one."""
    if wanted:
        return wanted
    if kept is not None and _is_free(host, kept):
        return kept
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def reachable_host(host: str) -> str:
    """What others call a host that listens on `host`: this machine's name where that is everywhere."""
    return socket.gethostname() if host in ("0.0.0.0", "::", "") else host


def _is_free(host: str, port: int) -> bool:
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _accepts(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
