"""The broker as a source: what is asked for comes once, again when asked again, and absent only when the index says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from agent.link.events import Connected, Disconnected, Message
from agent.link.source import NUDGE_S, MqttSource
from agent.source import Got, Wanted
from littoral.wire.messages import encode_names, parse_names
from littoral.wire.topics import CHUNK_BYTES
from tests.agent.link.loopback import TOPICS, Device, Fleet, Mosquitto, Tap, settings, wait_for


def chunk(data: bytes) -> tuple[str, str, bytes]:
    digest = hashlib.sha256(data).hexdigest()
    return f"chunk/{digest}", TOPICS.chunk(digest), data


def chunks(count: int) -> list[tuple[str, str, bytes]]:
    return [chunk(b"%d" % n * 500) for n in range(count)]


class Wire:
    """What the source sees of a link."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self.now = 0.0

    def subscribe(self, topics: Iterable[str], qos: int = 1) -> None:
        self.calls.append((f"subscribe {qos}", list(topics)))

    def unsubscribe(self, topics: Iterable[str]) -> None:
        self.calls.append(("unsubscribe", list(topics)))

    def nudge(self, topic: str) -> None:
        self.calls.append(("nudge", [topic]))

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> int | None:
        self.calls.append((topic, parse_names(payload)))
        return None


NAME, TOPIC, DATA = chunk(b"hello")
INDEX = Message(TOPICS.index, encode_names(["1.root.json", "timestamp.json"]), True)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def source(wire: Wire) -> MqttSource:
    made = MqttSource(wire, TOPICS, "cam-1", lambda: wire.now)
    made.heard(Connected())
    return made


def test_what_was_asked_for_is_delivered_once_and_then_not_wanted_any_more(source: MqttSource, wire: Wire) -> None:
    source.ask([Wanted(NAME)])
    source.heard(Message(TOPIC, DATA, True))
    source.heard(Message(TOPIC, DATA, False))
    assert source.poll() == [Got(NAME, DATA)]
    assert source.poll() == []
    assert wire.calls[:3] == [("subscribe 1", [TOPICS.index]), ("subscribe 0", [TOPIC]), ("unsubscribe", [TOPIC])]


def test_what_was_forgotten_is_not_delivered(source: MqttSource, wire: Wire) -> None:
    source.ask([Wanted(NAME)])
    source.forget([NAME])
    source.forget([NAME])
    source.heard(Message(TOPIC, DATA, True))
    assert source.poll() == []
    assert wire.calls.count(("unsubscribe", [TOPIC])) == 2  # once forgotten, once because it came unasked


def test_asking_again_subscribes_again(source: MqttSource, wire: Wire) -> None:
    for _ in range(2):
        source.ask([Wanted(NAME)])
        source.heard(Message(TOPIC, DATA, True))
        assert source.poll() == [Got(NAME, DATA)]
    assert wire.calls.count(("subscribe 0", [TOPIC])) == 2


def test_wrong_bytes_are_delivered_as_they_are(source: MqttSource) -> None:
    source.ask([Wanted(NAME)])
    source.heard(Message(TOPIC, b"other", True))
    assert source.poll() == [Got(NAME, b"other")]


def test_a_cleared_topic_is_no_answer(source: MqttSource) -> None:
    source.ask([Wanted(NAME)])
    source.heard(Message(TOPIC, b"", False))
    assert source.poll() == []
    source.heard(Message(TOPIC, DATA, False))
    assert source.poll() == [Got(NAME, DATA)]


def test_a_metadata_file_is_absent_only_once_the_index_does_not_list_it(source: MqttSource) -> None:
    source.ask([Wanted("meta/2.root.json"), Wanted("meta/1.root.json"), Wanted(NAME)])
    assert source.poll() == []
    source.heard(INDEX)
    assert source.poll() == [Got("meta/2.root.json", None)]
    source.ask([Wanted("meta/3.root.json")])
    assert source.poll() == [Got("meta/3.root.json", None)]
    assert source.poll() == []


@pytest.mark.parametrize("break_", [Disconnected("gone"), Connected()])
def test_the_index_of_a_connection_before_says_nothing(source: MqttSource, break_: Connected | Disconnected) -> None:
    source.heard(INDEX)
    source.heard(break_)
    source.ask([Wanted("meta/2.root.json")])
    assert source.poll() == []
    source.heard(INDEX)
    assert source.poll() == [Got("meta/2.root.json", None)]


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'{"names": [1]}', b'{"names": {}}'])
def test_an_index_that_cannot_be_read_says_nothing(source: MqttSource, payload: bytes) -> None:
    source.heard(INDEX)
    source.heard(Message(TOPICS.index, payload, True))
    source.ask([Wanted("meta/2.root.json")])
    assert source.poll() == []


def test_a_newer_index_replaces_the_one_before(source: MqttSource) -> None:
    source.heard(INDEX)
    source.heard(Message(TOPICS.index, encode_names(["2.root.json"]), False))
    source.ask([Wanted("meta/2.root.json"), Wanted("meta/1.root.json")])
    assert source.poll() == [Got("meta/1.root.json", None)]


@pytest.mark.parametrize("name", ["", "meta/", "meta/index", "meta/A", "meta/a/b", "chunk/ab", "chunk/#", "blob/x"])
def test_a_name_that_is_none_is_the_callers_mistake(source: MqttSource, name: str) -> None:
    with pytest.raises(ValueError):
        source.ask([Wanted(name)])


def test_messages_of_other_rooms_are_left_alone(source: MqttSource, wire: Wire) -> None:
    before = list(wire.calls)
    source.heard(Message(TOPICS.desired("cam-1"), b"{}", True))
    assert (source.poll(), wire.calls) == ([], before)


def test_the_broker_is_nudged_while_answers_are_awaited(source: MqttSource, wire: Wire) -> None:
    nudge = ("nudge", [TOPICS.index])
    others = [name for name, _, _ in chunks(2)]
    source.poll()
    source.ask([Wanted(NAME), Wanted(others[0])])
    source.poll()
    assert nudge not in wire.calls
    wire.now = NUDGE_S
    source.poll()
    source.poll()
    assert wire.calls.count(nudge) == 1
    source.heard(Message(TOPIC, DATA, True))
    source.poll()
    assert wire.calls.count(nudge) == 2
    source.forget(others)
    wire.now = 10.0
    source.poll()
    assert wire.calls.count(nudge) == 2


def test_need_names_chunks_in_messages_of_bounded_size(source: MqttSource, wire: Wire) -> None:
    digests = [f"{n:064x}" for n in range(1_200)]
    source.need(digests)
    said = [names for topic, names in wire.calls if topic == TOPICS.up("cam-1", "need")]
    assert [len(names) for names in said] == [500, 500, 200]
    assert [name for names in said for name in names] == digests


# --- over a real broker --------------------------------------------------------------------------------------------


class Taken:
    """A source on a device, and all it delivered."""

    def __init__(self, device: Device) -> None:
        self.source = MqttSource(device.link, TOPICS, "cam-1")
        self.got: list[Got] = []
        device.listeners.append(self.source.heard)
        device.tickers.append(lambda: self.got.extend(self.source.poll()))


@pytest.mark.mosquitto
def test_chunks_and_metadata_come_from_what_the_broker_keeps(fleet: Fleet, device: Device) -> None:
    kept = chunks(20)
    for _, topic, data in kept:
        fleet.publish(topic, data)
    fleet.publish(TOPICS.meta("timestamp.json"), b"{}")
    fleet.publish(TOPICS.index, encode_names(["timestamp.json"]))
    taken = Taken(device)
    device.connect()
    taken.source.ask([Wanted(name) for name, _, _ in kept])
    taken.source.ask([Wanted("meta/timestamp.json"), Wanted("meta/2.root.json")])
    device.until(lambda: len(taken.got) == 22)
    wanted = {Got(name, data) for name, _, data in kept}
    assert set(taken.got) == wanted | {Got("meta/timestamp.json", b"{}"), Got("meta/2.root.json", None)}


@pytest.mark.mosquitto
def test_nothing_is_absent_while_the_broker_has_no_index(fleet: Fleet, device: Device) -> None:
    taken = Taken(device)
    device.connect()
    taken.source.ask([Wanted("meta/2.root.json")])
    name, topic, data = chunk(b"proof that the broker answers")
    fleet.publish(topic, data)
    taken.source.ask([Wanted(name)])
    device.until(lambda: taken.got == [Got(name, data)])
    fleet.publish(TOPICS.index, encode_names([]))
    device.until(lambda: taken.got[1:] == [Got("meta/2.root.json", None)])


@pytest.mark.mosquitto
def test_a_transfer_goes_on_after_the_broker_was_killed_and_nothing_comes_twice(
    broker: Mosquitto, fleet: Fleet, device: Device
) -> None:
    kept = chunks(30)
    for _, topic, data in kept[:10]:
        fleet.publish(topic, data)
    taken = Taken(device)
    device.connect()
    taken.source.ask([Wanted(name) for name, _, _ in kept])
    device.until(lambda: len(taken.got) == 10)
    broker.kill()
    broker.start()
    second = Fleet(broker)
    for _, topic, data in kept:
        second.publish(topic, data)
    device.until(lambda: len(taken.got) >= 30)
    assert device.reconnected()
    assert sorted(got.name for got in taken.got) == sorted(name for name, _, _ in kept)
    arrived = [event.topic for event in device.events if isinstance(event, Message)]
    assert sorted(arrived) == sorted(topic for _, topic, _ in kept), "not even on the wire"
    second.close()


@pytest.mark.mosquitto
def test_a_chunk_is_asked_for_again_until_its_true_bytes_are_there(fleet: Fleet, device: Device) -> None:
    name, topic, data = chunk(b"true")
    fleet.publish(topic, b"false")
    taken = Taken(device)
    device.connect()
    for expected in (1, 2):
        taken.source.ask([Wanted(name)])
        device.until(lambda n=expected: len(taken.got) == n)  # type: ignore[misc]
    taken.source.need([topic.rsplit("/", 1)[1]])
    need = TOPICS.up("cam-1", "need")
    wait_for(lambda: len(fleet.of(need)) == 1)
    fleet.publish(topic, data)
    taken.source.ask([Wanted(name)])
    device.until(lambda: len(taken.got) == 3)
    assert [got.data for got in taken.got] == [b"false", b"false", b"true"]


@pytest.mark.mosquitto
def test_what_an_earlier_life_of_the_session_wanted_is_unsubscribed_from_when_it_comes(
    broker: Mosquitto, fleet: Fleet, device: Device
) -> None:
    name, topic, data = chunk(b"old wish")
    device.connect()
    device.link.subscribe([topic], qos=0)
    fleet.publish(TOPICS.index, b"x")
    taken = Taken(device)
    fleet.publish(topic, data)
    device.until(lambda: device.count(Message) == 2)
    other, other_topic, _ = chunk(b"mark")
    fleet.publish(other_topic, b"mark")
    taken.source.ask([Wanted(other)])
    device.until(lambda: len(taken.got) == 1)  # the broker has worked on the unsubscription before this
    fleet.publish(topic, data)
    taken.source.ask([Wanted(other)])
    device.until(lambda: len(taken.got) == 2)
    assert [e.topic for e in device.events if isinstance(e, Message)].count(topic) == 1
    assert name not in {got.name for got in taken.got}


@pytest.mark.mosquitto
def test_what_a_broker_holds_back_for_a_slow_connection_comes_in_the_end(
    broker: Mosquitto, fleet: Fleet, tmp_path: Path
) -> None:
    """mosquitto leaves retained messages unwritten that it finds no room for, until it handles a SUBSCRIBE."""
    kept = [chunk(bytes([n]) * CHUNK_BYTES) for n in range(200)]
    for _, topic, data in kept:
        fleet.publish(topic, data)
    tap = Tap(broker.port)
    device = Device(settings(tmp_path, tap.port))
    taken = Taken(device)
    device.connect()
    tap.hold()
    taken.source.ask([Wanted(name) for name, _, _ in kept])
    tap.until_full()
    tap.release()
    device.until(lambda: len(taken.got) == len(kept))
    device.link.stop()
    tap.close()
