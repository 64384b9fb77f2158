"""The connection to the broker: MQTT 5 by paho, kept up for ever, heard through poll().

paho's thread only appends to a queue and calls `wake`; everything else happens in the thread of whoever calls. The
link knows no topic but the presence of its own device and decides nothing.
"""

import contextlib
import os
import socket
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.config import Config
from agent.link.events import Connected, Delivered, Disconnected, Event, Message, Refused
from littoral import __version__
from littoral.errors import ConfigError
from littoral.wire.messages import Presence
from littoral.wire.topics import CHUNK_BYTES, Topics

KEEPALIVE_S = 30
SESSION_EXPIRY_S = 3_600  # commands wait that long for a device; everything else is retained or asked for again
CONNECT_TIMEOUT_S = 10.0
BACKOFF_LAST_S = 60.0
SETTLED_S = 30.0  # a connection that lasted so long starts the back-off anew; two devices of one name thus slow down
MAX_UNCONFIRMED = 64  # publishes without a PUBACK; then publish() gives None until some came
MAX_UNREAD_BYTES = 8 * 1024 * 1024  # sixteen full windows of chunks; the loop reads many times a second
MAX_PACKET_BYTES = CHUNK_BYTES + 8_192  # payload, topic and properties; the broker must not send more
FILTERS_PER_PACKET = 8  # AWS IoT Core takes no more in one SUBSCRIBE
STOP_TIMEOUT_S = 2.0


class Link:
    """One device's session at the broker.

    `boot` goes into presence and tells one start of the agent from another. `wake` is called from another thread
    whenever poll() has something to give; it must be quick. Raises ConfigError for settings or identity files that
    cannot be used at all.
    """

    def __init__(self, config: Config, boot: str, wake: Callable[[], None]) -> None:
        self.problem = "not connected yet"  # why there is no connection, or what the broker refused; "" when well
        self._boot = boot
        self._wake = wake
        self._presence = Topics(config.tenant).up(config.device, "presence")
        self._wanted: dict[str, int] = {}  # topic: quality of service
        self._events: deque[Event] = deque()
        self._unread_bytes = 0
        self._unread_lock = threading.Lock()
        # The connection that is up (0: none), as paho's thread knows it, and as the caller has heard of it.
        self._connections = 0
        self._up = 0
        self._heard = 0
        self._publishing = threading.Lock()
        self._up_since = 0.0
        self._refused = False  # the broker has said why it ends this connection
        self._failures = 0
        self._stopping = threading.Event()
        self._client = self._make_client(config)
        self._started = False

    @property
    def connected(self) -> bool:
        """Whether the connection that the caller heard of by Connected is still up."""
        return self._up != 0 and self._up == self._heard

    def start(self) -> None:
        """Connects in the background, and again whenever the connection is lost."""
        self._started = True
        self._client.loop_start()

    def stop(self) -> None:
        """Says offline and leaves; waits a few seconds at most."""
        self._stopping.set()
        if not self._started:
            return
        with self._publishing:
            if self._up:
                body = Presence(False, self._boot, __version__).encode()
                info = self._client.publish(self._presence, body, qos=1, retain=True)
                if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
                    info.wait_for_publish(STOP_TIMEOUT_S)
        self._client.disconnect()
        if self._client.ended.wait(STOP_TIMEOUT_S):
            self._client.loop_stop()
            self._client.close()

    def poll(self) -> list[Event]:
        """What happened since the last call, in order. Never waits."""
        events: list[Event] = []
        while self._events:
            event = self._events.popleft()
            if isinstance(event, Message):
                with self._unread_lock:
                    self._unread_bytes -= len(event.payload)
            elif isinstance(event, Connected):
                self._heard += 1
                self._greet()
            events.append(event)
        return events

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> int | None:
        """Sends at QoS 1. The number that Delivered or Refused will name; None: not taken, try later."""
        with self._publishing:
            if not self.connected:
                return None
            info = self._client.publish(topic, payload, qos=1, retain=retain)
        return info.mid if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    def subscribe(self, topics: Iterable[str], qos: int = 1) -> None:
        """Wants `topics` from now on, over every reconnect. Again for one that is wanted: its retained message comes
        again."""
        chosen = dict.fromkeys(topics, qos)
        self._wanted.update(chosen)
        if self.connected:
            self._send_subscribe(chosen)

    def nudge(self, topic: str) -> None:
        """Subscribes again to `topic`, which is wanted, and wants nothing sent for it.

        mosquitto (2.0.11) writes the retained messages of a SUBSCRIBE at once, and those for which the connection had
        no room only when it handles the next SUBSCRIBE.
        """
        if self.connected:
            options = SubscribeOptions(self._wanted[topic], retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
            self._client.subscribe([(topic, options)])

    def unsubscribe(self, topics: Iterable[str]) -> None:
        chosen = list(topics)
        for topic in chosen:
            self._wanted.pop(topic, None)
        if self.connected:
            for some in _batches(chosen):
                self._client.unsubscribe(some)

    def _greet(self) -> None:
        """The first words on a new connection, in the caller's thread: online means that its loop runs."""
        self.publish(self._presence, Presence(True, self._boot, __version__).encode(), retain=True)
        if self.connected:
            self._send_subscribe(self._wanted)

    def _send_subscribe(self, wanted: dict[str, int]) -> None:
        for some in _batches(list(wanted)):
            self._client.subscribe([(topic, SubscribeOptions(qos=wanted[topic])) for topic in some])

    # --- in paho's thread: nothing here waits for the caller, and nothing raises but what _Client expects ------------

    def _make_client(self, config: Config) -> "_Client":
        broker = config.broker
        try:
            broker.host.encode("idna")
        except UnicodeError as error:
            raise ConfigError(f"broker.host {broker.host!r} is no host name") from error
        if not broker.host or not 0 < broker.port < 65_536:
            raise ConfigError(f"no broker at {broker.host!r}, port {broker.port}")
        self._address = (broker.host, broker.port)
        client = _Client(self._on_failure, self._stopping, config.device)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_queued_messages_set(MAX_UNCONFIRMED)
        if broker.tls:
            client.tls_set_context(_tls(config))
        if broker.username:
            client.username_pw_set(broker.username, broker.password)
        client.will_set(self._presence, Presence(False, self._boot, __version__).encode(), qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_pre_connect = self._on_pre_connect
        client.on_socket_open = _on_socket_open
        self._begin(client)
        return client

    def _begin(self, client: "_Client") -> None:
        """Closes what is open, and has paho's loop connect when it runs (next)."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.MaximumPacketSize = MAX_PACKET_BYTES
        client.connect_async(*self._address, KEEPALIVE_S, clean_start=False, properties=properties)

    def _on_pre_connect(self, client: mqtt.Client, userdata: Any) -> None:
        """What was not confirmed is sent again by those who keep it, never by paho: it would come twice."""
        if self._stopping.is_set():
            raise _StoppedError
        self._refused = False
        with self._publishing:
            client.drop_out_messages()

    def _on_connect(
        self, client: mqtt.Client, userdata: Any, flags: mqtt.ConnectFlags, code: ReasonCode, props: Any
    ) -> None:
        self._refused = code.is_failure
        if code.is_failure:
            self.problem = f"the broker refused the connection: {code}"
            return
        self.problem = ""
        self._up_since = time.monotonic()
        self._connections += 1
        self._up = self._connections
        self._tell(Connected())
        if self._stopping.is_set():
            client.disconnect()

    def _on_connect_fail(self, client: mqtt.Client, userdata: Any) -> None:
        self.problem = f"no connection to the broker: {sys.exception()}"  # paho calls this where it caught it
        self._back_off()

    def _on_disconnect(
        self, client: mqtt.Client, userdata: Any, flags: mqtt.DisconnectFlags, code: ReasonCode, props: Any
    ) -> None:
        self._lost(f"the connection ended: {code}")

    def _on_failure(self, reason: str) -> float:
        """paho's loop is over; the seconds to wait before it begins anew."""
        self._begin(self._client)
        return self._lost(reason)

    def _lost(self, reason: str) -> float:
        was_up, self._up = self._up, 0
        if not self._refused:
            self.problem = reason
        if was_up:
            if time.monotonic() - self._up_since >= SETTLED_S:
                self._failures = 0
            self._tell(Disconnected(reason))
        return self._back_off()

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        with self._unread_lock:
            self._unread_bytes += len(message.payload)
            overrun = self._unread_bytes > MAX_UNREAD_BYTES
            if overrun:
                self._unread_bytes -= len(message.payload)
        if overrun:
            # A dropped message might be a retained state that never comes again; a new connection brings it.
            raise _OverrunError(f"over {MAX_UNREAD_BYTES} bytes arrived and were not read")
        self._tell(Message(message.topic, bytes(message.payload), bool(message.retain)))

    def _on_publish(self, client: mqtt.Client, userdata: Any, mid: int, code: ReasonCode, props: Any) -> None:
        if code.is_failure:
            self.problem = f"the broker refused a message: {code}"
            self._tell(Refused(mid, str(code)))
        else:
            self._tell(Delivered(mid))

    def _on_subscribe(self, client: mqtt.Client, userdata: Any, mid: int, codes: list[ReasonCode], props: Any) -> None:
        refused = [str(code) for code in codes if code.is_failure]
        if refused:
            self.problem = f"the broker refused a subscription: {refused[0]}"

    def _tell(self, event: Event) -> None:
        self._events.append(event)
        with contextlib.suppress(Exception):  # an exception in a callback ends the connection; the event is queued
            self._wake()

    def _back_off(self) -> float:
        """Half to all of 1, 2, 4 ... 60 seconds, at random, so that a fleet does not come back in one instant."""
        longest = min(2.0**self._failures, BACKOFF_LAST_S)
        self._failures = min(self._failures + 1, 10)
        delay = longest * (1 + int.from_bytes(os.urandom(4)) / 2**32) / 2  # `random` would take 0.1 MB
        self._client.reconnect_delay_set(delay, delay)  # type: ignore[arg-type]  # it takes any number
        return delay


class _StoppedError(Exception):
    """stop() was called while a connection was being made."""


class _OverrunError(Exception):
    """More came than the caller reads."""


class _Client(mqtt.Client):
    """paho's client, whose thread outlives an exception: paho's own ends by one and still looks connected."""

    def __init__(self, on_failure: Callable[[str], float], stopping: threading.Event, client_id: str) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        self.ended = threading.Event()
        self._on_failure = on_failure
        self._stopping = stopping

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        while not self._stopping.is_set():
            try:
                code = super().loop_forever(timeout, retry_first_connection)
                failure = f"paho's loop ended: {code!r}"
            except Exception as error:
                failure = f"the connection was given up: {error!r}"
            if not self._stopping.is_set():
                self._stopping.wait(self._on_failure(failure))
        self.ended.set()
        return code

    def close(self) -> None:
        """Closes what paho leaves to the garbage collector: the pair of sockets that wakes its thread."""
        self._reset_sockets()


def _tls(config: Config) -> ssl.SSLContext:
    """Mutual TLS with the fleet's own CA, and nothing else trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the certificate and the host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    identity = config.identity
    try:
        context.load_verify_locations(identity / "ca.pem")
        context.load_cert_chain(identity / "device.pem", identity / "device.key")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{identity} holds no usable identity: {error}", remedy="Enrol this device: `littoral-agent enroll`."
        ) from error
    return context


def _on_socket_open(client: mqtt.Client, userdata: Any, opened: Any) -> None:
    """Without this a round trip takes 45 ms instead of 0.6: Nagle's delay meets the delayed acknowledgement."""
    try:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        return  # slower, not wrong


def _batches(topics: list[str]) -> Iterable[list[str]]:
    return (topics[at : at + FILTERS_PER_PACKET] for at in range(0, len(topics), FILTERS_PER_PACKET))
