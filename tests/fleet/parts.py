"""Real parts that tests of the fleet server put together: a bundle, a running fleet, a device's MQTT client."""

import json
import random
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from fleet import keys
from fleet.broker import Engine
from fleet.enrolment import Application
from fleet.metadata import sign_release
from fleet.repo import Repository
from fleet.server import Options, Server
from fleet.service import Service
from littoral import canonical
from littoral.bundle.chunks import list_of, split
from littoral.bundle.manifest import Blob, Lineage, Manifest
from littoral.wire.messages import Ending, ModelState, Progress, Reported
from littoral.wire.topics import Topics

PASSPHRASE = "a good long passphrase"
WAIT_S = 60.0
TOPICS = Topics("main")


def now() -> datetime:
    return datetime.now(UTC)


def eventually(holds: Callable[[], Any], what: str = "") -> Any:
    """Waits until `holds` answers something true, and returns it."""
    until = time.monotonic() + WAIT_S
    pause = threading.Event()
    while not (answer := holds()):
        assert time.monotonic() < until, what or "it did not come in time"
        pause.wait(0.02)
    return answer


# --- bundles ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bundle:
    manifest: Manifest
    blobs: dict[str, bytes]

    @property
    def text(self) -> str:
        return self.manifest.encode().decode()

    @property
    def digest(self) -> str:
        return canonical.digest(self.manifest.encode())

    def chunks(self) -> dict[str, bytes]:
        """Every chunk list and chunk."""
        lists = {blob.chunks for blob in self.manifest.blobs.values()}
        found = {name: data for name, data in self.blobs.items() if name in lists}
        for name, data in self.blobs.items():
            if name not in lists:
                found |= {canonical.digest(piece): piece for piece in split(data, self.manifest.chunk_bytes)}
        return found


def make_bundle(model: str = "eye", release: int = 1, size: int = 20_000, chunk_bytes: int = 1_000) -> Bundle:
    roles = {"model": random.Random(f"{model} {release}").randbytes(size), "labels": b"cat\ndog\n"}
    blobs: dict[str, bytes] = {}
    described = {}
    for role, data in roles.items():
        pieces = list_of(split(data, chunk_bytes))
        blobs |= {canonical.digest(data): data, canonical.digest(pieces): pieces}
        described[role] = Blob(canonical.digest(data), len(data), canonical.digest(pieces))
    manifest = Manifest(
        model=model,
        release=release,
        version=f"1.{release}",
        floor=0,
        lineage=Lineage.RETRAINED,
        blobs=described,
        chunk_bytes=chunk_bytes,
        interface={"shapes": "0" * 64, "labels": "0" * 64},
    )
    return Bundle(manifest, blobs)


def publish(service: Service, repository: Repository, operator_keys: Path, bundle: Bundle) -> None:
    """As `littoral-fleet publish` does it."""
    operator = keys.load(operator_keys, PASSPHRASE)
    for name, data in bundle.blobs.items():
        service.store.blobs.put(name, data)
    signed = sign_release(repository.files(), bundle.manifest.encode(), operator, now())
    service.publish(bundle.text, {name: data.decode() for name, data in signed.items()})


# --- devices ----------------------------------------------------------------------------------------------------


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def make_csr(key: ec.EllipticCurvePrivateKey, name: str = "whoever") -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def application(token: str, name: str | None = None, **tags: str) -> Application:
    return Application(token, make_csr(new_key()), name, tags, "x86_64")


def reported(device: str, generation: int = 0, **models: ModelState) -> Reported:
    return Reported(device, "boot", "0.1", "x86_64", "litert", generation, models=models)


def committed(bundle: Bundle, evidence: str = "full") -> ModelState:
    last = Ending(bundle.manifest.release, bundle.digest, 1, "committed")
    return ModelState(bundle.manifest.release, bundle.digest, "1", "committed", evidence, last=last)


def updating(bundle: Bundle, state: str, fetched: int = 0, total: int = 0) -> ModelState:
    progress = Progress(bundle.manifest.release, bundle.digest, 1, state, fetched_bytes=fetched, total_bytes=total)
    return ModelState(update=progress)


def ended(bundle: Bundle, outcome: str, reason: str = "it was bad", attempt: int = 1) -> ModelState:
    last = Ending(bundle.manifest.release, bundle.digest, attempt, outcome, "constant", reason, {"answers": 64})
    return ModelState(last=last)


SKETCH = "".join(f"{(row * 24 + column * 8) % 256:02x}" for row in range(8) for column in range(8))


def evidence(outcome: str = "rolled-back", **changes: Any) -> dict[str, Any]:
    """What a device tells of a verdict, docs/mqtt.md: here of a release that sees red and blue exchanged."""
    compared = {
        "evidence": "full",
        "why": "",
        "gate": "retrained",
        "verdict": "misread",
        "reason": "it sees red and blue exchanged: skill 0.97 if so, 0.41 as it is",
        "inputs": 64,
        "scenes": 27,
        "skill_ppm": 412_000,
        "skill_limit_ppm": 0,
        "sure": 48,
        "disagreements": 11,
        "disagreements_limit": 35,
        "ratio_ppm": 1_040_000,
        "baseline_release": 1,
        "probes": [
            {"name": "red-blue", "text": "sees red and blue exchanged", "skill_ppm": 971_000, "fires": 1},
            {"name": "half", "text": "sees its input half as bright", "skill_ppm": 388_000, "fires": 0},
        ],
        "worst": [
            {"sketch": SKETCH, "baseline": "fire engine 0.93", "release": "swimming pool 0.71", "far_ppm": 96_000},
            {"sketch": SKETCH[::-1], "baseline": "tomato 0.88", "release": "plum 0.64", "far_ppm": 71_000},
        ],
    }
    errors = {"bad": 3, "requests": 120, "bad_blocks": 2, "blocks": 40, "ratio_milli": 1_200, "bound_milli": 9_210}
    return {
        "model": "eye",
        "release": 2,
        "bundle": "b" * 64,
        "at": 1_795_000_000,
        "outcome": outcome,
        "code": "misread",
        "reason": compared["reason"],
        "tests": {"errors": errors},
        "rehearsal": compared,
        "shadow": None,
        **changes,
    }


class Device:
    """A device's client: everything that came, by topic, and what the broker said of what it sent."""

    def __init__(self, answer: dict[str, Any], key: ec.EllipticCurvePrivateKey, folder: Path, **said: str) -> None:
        """`answer` is that of enrolment. `said` may name another client_id."""
        self.id: str = answer["device"]
        self.messages: dict[str, bytes] = {}
        self.refused: list[str] = []
        self.connects = 0
        self.problems: list[str] = []
        self._published: dict[int, ReasonCode] = {}
        self._subscribed: set[int | None] = set()
        broker = answer["broker"]
        self.client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=said.get("client_id", self.id),
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        self.client.reconnect_delay_set(1, 1)
        if broker["username"]:
            self.client.username_pw_set(broker["username"], said.get("password", broker["password"]))
        if broker["tls"]:
            self.client.tls_set_context(client_context(answer, key, folder))
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = self._on_message
        self.client.on_publish = self._on_publish
        self.client.on_subscribe = self._on_subscribe
        self._filters: list[str] = []
        self.client.connect_async(broker["host"], broker["port"], 30)

    def start(self) -> "Device":
        self.client.loop_start()
        eventually(lambda: self.connects or self.problems, f"{self.id} did not connect")
        return self

    def subscribe(self, *filters: str) -> None:
        """Returns when the broker knows of all of them."""
        self._filters += filters
        for one in filters:
            mid = self.client.subscribe(one, options=SubscribeOptions(qos=1))[1]
            eventually(partial(self._subscribed.__contains__, mid), f"no answer to the subscription to {one}")

    def send(self, topic: str, payload: bytes, retain: bool = False) -> ReasonCode:
        """The broker's answer to a publication."""
        mid = self.client.publish(topic, payload, qos=1, retain=retain).mid
        answer: ReasonCode = eventually(lambda: self._published.get(mid), f"no answer to {topic}")
        return answer

    def say(self, message: Reported) -> None:
        assert not self.send(TOPICS.up(self.id, "state"), message.encode(), retain=True).is_failure

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _on_connect(
        self, client: Client, _: Any, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self.problems.append(str(code))
            return
        for one in self._filters:
            client.subscribe(one, options=SubscribeOptions(qos=1))
        self.connects += 1

    def _on_disconnect(
        self, client: Client, _: Any, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self.problems.append(str(code))

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        self.messages[message.topic] = bytes(message.payload)

    def _on_publish(self, client: Client, _: Any, mid: int, code: ReasonCode, properties: Properties | None) -> None:
        self._published[mid] = code

    def _on_subscribe(
        self, client: Client, _: Any, mid: int, codes: list[ReasonCode], properties: Properties | None
    ) -> None:
        self._subscribed.add(mid)


def client_context(answer: dict[str, Any], key: ec.EllipticCurvePrivateKey, folder: Path) -> ssl.SSLContext:
    """TLS with the identity that enrolment gave."""
    folder.mkdir(exist_ok=True)
    (folder / "ca.pem").write_text(answer["ca"])
    (folder / "device.pem").write_text(answer["certificate"])
    (folder / "device.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.load_cert_chain(folder / "device.pem", folder / "device.key")
    return context


# --- a fleet ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Fleet:
    """A running fleet server and its devices."""

    server: Server
    repository: Repository
    data: Path
    operator_keys: Path
    devices: list[Device] = field(default_factory=list)

    @property
    def service(self) -> Service:
        return self.server.service

    def enrol(self, name: str, **tags: str) -> tuple[dict[str, Any], ec.EllipticCurvePrivateKey]:
        key = new_key()
        token = self.service.create_token()
        return self.service.enrol(Application(token, make_csr(key), name, tags, "x86_64")), key

    def join(self, name: str, **tags: str) -> Device:
        """An enrolled device, connected."""
        answer, key = self.enrol(name, **tags)
        return self.connect(answer, key)

    def connect(self, answer: dict[str, Any], key: ec.EllipticCurvePrivateKey, **said: str) -> Device:
        folder = self.data.parent / f"identity-{len(self.devices)}"
        device = Device(answer, key, folder, **said)
        self.devices.append(device)
        return device.start()

    def publish(self, bundle: Bundle) -> None:
        publish(self.service, self.repository, self.operator_keys, bundle)

    def force(self, topic: str, payload: bytes) -> None:
        """Puts retained bytes on the broker that the server would not."""
        self.server.link._client.publish(topic, payload, qos=1, retain=True)

    def standings(self, model: str = "eye") -> dict[str, str]:
        """How each device stands in the newest rollout."""
        newest = self.service.rollouts(model)[0]
        return {device["id"]: device["state"] for device in newest["devices"]}

    def broker_pid(self) -> int:
        pid: int = json.loads((self.data / "server.json").read_text())["broker"]["pid"]
        return pid


def start_fleet(data: Path, operator_keys: Path, engine: Engine) -> Fleet:
    repository = Repository(data)
    options = Options(data, broker_listen=("127.0.0.1", 0), broker_engine=engine)
    fleet = Fleet(Server(options, repository), repository, data, operator_keys)
    fleet.server.startup("http://127.0.0.1:1")
    eventually(lambda: fleet.server.link.connected, "the server did not connect to its broker")
    return fleet
