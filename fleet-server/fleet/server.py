"""The running fleet server below its HTTP door: broker, link, and the loops that feed the service.

`startup` and `shutdown` are all it is told; while it runs, DATA/server.json says where it is.
"""

import fcntl
import json
import logging
import os
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleet import broker as brokers
from fleet import durable
from fleet.broker import Broker, Engine
from fleet.ca import Authority
from fleet.content import Content
from fleet.link import Arrival, Link, Received
from fleet.service import Repository, Service
from fleet.store import Store
from littoral.errors import BrokerError, ConflictError
from littoral.wire.topics import Topics

TENANT = "main"
BATCH = 500  # messages in one transaction
HOUSEKEEPING_S = 60.0
PAUSE_AFTER_FAILURE_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How `serve` was called. `broker` is the URL of one that is there already; empty: bring one along."""

    data: Path
    broker: str = ""
    broker_listen: tuple[str, int] = ("127.0.0.1", 8883)
    broker_engine: Engine = Engine.AUTO
    public_host: str = ""


class Server:
    """One at a time for one folder."""

    def __init__(self, options: Options, repository: Repository) -> None:
        """Raises ConflictError, ConfigError, KeysError, BrokerError."""
        self._data = options.data
        self._lock = _lock(options.data)
        self.store = Store(options.data)
        now = datetime.now(UTC)
        self.authority = Authority(options.data)
        self.broker = choose_broker(options, self.store, self.authority, now)
        content = Content(self.store, repository, TENANT)
        self._arrivals: queue.SimpleQueue[Arrival | None] = queue.SimpleQueue()
        self.link = Link(
            self.broker.server_address,
            self.authority.issue_server(now),
            Topics(TENANT),
            content,
            self._arrivals.put,
        )
        self.service = Service(
            self.store, repository, content, self.authority, self.link, self.broker.device_address, TENANT
        )
        self._url = ""
        self._warned: set[str] = set()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._ingest, name="ingest", daemon=True),
            threading.Thread(target=self._keep_house, name="housekeeping", daemon=True),
        ]

    def startup(self, url: str) -> None:
        """`url` is where the HTTP door listens. Raises BrokerError, BundleError."""
        self._url = url
        self.service.recover()
        self.service.renew_metadata()
        self._warn()
        self.broker.start(self._broker_started)
        self._write_whereabouts()
        self.link.start()
        for thread in self._threads:
            thread.start()

    def shutdown(self) -> None:
        """Also after a `startup` that failed half-way."""
        self._stopping.set()
        self.service.changes.close()
        self.link.stop()
        self._arrivals.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self.broker.stop()
        self.store.close()
        (self._data / "server.json").unlink(missing_ok=True)
        os.close(self._lock)

    def whereabouts(self) -> dict[str, Any]:
        """What DATA/server.json holds."""
        address = self.broker.device_address
        return {
            "url": self._url,
            "pid": os.getpid(),
            "broker": {
                "engine": self.broker.engine.value,
                "host": address.host,
                "port": address.port,
                "tls": address.tls,
                "pid": self.broker.pid,
            },
        }

    def status(self) -> dict[str, Any]:
        """For the head of the page."""
        broker = self.whereabouts()["broker"]
        return {
            "tenant": TENANT,
            "broker": {**broker, "connected": self.link.connected},
            "warnings": [*([self.broker.warning] if self.broker.warning else []), *self.service.warnings()],
        }

    def _broker_started(self, pid: int) -> None:
        self._write_whereabouts()
        self.service.note("broker-started", f"the broker ({self.broker.engine}) was started, process {pid}")

    def _write_whereabouts(self) -> None:
        durable.write_file(self._data / "server.json", json.dumps(self.whereabouts()).encode())

    def _ingest(self) -> None:
        while not self._stopping.is_set():
            batch, ends = _next_batch(self._arrivals)
            try:
                self.service.take(batch)
            except Exception:
                log.exception("%d messages could not be stored together", len(batch))
                self._take_one_by_one(batch)
            if ends:
                return

    def _take_one_by_one(self, batch: Sequence[Arrival]) -> None:
        """One message that cannot be stored takes no other with it. The broker forgets it too: it hands out only so
        many before it waits for an answer, and would come to hand out none."""
        self._stopping.wait(PAUSE_AFTER_FAILURE_S)
        for arrival in batch:
            try:
                self.service.take([arrival])
            except Exception:
                log.exception("a message was lost: %s", arrival)
                if isinstance(arrival, Received):
                    self.link.acknowledge([arrival])

    def _warn(self) -> None:
        """Logs each of the service's warnings once."""
        for warning in self.service.warnings():
            if warning not in self._warned:
                self._warned.add(warning)
                log.warning("%s", warning)

    def _keep_house(self) -> None:
        while not self._stopping.wait(HOUSEKEEPING_S):
            try:
                self.service.renew_metadata()
                self._warn()
                self.service.publish_wanted()
                self.store.reports.prune(int(datetime.now(UTC).timestamp()))
            except Exception:
                log.exception("housekeeping failed, and is tried again")


def choose_broker(options: Options, store: Store, authority: Authority, now: datetime) -> Broker:
    """Raises ConfigError or BrokerError."""
    if options.broker:
        return brokers.External(options.broker)
    host, port = options.broker_listen
    engine = options.broker_engine
    if engine is Engine.AUTO:
        engine = Engine.MOSQUITTO if brokers.find_mosquitto() else Engine.IOTCORE
    if engine is Engine.IOTCORE:
        host = brokers.LOOPBACK
    kept = store.settings.get("broker_port")
    port = brokers.choose_port(host, port, int(kept) if kept else None)
    store.settings.put("broker_port", str(port))
    if engine is Engine.MOSQUITTO:
        public = options.public_host or brokers.reachable_host(host)
        identity = authority.issue_broker([host, public], now)
        return brokers.Mosquitto(options.data, TENANT, (host, port), public, identity)
    if options.public_host not in ("", "localhost", brokers.LOOPBACK):
        raise BrokerError(
            f"iotcore isolates nothing, so it is not offered at {options.public_host}",
            remedy="Install mosquitto, or name a broker by --broker.",
        )
    password = store.settings.get("broker_password") or brokers.new_password()
    store.settings.put("broker_password", password)
    return brokers.Iotcore(options.data, port, password)


def _next_batch(arrivals: "queue.SimpleQueue[Arrival | None]") -> tuple[list[Arrival], bool]:
    """What has come, at least one; and whether that was the end."""
    batch: list[Arrival] = []
    item = arrivals.get()
    while item is not None:
        batch.append(item)
        if len(batch) >= BATCH:
            return batch, False
        try:
            item = arrivals.get_nowait()
        except queue.Empty:
            return batch, False
    return batch, True


def _lock(data: Path) -> int:
    try:
        descriptor = os.open(data / "server.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConflictError(f"{data} is no fleet's folder: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConflictError(f"a fleet server runs on {data} already") from error
    return descriptor
