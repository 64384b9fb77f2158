"""The fleet server's connection to the broker: publishes what devices may ask for, and collects what they say.

Everything published is retained, and is published again on every new connection, as a broker may have lost it all.
A chunk that nobody wants is cleared by an empty message.
paho's callbacks only put things into queues; one thread publishes, a small window at a time. Received messages are
acknowledged by whoever stored them.
"""

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from fleet.broker import Address
from fleet.ca import SERVER_NAME, Identity
from littoral.wire.messages import MAX_MESSAGE_BYTES, encode_names
from littoral.wire.topics import Topics

WINDOW = 20  # messages given to paho and not yet acknowledged
KEEPALIVE_S = 30
SESSION_S = 86_400  # how long the broker collects for a server that is away
LONGEST_PAUSE_S = 30

log = logging.getLogger(__name__)


class Content(Protocol):
    """What there is to publish. Called in the publishing thread."""

    def metadata(self) -> dict[str, bytes]:
        """Update metadata by file name."""

    def small_targets(self) -> dict[str, bytes]:
        """Signed small files (bundle.json, director.json) by digest."""

    def chunks(self) -> Iterable[str]:
        """Digests of the chunks to see to on a new connection: those that are wanted, and those that may lie there
        and are not."""

    def chunk(self, digest: str) -> bytes | None:
        """Bytes that are what the digest says; None where there are none."""

    def wants(self, digest: str) -> bool:
        """Whether the chunk shall lie on the broker."""

    def devices(self) -> Iterable[str]:
        """Devices that have a desired state."""

    def desired(self, device: str) -> bytes | None:
        """The signed desired state of a device."""


@dataclass(frozen=True, slots=True)
class Connected:
    """A new connection stands."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    reason: str


@dataclass(frozen=True, slots=True)
class Received:
    """A message of a device, to be acknowledged by `Link.acknowledge` when it is stored. `mid` is 0 at QoS 0."""

    device: str
    kind: str
    payload: bytes
    mid: int
    connection: int


Arrival = Connected | Disconnected | Received


@dataclass(frozen=True, slots=True)
class _Everything:
    """A broker that may have nothing."""


@dataclass(frozen=True, slots=True)
class _Metadata:
    """The metadata and the small targets."""


@dataclass(frozen=True, slots=True)
class _Desired:
    device: str


_Job = _Everything | _Metadata | _Desired


class _GoneError(Exception):
    """The connection ended in between; the next one begins with everything."""


class Link:
    """One connection. `arrived` is called in paho's thread with every arrival, and only queues it."""

    def __init__(
        self,
        address: Address,
        identity: Identity,
        topics: Topics,
        content: Content,
        arrived: Callable[[Arrival], None],
    ) -> None:
        self._address = address
        self._topics = topics
        self._content = content
        self._arrived = arrived
        self._changed = threading.Condition()
        self._connection = 0  # counts connections; what belongs to an older one is void
        self._connected = False
        self._stopping = False
        self._outstanding = 0
        self._urgent: dict[_Job, None] = {}  # dicts as ordered sets: asked twice is done once
        self._bulk: dict[str, None] = {}
        self._metadata_there: set[str] = set()  # on the broker now
        self._metadata_before: set[str] = set()  # current one publication ago
        self._targets_there: set[str] = set()
        self._client = _client(address, identity)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._thread = threading.Thread(target=self._publish_all, name="publisher", daemon=True)

    @property
    def connected(self) -> bool:
        return self._connected

    def start(self) -> None:
        """Connects, and goes on trying for ever."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_S
        self._client.connect_async(
            self._address.host, self._address.port, KEEPALIVE_S, clean_start=False, properties=properties
        )
        self._client.loop_start()
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if not self._thread.is_alive():
            return
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def publish_metadata(self) -> None:
        """The metadata changed."""
        self._add_urgent([_Metadata()])

    def publish_desired(self, devices: Iterable[str]) -> None:
        """The desired states of these devices changed."""
        self._add_urgent(_Desired(device) for device in devices)

    def publish_chunks(self, digests: Iterable[str]) -> None:
        """These chunks came to be wanted, or a device cannot get them, or nobody wants them any more: each is
        published or cleared, as `Content.wants` has it when its turn comes."""
        with self._changed:
            self._bulk.update(dict.fromkeys(digests))
            self._changed.notify_all()

    def acknowledge(self, messages: Iterable[Received]) -> None:
        """These are stored: the broker may forget them."""
        for message in messages:
            if message.mid and message.connection == self._connection:  # a broker hangs up on whoever answers 0
                self._client.ack(message.mid, 1)

    def _add_urgent(self, jobs: Iterable[_Job]) -> None:
        with self._changed:
            self._urgent.update(dict.fromkeys(jobs))
            self._changed.notify_all()

    # --- paho's thread: only queues ---------------------------------------------------------------------------

    def _on_connect(
        self, client: Client, _: Any, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._arrived(Disconnected(str(code)))
            return
        with self._changed:
            self._connection += 1
            self._connected = True
            self._outstanding = 0
            self._metadata_there.clear()
            self._metadata_before.clear()
            self._targets_there.clear()
            self._urgent[_Everything()] = None
            self._changed.notify_all()
        self._arrived(Connected())
        client.subscribe(f"{self._topics.prefix}/dev/+/up/+", options=SubscribeOptions(qos=1))

    def _on_disconnect(
        self, client: Client, _: Any, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        with self._changed:
            self._connected = False
            self._changed.notify_all()
        self._arrived(Disconnected(str(code)))

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        parsed = self._topics.parse_up(message.topic)
        if parsed is not None:
            self._arrived(Received(*parsed, bytes(message.payload), message.mid, self._connection))

    def _on_publish(self, client: Client, _: Any, mid: int, code: ReasonCode, properties: Properties | None) -> None:
        with self._changed:
            self._outstanding = max(0, self._outstanding - 1)
            self._changed.notify_all()
        if code.is_failure:
            log.warning("the broker refused a message: %s", code)

    # --- the publishing thread --------------------------------------------------------------------------------

    def _publish_all(self) -> None:
        while (job := self._next_job()) is not None:
            try:
                self._publish(job)
            except _GoneError:
                continue
            except Exception:
                log.exception("could not publish %s", job)

    def _next_job(self) -> _Job | str | None:
        """A job, or the digest of a chunk; None when the link stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or (self._connected and bool(self._urgent or self._bulk)))
            if self._stopping:
                return None
            if self._urgent:
                job = next(iter(self._urgent))
                del self._urgent[job]
                return job
            digest = next(iter(self._bulk))
            del self._bulk[digest]
            return digest

    def _publish(self, job: _Job | str) -> None:
        connection = self._connection
        match job:
            case _Everything():
                self._add_urgent([_Metadata(), *map(_Desired, self._content.devices())])
                self.publish_chunks(self._content.chunks())
            case _Metadata():
                self._publish_metadata(connection)
            case _Desired(device):
                if (desired := self._content.desired(device)) is not None:
                    self._send(self._topics.desired(device), desired, connection)
            case str(digest):
                if not self._content.wants(digest):
                    self._send(self._topics.chunk(digest), b"", connection)
                elif (chunk := self._content.chunk(digest)) is not None:
                    self._send(self._topics.chunk(digest), chunk, connection)

    def _publish_metadata(self, connection: int) -> None:
        """Whatever timestamp.json leads to is there, and in the index, before it is. What the publication before
        this one listed stays, for devices that are in the middle of reading it."""
        for digest, target in self._content.small_targets().items():
            if digest not in self._targets_there:
                self._send(self._topics.chunk(digest), target, connection)
                self._targets_there.add(digest)
        files = self._content.metadata()
        timestamp = files.pop("timestamp.json", None)
        for name, data in files.items():
            self._send(self._topics.meta(name), data, connection)
        current = {*files, *([] if timestamp is None else ["timestamp.json"])}
        listed = current | self._metadata_before
        self._send(self._topics.index, encode_names(sorted(listed)), connection)
        if timestamp is not None:
            self._send(self._topics.meta("timestamp.json"), timestamp, connection)
        for name in self._metadata_there - listed:
            self._send(self._topics.meta(name), b"", connection)
        self._metadata_there, self._metadata_before = listed, current

    def _send(self, topic: str, payload: bytes, connection: int) -> None:
        """Publishes, retained. Raises _GoneError."""
        if len(payload) > MAX_MESSAGE_BYTES:
            log.error("%s has %d bytes, the limit is %d", topic, len(payload), MAX_MESSAGE_BYTES)
            return
        with self._changed:
            self._changed.wait_for(lambda: self._outstanding < WINDOW or self._is_gone(connection) or self._stopping)
            if self._is_gone(connection) or self._stopping:
                raise _GoneError
            self._outstanding += 1
        self._client.publish(topic, payload, qos=1, retain=True)

    def _is_gone(self, connection: int) -> bool:
        return not self._connected or connection != self._connection


def _client(address: Address, identity: Identity) -> Client:
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=SERVER_NAME,
        protocol=MQTTProtocolVersion.MQTTv5,
        manual_ack=True,
    )
    client.reconnect_delay_set(1, LONGEST_PAUSE_S)
    client.on_socket_open = _set_nodelay
    if address.username:
        client.username_pw_set(address.username, address.password)
    if address.tls:
        context = ssl.create_default_context(cafile=str(identity.ca))
        context.load_cert_chain(identity.certificate, identity.key)
        client.tls_set_context(context)
    return client


def _set_nodelay(client: Client, _: Any, connection: Any) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
