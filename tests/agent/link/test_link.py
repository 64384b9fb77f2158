"""The link keeps one connection up, over whatever happens to the broker, and tells what happens in order."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from agent.config import Broker
from agent.link import link as module
from agent.link.events import Connected, Delivered, Disconnected, Message, Refused
from agent.link.link import Link
from littoral.errors import ConfigError
from littoral.wire.messages import Presence, parse_presence
from tests.agent.link.authority import Authority
from tests.agent.link.loopback import TOPICS, Device, Fleet, Mosquitto, free_port, settings, wait_for

pytestmark = pytest.mark.mosquitto
PRESENCE = TOPICS.up("cam-1", "presence")
WANTED = TOPICS.desired("cam-1")


def presences(fleet: Fleet) -> list[Presence]:
    return [parse_presence(body) for body in fleet.of(PRESENCE)]


def test_a_device_is_online_while_its_loop_runs_and_offline_once_it_leaves(device: Device, fleet: Fleet) -> None:
    device.connect()
    wait_for(lambda: [p.online for p in presences(fleet)] == [True])
    assert device.link.problem == ""
    device.link.stop()
    wait_for(lambda: [p.online for p in presences(fleet)] == [True, False])
    assert {p.boot for p in presences(fleet)} == {"boot-1"}


def test_a_killed_agent_is_offline_by_its_last_will(broker: Mosquitto, fleet: Fleet, tmp_path: Path) -> None:
    code = (
        "import sys, threading; from pathlib import Path; from agent.config import Broker, Config\n"
        "from agent.link.link import Link; woken = threading.Event()\n"
        f"broker = Broker('127.0.0.1', {broker.port}, tls=False)\n"
        f"link = Link(Config(Path({str(tmp_path)!r}), 'cam-1', broker=broker), 'b', woken.set); link.start()\n"
        "while True: woken.wait(0.1); link.poll()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3]) as process:
        wait_for(lambda: [p.online for p in presences(fleet)] == [True])
        process.send_signal(signal.SIGKILL)
    wait_for(lambda: [p.online for p in presences(fleet)] == [True, False])


def test_what_is_subscribed_to_comes_again_after_the_broker_was_killed(
    broker: Mosquitto, fleet: Fleet, device: Device
) -> None:
    fleet.publish(WANTED, b"one")
    device.link.subscribe([WANTED])
    device.connect()
    device.until(lambda: Message(WANTED, b"one", True) in device.events)
    broker.kill()
    device.until(lambda: device.count(Disconnected) == 1)
    assert not device.link.connected
    assert "connection" in device.link.problem
    broker.start()
    second = Fleet(broker)
    second.publish(WANTED, b"two")
    device.until(lambda: any(isinstance(e, Message) and e.payload == b"two" for e in device.events))
    assert device.reconnected()
    wait_for(lambda: [p.online for p in presences(second)][-1:] == [True])
    second.close()


def test_what_is_unsubscribed_from_does_not_come_back_with_a_new_connection(
    broker: Mosquitto, fleet: Fleet, device: Device
) -> None:
    other = TOPICS.index
    device.link.subscribe([WANTED, other])
    device.link.unsubscribe([WANTED])
    device.connect()
    fleet.publish(WANTED, b"no")
    fleet.publish(other, b"yes")
    device.until(lambda: device.count(Message) > 0)
    assert [e.topic for e in device.events if isinstance(e, Message)] == [other]


def test_subscribing_again_brings_the_retained_message_again(fleet: Fleet, device: Device) -> None:
    fleet.publish(WANTED, b"kept")
    device.connect()
    device.link.subscribe([WANTED])
    device.until(lambda: device.count(Message) == 1)
    device.link.subscribe([WANTED])
    device.until(lambda: device.count(Message) == 2)


def test_more_topics_than_fit_one_packet_are_all_subscribed_to(fleet: Fleet, device: Device) -> None:
    names = [TOPICS.meta(f"{n}.root.json") for n in range(1, 31)]
    for name in names:
        fleet.publish(name, name.encode())
    device.link.subscribe(names, qos=0)
    device.connect()
    device.until(lambda: device.count(Message) == len(names))
    assert {e.topic for e in device.events if isinstance(e, Message)} == set(names)


def test_every_publish_is_confirmed_once(fleet: Fleet, device: Device) -> None:
    device.connect()
    topic = TOPICS.up("cam-1", "event")
    mids: list[int | None] = []

    def take(number: int) -> bool:
        mids.append(device.link.publish(topic, b"%d" % number))
        return mids[-1] is not None

    for number in range(200):
        device.until(lambda n=number: take(n))  # type: ignore[misc]
    wanted = [mid for mid in mids if mid is not None]
    device.until(lambda: len(wanted) <= sum(isinstance(e, Delivered) and e.mid in wanted for e in device.events))
    wait_for(lambda: fleet.of(topic) == [b"%d" % n for n in range(200)])


def test_nothing_is_taken_while_there_is_no_connection(tmp_path: Path) -> None:
    device = Device(settings(tmp_path, free_port()))
    assert device.link.publish(WANTED, b"x") is None
    device.link.start()
    device.until(lambda: "refused" in device.link.problem)
    assert device.link.publish(WANTED, b"x") is None
    device.link.stop()


def test_a_broker_that_confirms_nothing_is_not_sent_without_end(broker: Mosquitto, device: Device) -> None:
    device.connect()
    broker.freeze()
    taken = [device.link.publish(WANTED, b"x") for _ in range(2 * module.MAX_UNCONFIRMED)]
    broker.thaw()
    assert taken[0] is not None
    assert taken[-1] is None
    assert sum(mid is not None for mid in taken) <= module.MAX_UNCONFIRMED
    device.until(lambda: device.link.publish(WANTED, b"x") is not None)


def test_what_a_lost_connection_left_unconfirmed_is_not_sent_behind_the_callers_back(
    broker: Mosquitto, device: Device
) -> None:
    device.connect()
    topic = TOPICS.up("cam-1", "event")
    broker.freeze()
    assert device.link.publish(topic, b"never confirmed") is not None
    broker.kill()
    broker.start()
    second = Fleet(broker)
    device.until(device.reconnected)
    device.until(lambda: device.link.publish(topic, b"later") is not None)
    wait_for(lambda: fleet_has(second, topic, b"later"))
    assert second.of(topic) == [b"later"]
    second.close()


def fleet_has(fleet: Fleet, topic: str, payload: bytes) -> bool:
    return payload in fleet.of(topic)


def test_small_packets_leave_at_once(device: Device) -> None:
    device.connect()
    opened = device.link._client.socket()
    assert isinstance(opened, socket.socket)
    assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    "noise",
    [
        b"\x20\x7f" + b"\xff" * 127,  # a CONNACK of nonsense
        b"\x20\x03\x00\x00\x01",  # properties cut short
        b"\x20\x03\x00\x00\x00\x30\x05\xff\xff\xff\xff\xff",  # well, then a PUBLISH that cannot be
        b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"<html>" * 20,
    ],
)
def test_a_broker_that_speaks_nonsense_does_not_end_the_link(tmp_path: Path, noise: bytes) -> None:
    broker = Mosquitto(tmp_path)
    device = Device(settings(tmp_path, broker.port))
    with socket.create_server(("127.0.0.1", broker.port)) as server:
        server.settimeout(60)
        device.link.start()
        for _ in range(2):  # it comes again, so it has outlived the first
            connection, _ = server.accept()
            with connection:
                connection.recv(4_096)
                connection.sendall(noise)
                wait_for(lambda: device.link.problem != "not connected yet")
    broker.start()
    device.until(lambda: device.link.connected)
    device.link.stop()
    broker.kill()


def test_a_wake_that_fails_does_not_end_the_link(broker: Mosquitto, fleet: Fleet, tmp_path: Path) -> None:
    def broken() -> None:
        raise OSError("the pipe is full")

    link = Link(settings(tmp_path, broker.port), "b", broken)
    link.subscribe([WANTED])
    link.start()
    fleet.publish(WANTED, b"x")
    seen: list[object] = []

    def message_came() -> bool:
        seen.extend(link.poll())
        return any(isinstance(event, Message) for event in seen)

    wait_for(message_came)
    assert not any(isinstance(e, Disconnected) for e in seen)
    link.stop()


def test_more_than_the_loop_reads_costs_the_connection_and_no_message(
    fleet: Fleet, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_UNREAD_BYTES", 25_000)
    topics = [TOPICS.meta(f"{n}.root.json") for n in range(1, 6)]
    for topic in topics:
        fleet.publish(topic, b"x" * 10_000)
    device.connect()
    device.link.subscribe(topics, qos=0)
    wait_for(lambda: "not read" in device.link.problem)
    monkeypatch.undo()
    device.until(lambda: {e.topic for e in device.events if isinstance(e, Message)} == set(topics))
    assert device.reconnected()


def test_a_message_larger_than_any_of_ours_never_arrives(fleet: Fleet, device: Device) -> None:
    device.link.subscribe([WANTED, TOPICS.index])
    device.connect()
    fleet.publish(WANTED, b"x" * (module.MAX_PACKET_BYTES + 1))
    fleet.publish(TOPICS.index, b"after")
    device.until(lambda: device.count(Message) == 1)
    assert [e.topic for e in device.events if isinstance(e, Message)] == [TOPICS.index]


def test_a_broker_that_does_not_know_us_is_named_as_the_problem(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path, "allow_anonymous false")
    broker.start()
    device = Device(settings(tmp_path, broker.port))
    device.link.start()
    device.until(lambda: "Not authorized" in device.link.problem)
    assert device.events == []
    device.link.stop()
    broker.kill()


def test_a_publish_that_the_access_rules_deny_is_refused_and_not_delivered(tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite lt/v1/main/dev/+/up/presence\ntopic read #\n")
    broker = Mosquitto(tmp_path, "allow_anonymous true", f"acl_file {rules}")
    broker.start()
    device = Device(settings(tmp_path, broker.port))
    device.connect()
    mid = device.link.publish(WANTED, b"x")
    device.until(lambda: device.count(Refused) == 1)
    assert [e.mid for e in device.events if isinstance(e, Refused)] == [mid]
    assert "Not authorized" in device.link.problem
    device.link.stop()
    broker.kill()


def test_a_device_that_was_stopped_before_it_ever_connected_stops_soon(tmp_path: Path) -> None:
    device = Device(settings(tmp_path, free_port()))
    device.link.start()
    device.until(lambda: "refused" in device.link.problem)
    device.link.stop()
    wait_for(lambda: not any("paho-mqtt-client-cam-1" in t.name for t in threading.enumerate()))


def test_the_back_off_doubles_to_a_minute_and_is_never_the_same_for_all(tmp_path: Path) -> None:
    link = Link(settings(tmp_path, free_port()), "b", lambda: None)
    waits = [link._back_off() for _ in range(12)]
    for number, wait in enumerate(waits):
        longest = min(2**number, 60)
        assert longest / 2 <= wait <= longest
    other = Link(settings(tmp_path, free_port()), "b", lambda: None)
    assert waits != [other._back_off() for _ in range(12)]


@pytest.mark.parametrize(
    "broker",
    [Broker(), Broker("h", 0, tls=False), Broker("h", 65_536, tls=False), Broker("." * 70, 1883, tls=False)],
)
def test_a_broker_that_cannot_be_named_is_a_config_error(tmp_path: Path, broker: Broker) -> None:
    with pytest.raises(ConfigError):
        Link(replace(settings(tmp_path, 1), broker=broker), "b", lambda: None)


def test_tls_without_an_identity_is_a_config_error_that_says_enrol(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="enroll"):
        Link(replace(settings(tmp_path, 1), broker=Broker("127.0.0.1", 8883)), "b", lambda: None)


# --- TLS ---------------------------------------------------------------------------------------------------------


def tls_broker(folder: Path, authority: Authority, address: str = "127.0.0.1") -> Mosquitto:
    authority.issue(folder / "server", "broker", address)
    server = folder / "server"
    broker = Mosquitto(
        folder,
        f"cafile {server}/ca.pem",
        f"certfile {server}/broker.pem",
        f"keyfile {server}/broker.key",
        "require_certificate true",
        "use_identity_as_username true",
    )
    broker.start()
    return broker


def tls_device(folder: Path, authority: Authority, broker: Mosquitto) -> Device:
    authority.issue(folder / "identity", "device")
    return Device(replace(settings(folder, broker.port), broker=Broker("127.0.0.1", broker.port)))


def test_a_device_and_its_broker_know_each_other_by_certificates_alone(tmp_path: Path) -> None:
    authority = Authority()
    broker = tls_broker(tmp_path, authority)
    device = tls_device(tmp_path, authority, broker)
    device.connect()
    assert device.count(Connected) == 1
    device.link.stop()
    broker.kill()


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # paho leaves the socket to the collector
@pytest.mark.parametrize("fault", ["foreign broker", "foreign device", "another host's certificate"])
def test_a_certificate_that_does_not_fit_makes_no_connection(tmp_path: Path, fault: str) -> None:
    ours, foreign = Authority(), Authority()
    address = "127.0.0.9" if fault == "another host's certificate" else "127.0.0.1"
    broker = tls_broker(tmp_path, foreign if fault == "foreign broker" else ours, address)
    device = tls_device(tmp_path, foreign if fault == "foreign device" else ours, broker)
    if fault == "foreign device":
        ours.issue(tmp_path / "identity", "other")  # its ca.pem: the device trusts the broker, not the reverse
        device = Device(replace(settings(tmp_path, broker.port), broker=Broker("127.0.0.1", broker.port)))
    device.link.start()
    device.until(lambda: device.link.problem != "not connected yet")
    assert device.events == []
    assert not device.link.connected
    device.link.stop()
    broker.kill()
