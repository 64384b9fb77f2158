"""agent/updater/window.py on simulated links: how full it keeps them, how little waits, what it takes for silence."""

import heapq
import random
from collections.abc import Iterator

import pytest

from agent.updater.window import MAX_ASKED, PATIENCE_LAST_S, START_BYTES, Window

CHUNK = 61_440
MOST = 1024 * 1024
SEGMENT = 1_448
RETRANSMIT_S = 0.2


class Link:
    """One TCP connection, as an application sees it: in order, and a lost segment holds up all that is behind it."""

    def __init__(self, bytes_per_s: float, delay_s: float, loss: float) -> None:
        self.bytes_per_s = bytes_per_s
        self.delay_s = delay_s
        self._loss = loss
        self._random = random.Random(7)
        self._asked_at = 0.0
        self._free_at = 0.0

    def ask(self, now: float) -> float:
        """When a chunk asked for now has come as a whole."""
        self._asked_at = max(self._asked_at, now + self.delay_s + self._stall())
        self._free_at = max(self._free_at, self._asked_at)
        for _ in range(-(-CHUNK // SEGMENT)):
            self._free_at += SEGMENT / self.bytes_per_s + self._stall()
        return self._free_at + self.delay_s

    def _stall(self) -> float:
        waited, pause = 0.0, RETRANSMIT_S + 2 * self.delay_s
        while self._random.random() < self._loss:
            waited, pause = waited + pause, 2 * pause
        return waited


class Transfer:
    """A window at work on a link."""

    def __init__(self, link: Link, count: int, most: int = MOST, patience_s: float = 10.0) -> None:
        self.link = link
        self.window = Window(most, patience_s)
        self.now = 0.0
        self.given_up = 0
        self._left = [str(n) for n in range(count)]
        self._coming: list[tuple[float, str]] = []

    def run(self, until: float = 1e9) -> float:
        """Goes on until all has come or this time; gives the time."""
        while (self._left or self._coming) and self.now < until:
            self._ask()
            for name in self.window.silent(self.now):
                self.given_up += 1
                self._left.append(name)
            if self._coming and self._coming[0][0] <= self.now + 0.1:
                self.now, name = heapq.heappop(self._coming)
                self.window.heard(self.now)
                self.window.came(name, self.now)
            else:
                self.now += 0.1
        return self.now

    def _ask(self) -> None:
        while self._left and self.window.takes(CHUNK):
            name = self._left.pop(0)
            self.window.ask(name, CHUNK, self.now)
            heapq.heappush(self._coming, (self.link.ask(self.now), name))


LINKS = {
    "256 kbit/s": (32_000, 0.02, 0.0),
    "300 ms": (1_250_000, 0.3, 0.0),
    "20 % loss": (1_250_000, 0.02, 0.2),
    "all of these": (32_000, 0.3, 0.2),
    "32 kbit/s": (4_000, 0.3, 0.0),
    "a gigabit": (125_000_000, 0.001, 0.0),
}


@pytest.mark.parametrize("kind", LINKS)
def test_the_link_is_kept_busy(kind: str) -> None:
    stream = Link(*LINKS[kind])
    alone = [stream.ask(0.0) for _ in range(200)][-1]
    transfer = Transfer(Link(*LINKS[kind]), 200)
    assert alone / transfer.run() >= 0.7
    assert transfer.given_up <= 5  # where a chunk takes longer than the first patience, or TCP itself stops for so long


def test_little_waits_in_front_of_a_slow_link() -> None:
    transfer = Transfer(Link(32_000, 0.05, 0.0), 1_000)
    transfer.run(until=120)
    assert transfer.window.size_bytes <= 8 * 32_000


def test_a_fast_and_long_link_gets_all_it_may_have() -> None:
    transfer = Transfer(Link(125_000_000, 0.05, 0.0), 1_000)
    transfer.run(until=2)
    assert transfer.window.size_bytes == MOST


def test_it_follows_a_link_that_becomes_slow_and_fast_again() -> None:
    transfer = Transfer(Link(1_250_000, 0.05, 0.0), 10_000)
    transfer.run(until=10)
    assert transfer.window.size_bytes > MOST / 2
    transfer.link.bytes_per_s = 16_000
    transfer.run(until=300)
    assert transfer.window.size_bytes < MOST / 4
    transfer.link.bytes_per_s = 1_250_000
    transfer.run(until=330)
    assert transfer.window.size_bytes > MOST / 2


def test_one_chunk_may_always_be_asked_for() -> None:
    window = Window(10, 10.0)
    assert window.takes(CHUNK)
    window.ask("one", CHUNK, 0.0)
    assert not window.takes(1)


def test_small_chunks_are_not_asked_for_without_end() -> None:
    window = Window(MOST, 10.0)
    asked = iter(range(10_000))
    while window.takes(1):
        window.ask(str(next(asked)), 1, 0.0)
    assert next(asked) == MAX_ASKED


def started(*names: str) -> Window:
    window = Window(MOST, 10.0)
    for name in names:
        window.ask(name, START_BYTES // 4, 0.0)
    return window


def test_while_anything_comes_nothing_is_silent() -> None:
    window = started("one", "two")
    for now in range(100):
        window.heard(float(now))
        assert window.silent(now + 1.0) == []


def test_where_nothing_comes_all_is_given_up_and_one_is_tried_alone() -> None:
    window = started("one", "two")
    assert window.silent(9.9) == []
    assert window.silent(10.0) == ["one", "two"]
    window.ask("one", 10, 11.0)
    assert not window.takes(10)


def test_what_was_overtaken_is_given_up_alone() -> None:
    window = started("one", "two", "three")
    window.heard(9.0)
    window.came("two", 9.0)
    assert window.silent(9.9) == []
    size = window.size_bytes
    window.heard(27.5)
    assert window.silent(28.0) == ["one"]
    assert window.size_bytes == size
    assert window.names() == ["three"]


def silences(window: Window) -> Iterator[float]:
    now = 0.0
    while True:
        window.ask("one", CHUNK, now)
        began = now
        while not window.silent(now):
            now += 1.0
        yield now - began


def test_patience_doubles_with_each_silence_up_to_a_limit_and_an_answer_ends_that() -> None:
    window = Window(MOST, 10.0)
    waits = silences(window)
    assert [next(waits) for _ in range(7)] == [10, 20, 40, 80, 160, PATIENCE_LAST_S, PATIENCE_LAST_S]
    window.ask("one", CHUNK, 5_000.0)
    window.came("one", 5_001.0)
    window.ask("one", CHUNK, 6_000.0)
    assert window.silent(6_010.0) == ["one"]


def test_a_chunk_slower_than_the_patience_gets_through() -> None:
    transfer = Transfer(Link(500, 0.3, 0.0), 2)
    transfer.run(until=100_000)
    assert transfer.now < 100_000


def test_what_was_overtaken_before_the_source_went_away_is_waited_for_anew() -> None:
    window = started("one", "two")
    window.came("two", 1.0)
    window.pause(100.0)
    assert window.silent(109.9) == []
    assert window.silent(110.0) == ["one"]


def test_time_while_the_source_is_away_does_not_count() -> None:
    window = started("one")
    for now in range(1, 100):
        window.pause(float(now))
    assert window.silent(108.0) == []
    assert window.silent(109.0) == ["one"]
