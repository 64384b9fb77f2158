"""The buffer of a connection: how it grows, shrinks back, and leaves alone what is being run."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.runtime.worker.inbox import REST_BYTES, Backlog, Inbox
from littoral import errors
from littoral.wire import query

LIMIT = 300_000


class Pair:
    """An inbox, and the client's end of what it receives from."""

    def __init__(self, read_ahead: int = 8, latest: bool = False) -> None:
        self.client, self._served = socket.socketpair()
        self._served.setblocking(False)
        self.backlog = Backlog(1 << 24)
        self.inbox = Inbox(LIMIT, 1_000, read_ahead, latest, self.backlog)

    def feed(self, data: bytes) -> bytes:
        """Sends what the inbox takes, and receives it: the rest."""
        while data and not self.inbox.crowded:
            data = data[self.client.send(data[:50_000]) :]
            self.receive()
        self.receive()
        return data

    def receive(self) -> None:
        try:
            while not self.inbox.crowded:
                self.inbox.receive(self._served)
                self.inbox.scan()
        except BlockingIOError:
            pass

    def take(self) -> bytes:
        return bytes(self.inbox.body(self.inbox.take()))

    def close(self) -> None:
        self.inbox.close()
        self.client.close()
        self._served.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def infer(body: bytes, id: int = 1) -> bytes:
    return query.frame(query.Kind.INFER, body, id)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=30), st.integers(0, 1_000_000))
def test_any_frames_in_any_pieces_come_out_whole(sizes: list[int], seed: int) -> None:
    chosen = random.Random(seed)
    bodies = [bytes([n % 256]) * size for n, size in enumerate(sizes)]
    stream, found = b"".join(map(infer, bodies)), list[bytes]()
    with closing(Pair()) as pair:
        while len(found) < len(bodies):
            cut = chosen.randint(0, min(len(stream), 30_000))
            stream = pair.feed(stream[:cut]) + stream[cut:]
            while pair.inbox.requests and (not stream or chosen.random() < 0.5):
                found.append(pair.take())
                pair.inbox.scan()
        assert found == bodies
        assert pair.backlog.waiting_bytes == 0


def test_what_is_being_run_stays_as_it_is_while_more_comes(pair: Pair) -> None:
    pair.feed(infer(b"a" * 50_000))
    inbox = pair.inbox
    body = inbox.body(inbox.take())
    inbox.held = True
    for number in range(10):
        pair.feed(infer(bytes([number]) * 50_000))
        assert pair.take() == bytes([number]) * 50_000
    assert body == b"a" * 50_000


def test_memory_follows_what_is_sent_not_what_is_announced(pair: Pair) -> None:
    pair.feed(infer(bytes(LIMIT))[:5_000])
    assert len(pair.inbox.buffer) < 20_000


def test_a_client_that_rests_gives_its_memory_back(pair: Pair) -> None:
    pair.feed(infer(bytes(100_000)))
    pair.take()
    assert not pair.inbox.rest(), "it may send more at once"
    assert pair.inbox.rest()
    assert len(pair.inbox.buffer) == REST_BYTES
    pair.feed(infer(b"again"))
    assert pair.take() == b"again"


def test_half_a_frame_is_not_given_back(pair: Pair) -> None:
    pair.feed(infer(bytes(100_000))[:50_000])
    for _ in range(3):
        assert not pair.inbox.rest()


def test_bytes_of_replaced_requests_are_given_up() -> None:
    pair = Pair(read_ahead=64, latest=True)
    for number in range(40):
        pair.feed(infer(bytes([number]) * 100_000))
    refused = [pair.inbox.take().refusal for _ in range(39)]
    assert refused == [errors.ReplacedError] * 39
    assert pair.take() == bytes([39]) * 100_000
    assert len(pair.inbox.buffer) < 1_000_000
    assert pair.backlog.waiting_bytes == 0
    pair.close()
