"""Broker and mirror as one source: who is asked for what, and what happens when the mirror fails."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from agent.config import Config
from agent.config import Mirror as Settings
from agent.link.events import Connected, Message
from agent.link.mirror import Mirror
from agent.link.source import MqttSource
from agent.link.sources import REST_FIRST_S, Sources
from agent.source import Got, Wanted
from littoral.wire.messages import encode_names
from tests.agent.link.loopback import TOPICS, wait_for
from tests.agent.link.web import Web, say_nothing

BLOB = bytes(n % 251 for n in range(10_000))
DIGEST = hashlib.sha256(BLOB).hexdigest()
PIECES = [BLOB[at : at + 1000] for at in range(0, len(BLOB), 1000)]


def piece(number: int) -> Wanted:
    return Wanted(f"chunk/{hashlib.sha256(PIECES[number]).hexdigest()}", DIGEST, number * 1000, 1000)


class Broker:
    """The wire below the broker's source: keeps every chunk, answers when told to."""

    def __init__(self) -> None:
        self.subscribed: list[str] = []
        self.needed: list[str] = []

    def subscribe(self, topics: Iterable[str], qos: int = 1) -> None:
        self.subscribed += topics

    def unsubscribe(self, topics: Iterable[str]) -> None:
        gone = set(topics)
        self.subscribed = [topic for topic in self.subscribed if topic not in gone]

    def nudge(self, topic: str) -> None:
        assert topic in self.subscribed

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> int | None:
        self.needed.append(topic)
        return None

    @property
    def chunks(self) -> set[str]:
        """Names of the chunks it is asked for."""
        return {f"chunk/{topic.rpartition('/')[2]}" for topic in self.subscribed if "/chunk/" in topic}


class Bench:
    def __init__(self, url: str) -> None:
        self.now = 100.0
        self.broker = Broker()
        self.mqtt = MqttSource(self.broker, TOPICS, "cam-1")
        self.mirror = Mirror(Config(state=Path("/nonexistent"), mirror=Settings(url)), 10.0, lambda: None)
        self.sources = Sources(self.mqtt, self.mirror, lambda: self.now)
        self.sources.heard(Connected())
        self.got: list[Got] = []

    def until_got(self, count: int) -> list[Got]:
        def enough() -> bool:
            self.got += self.sources.poll()
            return len(self.got) >= count

        wait_for(enough)
        return self.got

    def until_broker_has(self, *names: str) -> None:
        def asked() -> bool:
            self.got += self.sources.poll()
            return self.broker.chunks == set(names)

        wait_for(asked)


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    made.blobs[DIGEST] = BLOB
    yield made
    made.stop()


@pytest.fixture
def bench(web: Web) -> Iterator[Bench]:
    made = Bench(web.url)
    yield made
    made.sources.stop()


def test_pieces_of_blobs_come_from_the_mirror_and_all_else_from_the_broker(bench: Bench) -> None:
    small = Wanted("chunk/" + "0" * 64)
    bench.sources.ask([piece(0), small, piece(1), Wanted("meta/timestamp.json")])
    assert set(bench.until_got(2)) == {Got(piece(0).name, PIECES[0]), Got(piece(1).name, PIECES[1])}
    assert bench.broker.chunks == {small.name}
    assert TOPICS.meta("timestamp.json") in bench.broker.subscribed


def test_without_a_mirror_the_broker_is_asked_for_all() -> None:
    broker = Broker()
    sources = Sources(MqttSource(broker, TOPICS, "cam-1"), None)
    sources.ask([piece(0)])
    sources.heard(Message(TOPICS.index, encode_names([]), True))
    assert broker.chunks == {piece(0).name}
    assert sources.poll() == []
    sources.stop()


def test_what_the_mirror_lacks_comes_from_the_broker_and_the_mirror_rests(bench: Bench, web: Web) -> None:
    web.blobs.clear()
    bench.sources.ask([piece(0)])
    bench.until_broker_has(piece(0).name)
    assert "404" in bench.sources.problem
    web.blobs[DIGEST] = BLOB
    bench.sources.ask([piece(1)])
    assert bench.broker.chunks == {piece(0).name, piece(1).name}
    bench.now += REST_FIRST_S
    bench.sources.ask([piece(2)])
    bench.until_got(1)
    assert bench.got == [Got(piece(2).name, PIECES[2])]
    assert bench.sources.problem == ""


def test_a_mirror_that_fails_again_rests_longer(bench: Bench, web: Web) -> None:
    web.blobs.clear()
    bench.sources.ask([piece(0)])
    bench.until_broker_has(piece(0).name)
    bench.now += REST_FIRST_S
    bench.sources.ask([piece(1)])
    bench.until_broker_has(piece(0).name, piece(1).name)
    bench.now += REST_FIRST_S
    bench.sources.ask([piece(2)])
    assert piece(2).name in bench.broker.chunks


def test_wrong_bytes_are_handed_on_and_then_asked_of_the_broker_for_ever(bench: Bench, web: Web) -> None:
    web.blobs[DIGEST] = bytes(len(BLOB))
    bench.sources.ask([piece(0)])
    assert bench.until_got(1) == [Got(piece(0).name, bytes(1000))]
    assert "wrong bytes" in bench.sources.problem
    bench.now += REST_FIRST_S
    bench.sources.ask([piece(0)])
    assert bench.broker.chunks == {piece(0).name}


def test_what_is_forgotten_comes_from_neither(bench: Bench, web: Web) -> None:
    web.behave = say_nothing
    bench.sources.ask([piece(0), Wanted("chunk/" + "0" * 64)])
    bench.sources.forget([piece(0).name, "chunk/" + "0" * 64])
    assert bench.broker.chunks == set()
    assert bench.sources.poll() == []


def test_need_goes_to_the_server(bench: Bench) -> None:
    bench.sources.need(["0" * 64])
    assert bench.broker.needed == [TOPICS.up("cam-1", "need")]
