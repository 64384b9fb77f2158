import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import pytest

from fleet.link import Arrival, Connected, Link, Received
from littoral import canonical
from littoral.wire.messages import MAX_MESSAGE_BYTES, Event, encode_names, parse_names
from tests.fleet.parts import TOPICS, Device, Fleet, eventually, make_bundle, now

pytestmark = pytest.mark.mosquitto


@dataclass
class Shelf:
    """What a link publishes, in memory."""

    files: dict[str, bytes] = field(default_factory=lambda: {"timestamp.json": b"1", "1.root.json": b"root"})
    targets: dict[str, bytes] = field(default_factory=dict)
    pieces: dict[str, bytes] = field(default_factory=dict)
    wishes: dict[str, bytes] = field(default_factory=dict)

    def metadata(self) -> dict[str, bytes]:
        return dict(self.files)

    def small_targets(self) -> dict[str, bytes]:
        return self.targets

    def chunks(self) -> Iterable[str]:
        return list(self.pieces)

    def wants(self, digest: str) -> bool:
        return digest in self.pieces

    def chunk(self, digest: str) -> bytes | None:
        return self.pieces.get(digest)

    def devices(self) -> Iterable[str]:
        return list(self.wishes)

    def desired(self, device: str) -> bytes | None:
        return self.wishes.get(device)


class Publications(Link):
    """A link that is never connected, and writes down what it would publish."""

    def __init__(self, fleet: Fleet, shelf: Shelf) -> None:
        server = fleet.server
        identity = server.authority.issue_server(now())
        super().__init__(server.broker.server_address, identity, TOPICS, shelf, lambda arrival: None)
        self.sent: list[tuple[str, bytes]] = []

    def _send(self, topic: str, payload: bytes, connection: int) -> None:
        self.sent.append((topic.removeprefix(TOPICS.prefix + "/"), payload))


def test_an_altered_chunk_is_put_right_when_a_device_needs_it(fleet: Fleet) -> None:
    bundle = make_bundle()
    fleet.publish(bundle)
    fleet.service.start_rollout("eye", 1, "all")
    digest, chunk = next((name, data) for name, data in bundle.chunks().items() if len(data) == 1_000)
    device = fleet.join("door")
    device.subscribe(TOPICS.chunk(digest))
    eventually(lambda: device.messages.get(TOPICS.chunk(digest)) == chunk)
    fleet.force(TOPICS.chunk(digest), b"!" + chunk[1:])
    eventually(lambda: device.messages[TOPICS.chunk(digest)] != chunk)
    fleet.service.start_rollout("eye", 1, "door")
    device.subscribe(TOPICS.desired("door"))
    eventually(lambda: b'"generation":2,' in device.messages.get(TOPICS.desired("door"), b""))
    assert device.messages[TOPICS.chunk(digest)] != chunk  # what lies there is not published anew for every rollout
    device.send(TOPICS.up("door", "need"), encode_names([digest, "f" * 64]))
    eventually(lambda: device.messages[TOPICS.chunk(digest)] == chunk)
    assert TOPICS.chunk("f" * 64) not in device.messages
    [event] = [event for event in fleet.service.events(100, "door", None) if event["kind"] == "needed"]
    assert event["facts"] == {"chunks": 1}


def test_every_chunk_that_is_published_is_what_its_name_says(fleet: Fleet) -> None:
    bundle = make_bundle(size=300_000, chunk_bytes=61_440)
    fleet.publish(bundle)
    fleet.service.start_rollout("eye", 1, "all")
    device = fleet.join("door")
    device.subscribe(f"{TOPICS.prefix}/chunk/+")
    wanted = {TOPICS.chunk(digest) for digest in (*bundle.chunks(), bundle.digest)}
    eventually(lambda: wanted <= device.messages.keys())
    for topic, payload in device.messages.items():
        assert topic.endswith(hashlib.sha256(payload).hexdigest())
        assert len(payload) <= MAX_MESSAGE_BYTES


def test_a_message_is_kept_by_the_broker_until_it_is_stored(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    device = fleet.join("door")
    seen: list[Arrival] = []
    monkeypatch.setattr(fleet.server.link, "_arrived", seen.append)
    device.send(TOPICS.up("door", "event"), Event("e1", 1, "fetched").encode())
    eventually(lambda: any(isinstance(one, Received) for one in seen))
    monkeypatch.undo()
    assert fleet.service.events(10, "door", None)[0]["kind"] == "enrolled"
    connection = fleet.server.link._client.socket()
    assert connection is not None
    connection.close()  # nobody acknowledged it, so the next connection brings it again
    eventually(lambda: fleet.service.events(10, "door", None)[0]["kind"] == "fetched")


def test_a_message_that_wants_no_acknowledgement_costs_no_connection(fleet: Fleet) -> None:
    device = fleet.join("door")
    device.client.publish(TOPICS.up("door", "event"), Event("e1", 1, "fetched").encode(), qos=0)
    for count in (3, 4, 5):  # every message is answered after the broker read the answer to the one before
        device.send(TOPICS.up("door", "event"), Event(f"e{count}", 1, "fetched").encode())
        eventually(partial(lambda count: len(fleet.service.events(10, "door", None)) == count, count))
    assert fleet.server.link._connection == 1


def test_what_nobody_wants_is_cleared(fleet: Fleet) -> None:
    device = fleet.join("door")
    fleet.force(TOPICS.chunk("a" * 64), b"old")
    device.subscribe(TOPICS.chunk("a" * 64))
    eventually(lambda: device.messages.get(TOPICS.chunk("a" * 64)) == b"old")
    fleet.server.link.publish_chunks(["a" * 64])
    eventually(lambda: device.messages.get(TOPICS.chunk("a" * 64)) == b"")


def test_timestamp_comes_after_all_that_it_leads_to(fleet: Fleet) -> None:
    shelf = Shelf(targets={"d" * 64: b"bundle"})
    link = Publications(fleet, shelf)
    link._publish_metadata(0)
    assert [topic for topic, _ in link.sent] == [
        f"chunk/{'d' * 64}",
        "meta/1.root.json",
        "meta/index",
        "meta/timestamp.json",
    ]
    assert parse_names(link.sent[2][1]) == ["1.root.json", "timestamp.json"]


def test_metadata_of_one_publication_ago_stays_and_older_goes(fleet: Fleet) -> None:
    shelf = Shelf()
    link = Publications(fleet, shelf)
    for snapshot in ("1.snapshot.json", "2.snapshot.json", "3.snapshot.json"):
        shelf.files = {"timestamp.json": b"t", snapshot: b"s"}
        link.sent.clear()
        link._publish_metadata(0)
    published = dict(link.sent)
    assert parse_names(published["meta/index"]) == ["2.snapshot.json", "3.snapshot.json", "timestamp.json"]
    assert [topic for topic, payload in link.sent if not payload] == ["meta/1.snapshot.json"]


def test_what_is_asked_for_twice_is_published_once(fleet: Fleet) -> None:
    data = b"a chunk"
    link = Publications(fleet, Shelf(pieces={canonical.digest(data): data}))
    link.publish_chunks([canonical.digest(data)] * 2)
    link.publish_chunks([canonical.digest(data)])
    link.publish_metadata()
    link.publish_metadata()
    link._connected = True
    jobs = [link._next_job(), link._next_job()]
    assert jobs[1] == canonical.digest(data)
    assert (link._urgent, link._bulk) == ({}, {})


def test_a_message_over_the_limit_is_never_sent(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    device = fleet.join("door")
    device.subscribe(TOPICS.chunk("a" * 64), TOPICS.chunk("b" * 64))
    link = fleet.server.link
    link._send(TOPICS.chunk("a" * 64), bytes(MAX_MESSAGE_BYTES + 1), link._connection)
    link._send(TOPICS.chunk("b" * 64), bytes(MAX_MESSAGE_BYTES), link._connection)
    eventually(lambda: TOPICS.chunk("b" * 64) in device.messages)
    assert TOPICS.chunk("a" * 64) not in device.messages
    assert "the limit is" in caplog.text


def test_a_new_connection_begins_with_nobody_online(fleet: Fleet) -> None:
    device: Device = fleet.join("door")
    device.send(TOPICS.up("door", "presence"), b'{"online":true,"boot":"b","agent":"1"}', retain=True)
    eventually(lambda: fleet.service.device("door")["online"])
    fleet.service.take([Connected()])
    assert not fleet.service.device("door")["online"]
