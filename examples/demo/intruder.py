"""Somebody with power over the broker: changes one byte of a chunk that lies there for devices to fetch.

The fleet server's embedded broker lets only the server publish chunks. So the intruder is given what an attacker would
have to steal: a certificate of the fleet's own authority, and a line in the broker's rules. Devices must not care.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import signal
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from examples.demo.processes import DemoError
from fleet.ca import Authority, Request
from littoral.wire.topics import Topics

NAME = "intruder"
PATIENCE_S = 20.0
AGAIN_S = 0.5


def alter_chunk(data: Path, scratch: Path, digest: str) -> bytes:
    """Flips one bit in the retained chunk `digest` on the broker of the fleet in `data`; what now lies there.

    Certificate and key are left in `scratch`. Raises DemoError.
    """
    topic = Topics("main").chunk(digest)
    with _may_publish(data, topic), _connected(data, scratch) as (client, heard):
        client.subscribe(topic, qos=1)
        true = _next(heard)
        if hashlib.sha256(true).hexdigest() != digest:
            raise DemoError(f"the broker does not hold the chunk {digest}")
        middle = len(true) // 2
        altered = true[:middle] + bytes([true[middle] ^ 1]) + true[middle + 1 :]
        for _ in range(int(PATIENCE_S / AGAIN_S)):  # until the broker has read its new rules
            client.publish(topic, altered, qos=1, retain=True)
            if _next(heard, AGAIN_S) == altered:
                return altered
    raise DemoError("the broker does not let the intruder publish")


@contextmanager
def _may_publish(data: Path, topic: str) -> Iterator[None]:
    """A line in the broker's rules, which it reads again when told."""
    rules = data / "broker" / "rules.acl"
    before = rules.read_text()
    rules.write_text(f"{before}\nuser {NAME}\ntopic readwrite {topic}\n")
    _reload(data)
    try:
        yield
    finally:
        rules.write_text(before)
        _reload(data)


def _reload(data: Path) -> None:
    os.kill(int(json.loads((data / "server.json").read_text())["broker"]["pid"]), signal.SIGHUP)


@contextmanager
def _connected(data: Path, scratch: Path) -> Iterator[tuple[Client, queue.Queue[bytes]]]:
    """A connection with a certificate of the fleet's authority, and what it hears."""
    heard: queue.Queue[bytes] = queue.Queue()
    client = Client(CallbackAPIVersion.VERSION2, client_id=NAME, protocol=MQTTProtocolVersion.MQTTv5)
    client.tls_set_context(_identity(data, scratch))

    def on_message(client: Client, userdata: None, message: MQTTMessage) -> None:
        heard.put(bytes(message.payload))

    client.on_message = on_message
    broker = json.loads((data / "server.json").read_text())["broker"]
    client.connect(broker["host"], broker["port"])
    client.loop_start()
    try:
        yield client, heard
    finally:
        client.disconnect()
        client.loop_stop()


def _identity(data: Path, scratch: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    authority = Authority(data)
    certificate = authority.issue_device(Request(key.public_key()), NAME, datetime.now(UTC))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (scratch / "intruder.pem").write_bytes(certificate.encode() + pem)
    context = ssl.create_default_context(cafile=str(authority.file))
    context.load_cert_chain(scratch / "intruder.pem")
    return context


def _next(heard: queue.Queue[bytes], timeout_s: float = PATIENCE_S) -> bytes:
    """The next message; nothing where none comes in time."""
    try:
        return heard.get(timeout=timeout_s)
    except queue.Empty:
        return b""
