"""Whole transfers as the agent makes them: over a real broker and a real mirror, and what may happen halfway."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.config import Config, Updates
from agent.config import Mirror as MirrorSettings
from agent.link.mirror import Mirror
from agent.link.source import MqttSource
from agent.link.sources import Sources
from agent.updater.fetch import Fetch, File
from littoral.bundle import chunks
from tests.agent.link.loopback import TOPICS, Device, Fleet, Mosquitto, settings
from tests.agent.link.web import Request, Web

pytestmark = pytest.mark.mosquitto
SIZE = 4_096
DATA = random.Random(1).randbytes(100 * SIZE + 17)
PIECES = list(chunks.split(DATA, SIZE))
FILE = File(hashlib.sha256(DATA).hexdigest(), len(DATA), chunks.parse_list(chunks.list_of(iter(PIECES))))
SETTINGS = Updates(retry_first_s=0.2, retry_last_s=0.5, max_in_flight_bytes=8 * SIZE)


class Transfer:
    """One life of an agent that fetches FILE into a folder."""

    def __init__(self, folder: Path, port: int, url: str = "") -> None:
        self.device = Device(settings(folder, port))
        broker = MqttSource(self.device.link, TOPICS, "cam-1")
        config = Config(state=folder, mirror=MirrorSettings(url))
        self.sources = Sources(broker, Mirror(config, 5.0, lambda: None) if url else None)
        self.wrong: list[str] = []
        self.fetch = Fetch(folder, [FILE], SIZE, self.sources, SETTINGS, lambda wanted, *_: self.wrong.append(wanted))
        self.device.listeners.append(self.sources.heard)
        self.device.tickers.append(self.turn)
        self.device.connect()

    def turn(self) -> None:
        now = time.monotonic()
        for got in self.sources.poll():
            if got.data is not None:
                self.fetch.take(got.name, got.data, now)
        self.fetch.tick(now, self.device.link.connected)

    def until(self, condition: Callable[[], bool]) -> None:
        self.device.until(condition)

    def until_complete(self) -> None:
        self.device.until(lambda: self.fetch.complete)

    def stop(self) -> None:
        self.device.tickers.clear()
        self.fetch.close()
        self.sources.stop()
        self.device.link.stop()


def publish(fleet: Fleet, some: list[bytes] = PIECES) -> None:
    for piece in some:
        fleet.publish(TOPICS.chunk(hashlib.sha256(piece).hexdigest()), piece)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "partial"
    made.mkdir()
    return made


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    made.blobs[FILE.sha256] = DATA
    yield made
    made.stop()


def is_whole(folder: Path) -> bool:
    return (folder / FILE.sha256).read_bytes() == DATA


def test_an_agent_that_dies_halfway_fetches_no_chunk_twice(broker: Mosquitto, fleet: Fleet, folder: Path) -> None:
    publish(fleet)
    first = Transfer(folder, broker.port)
    first.until(lambda: first.fetch.tally.chunks >= 50)
    held = first.fetch.tally.chunks
    first.device.link.stop()  # with all that it has asked for still wanted: the session stays at the broker
    second = Transfer(folder, broker.port)
    second.until_complete()
    assert second.fetch.tally.resumed == held
    assert second.fetch.tally.chunks == len(PIECES) - held
    assert first.fetch.tally.repeated + second.fetch.tally.repeated == 0
    assert is_whole(folder)
    second.stop()


def test_a_broker_that_loses_everything_halfway_costs_no_chunk_that_is_held(
    broker: Mosquitto, fleet: Fleet, folder: Path
) -> None:
    publish(fleet, PIECES[:50])
    transfer = Transfer(folder, broker.port)
    transfer.until(lambda: transfer.fetch.tally.chunks >= 50)
    broker.kill()
    broker.start()
    again = Fleet(broker)
    publish(again)
    transfer.until_complete()
    assert transfer.fetch.tally.chunks == len(PIECES)
    assert transfer.fetch.tally.repeated == 0
    assert is_whole(folder)
    transfer.stop()
    again.close()


def test_with_a_mirror_no_chunk_comes_through_the_broker(broker: Mosquitto, folder: Path, web: Web) -> None:
    transfer = Transfer(folder, broker.port, web.url)
    transfer.until_complete()
    assert is_whole(folder)
    assert transfer.fetch.tally.chunks == len(PIECES)
    assert len(web.ranges) < len(PIECES)
    transfer.stop()


@pytest.mark.parametrize("fault", ["closed", "wrong bytes", "gone"])
def test_a_mirror_that_fails_halfway_is_replaced_by_the_broker(
    broker: Mosquitto, fleet: Fleet, folder: Path, web: Web, fault: str
) -> None:
    def fail(request: Request) -> None:
        if len(web.ranges) < 5:
            request.answer()
        elif fault == "closed":
            request.close_connection = True
        elif fault == "gone":
            request.send_error(404)
        else:
            web.blobs[FILE.sha256] = bytes(len(DATA))
            request.answer()

    web.behave = fail
    publish(fleet)
    transfer = Transfer(folder, broker.port, web.url)
    transfer.until_complete()
    assert is_whole(folder)
    assert transfer.fetch.tally.chunks == len(PIECES)
    assert bool(transfer.wrong) == (fault == "wrong bytes")
    transfer.stop()


def test_a_rate_limit_holds_for_a_mirror_too(broker: Mosquitto, folder: Path, web: Web) -> None:
    transfer = Transfer(folder, broker.port, web.url)
    limited = Updates(max_bytes_per_s=2 * len(DATA))
    transfer.fetch = Fetch(folder, [FILE], SIZE, transfer.sources, limited, lambda *_: None)
    began = time.monotonic()
    transfer.until_complete()
    assert time.monotonic() - began >= 0.4  # half a second's worth, less what the bucket holds at the start
    transfer.stop()
