import hashlib
import os
import signal
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from fleet import ca
from fleet.broker import Engine, External, choose_port
from fleet.ca import SERVER_NAME, Authority
from fleet.repo import Repository
from fleet.server import Options, Server
from littoral.errors import BrokerError, ConfigError
from tests.fleet.parts import (
    TOPICS,
    Device,
    Fleet,
    committed,
    eventually,
    make_bundle,
    new_key,
    now,
    reported,
    start_fleet,
)

pytestmark = pytest.mark.mosquitto


@pytest.fixture
def door(fleet: Fleet) -> Device:
    return fleet.join("door")


@pytest.fixture
def gate(fleet: Fleet) -> Device:
    return fleet.join("gate")


def heard_by(fleet: Fleet, device: Device, topic: str) -> bool:
    """Whether `device` hears what the server publishes. What is published after it, and for all, is heard for sure."""
    mark = TOPICS.chunk(hashlib.sha256(topic.encode()).hexdigest())
    device.subscribe(topic, mark)
    fleet.force(topic, b"x")
    fleet.force(mark, b"mark")
    eventually(lambda: mark in device.messages)
    return topic in device.messages


def test_a_device_reads_its_own_topics_and_what_is_for_all(fleet: Fleet, door: Device) -> None:
    for topic in (TOPICS.desired("door"), TOPICS.command("door", "identify"), TOPICS.index, TOPICS.chunk("a" * 64)):
        assert heard_by(fleet, door, topic)


def test_a_device_cannot_read_what_is_for_another(fleet: Fleet, door: Device, gate: Device) -> None:
    for topic in (TOPICS.desired("gate"), TOPICS.command("gate", "identify"), TOPICS.up("gate", "state")):
        assert not heard_by(fleet, door, topic)
    gate.say(reported("gate"))
    door.subscribe("#", f"{TOPICS.prefix}/dev/+/desired", f"{TOPICS.prefix}/dev/+/up/+", "$SYS/#")
    heard_by(fleet, door, TOPICS.chunk("b" * 64))
    assert not [topic for topic in door.messages if "/gate/" in topic or topic.startswith("$SYS")]


def test_a_device_writes_under_its_own_id_only(door: Device, gate: Device) -> None:
    assert not door.send(TOPICS.up("door", "state"), b"{}").is_failure
    for topic in (
        TOPICS.up("gate", "state"),
        TOPICS.desired("door"),
        TOPICS.desired("gate"),
        TOPICS.command("gate", "restart"),
        TOPICS.index,
        TOPICS.meta("timestamp.json"),
        TOPICS.chunk("a" * 64),
        "lt/v1/other/dev/door/up/state",
        "elsewhere",
    ):
        assert door.send(topic, b"{}").is_failure, topic


def test_a_last_will_on_anothers_topic_is_never_published(fleet: Fleet, gate: Device) -> None:
    answer, key = fleet.enrol("door")
    gate.send(TOPICS.up("gate", "presence"), b'{"online":true}', retain=True)
    rogue = Device(answer, key, fleet.data.parent / "rogue")
    rogue.client.will_set(TOPICS.up("gate", "presence"), b'{"online":false}', qos=1, retain=True)
    rogue.client.loop_start()
    eventually(lambda: rogue.connects or rogue.problems)
    if (connection := rogue.client.socket()) is not None:
        connection.close()  # without goodbye: the broker sends the will
    eventually(lambda: rogue.problems)
    rogue.client.loop_stop()
    gate.say(reported("gate"))
    eventually(lambda: fleet.service.device("gate")["engine"])
    assert fleet.service.device("gate")["online"] is True


def test_a_device_cannot_take_over_a_session_by_anothers_client_id(fleet: Fleet, door: Device) -> None:
    for taken in ("door", SERVER_NAME):
        answer, key = fleet.enrol(f"rogue-{taken}")
        fleet.connect(answer, key, client_id=taken)
    assert not door.send(TOPICS.up("door", "state"), b"{}").is_failure
    assert door.connects == 1
    assert door.problems == []
    assert fleet.server.link.connected
    assert fleet.server.link._connection == 1


def test_a_certificate_of_another_authority_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    answer, _ = fleet.enrol("door")
    foreign_folder = tmp_path / "foreign"
    foreign_folder.mkdir()
    ca.create(foreign_folder)
    key = new_key()
    foreign = Authority(foreign_folder).issue_device(ca.Request(key.public_key()), "door", now())
    device = Device({**answer, "certificate": foreign}, key, tmp_path / "identity")
    device.client.loop_start()
    eventually(lambda: device.problems)
    device.stop()
    assert device.connects == 0


def test_a_client_without_a_certificate_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    answer, _ = fleet.enrol("door")
    (tmp_path / "ca.pem").write_text(answer["ca"])
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    address = (answer["broker"]["host"], answer["broker"]["port"])
    with socket.create_connection(address) as plain, pytest.raises(OSError):
        speak(plain, context, address[0])


def speak(plain: socket.socket, context: ssl.SSLContext, host: str) -> None:
    """Says CONNECT. Under TLS 1.3 the refusal comes after the client's side of the handshake."""
    with context.wrap_socket(plain, server_hostname=host) as secured:
        secured.sendall(b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02me")
        if secured.recv(4) == b"":
            raise ConnectionResetError("closed")


def test_a_devices_certificate_cannot_play_the_broker(fleet: Fleet) -> None:
    answer, _ = fleet.enrol("door")
    certificate = x509.load_pem_x509_certificate(answer["certificate"].encode())
    use = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(use) == [ExtendedKeyUsageOID.CLIENT_AUTH]


@pytest.mark.slow
def test_a_killed_broker_is_started_again_and_everything_is_back(fleet: Fleet, door: Device) -> None:
    bundle = make_bundle()
    fleet.publish(bundle)
    fleet.service.start_rollout("eye", 1, "all")
    topics = [TOPICS.chunk(digest) for digest in bundle.chunks()]
    wanted = {*topics, TOPICS.desired("door"), TOPICS.index, TOPICS.meta("timestamp.json")}
    door.subscribe(*wanted)
    eventually(lambda: wanted <= door.messages.keys())
    before, killed = dict(door.messages), fleet.broker_pid()
    door.messages.clear()
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: door.connects == 2 and wanted <= door.messages.keys(), "not everything came back")
    assert fleet.broker_pid() != killed
    same = wanted - {TOPICS.index}  # the index keeps what one publication before had
    assert {topic: door.messages[topic] for topic in same} == {topic: before[topic] for topic in same}
    kinds = [event["kind"] for event in fleet.service.events(100, None, None)]
    assert kinds.count("broker-started") == 2


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://hub", ("hub", 1883, False, "", "")),
        ("mqtts://me:p%40ss@hub.example:9000", ("hub.example", 9000, True, "me", "p@ss")),
    ],
)
def test_an_external_broker_is_named_by_its_url(url: str, address: tuple[str, int, bool, str, str]) -> None:
    found = External(url).device_address
    assert (found.host, found.port, found.tls, found.username, found.password) == address


@pytest.mark.parametrize("url", ["hub", "http://hub", "mqtt://", "mqtt://hub:port", "mqtt://hub/topic"])
def test_what_is_no_brokers_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        External(url)


def test_the_same_free_port_is_chosen_again_unless_it_is_taken() -> None:
    first = choose_port("127.0.0.1", 0, None)
    assert choose_port("127.0.0.1", 0, first) == first
    assert choose_port("127.0.0.1", 7, first) == 7
    with socket.create_server(("127.0.0.1", first)):
        assert choose_port("127.0.0.1", 0, first) != first


def test_iotcore_carries_a_fleet_on_this_machine(data: Path, new_fleet: Path) -> None:
    fleet = start_fleet(data, new_fleet / "keys", Engine.IOTCORE)
    try:
        assert "does not isolate" in fleet.server.status()["warnings"][0]
        bundle = make_bundle()
        fleet.publish(bundle)
        fleet.service.start_rollout("eye", 1, "all")
        door = fleet.join("door")
        wanted = {TOPICS.desired("door"), *(TOPICS.chunk(digest) for digest in bundle.chunks())}
        door.subscribe(*wanted)
        eventually(lambda: wanted <= door.messages.keys())
        door.messages.clear()
        os.kill(fleet.broker_pid(), signal.SIGKILL)
        eventually(lambda: door.connects == 2 and wanted <= door.messages.keys(), "not everything came back")
        door.say(reported("door", 1, eye=committed(bundle)))
        eventually(lambda: fleet.standings() == {"door": "committed"})
        answer, key = fleet.enrol("rogue")
        rogue = Device(answer, key, fleet.data.parent / "rogue", password="guessed")
        rogue.client.loop_start()
        eventually(lambda: rogue.problems)
        rogue.stop()
        assert rogue.connects == 0
        door.stop()
    finally:
        fleet.server.shutdown()


def test_iotcore_is_never_offered_to_other_machines(data: Path, repository: Repository) -> None:
    options = Options(data, broker_listen=("0.0.0.0", 0), broker_engine=Engine.IOTCORE, public_host="hub.example")
    with pytest.raises(BrokerError):
        Server(options, repository)


def test_a_broker_that_cannot_listen_is_a_named_error(data: Path, repository: Repository) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.listen()
        options = Options(data, broker_listen=("127.0.0.1", taken.getsockname()[1]), broker_engine=Engine.MOSQUITTO)
        server = Server(options, repository)
        with pytest.raises(BrokerError):
            server.startup("http://127.0.0.1:1")
        server.shutdown()
