from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from agent.runtime.handover import State
from agent.runtime.worker.connection import UNSENT_BYTES, Allowance, Connection
from agent.runtime.worker.inbox import READ_AHEAD_BYTES, Backlog
from agent.runtime.worker.signature import Signature
from littoral.tensors import Interface
from littoral.wire import query

LIMIT = 100_000
WELCOME = query.Welcome("m", 1, "v1", query.Stage.COMMITTED, "scripted 1", Interface((), ()), LIMIT)


@contextmanager
def pair(
    state: State | None = None, read_ahead: int = 4, queue_bytes: int = 1 << 24
) -> Iterator[tuple[socket.socket, Connection]]:
    client, served = socket.socketpair()
    state = state or State(limit_bytes=LIMIT)
    signature = Signature("", WELCOME, None)
    allowance = Allowance(read_ahead, max_shares=2, max_share_bytes=1 << 20)
    connection = Connection(1, state, (served.detach(),), signature, allowance, Backlog(queue_bytes))
    with client:
        yield client, connection
        connection.close()


def infer(number: int, size: int = 8) -> bytes:
    return query.frame(query.Kind.INFER, bytes([number]) * size, number)


def receive(connection: Connection) -> None:
    connection.receive()
    connection.scan()


def requests(connection: Connection) -> list[int]:
    found = []
    while connection.has_turn:
        found.append(connection.next_request().id)
    return found


def frames_to(client: socket.socket) -> list[query.Frame]:
    client.settimeout(10)
    reader = query.Reader(LIMIT * 100)
    while data := client.recv(1_000_000):
        reader.feed(data)
    found = []
    while (frame := reader.next()) is not None:
        found.append(frame)
    return found


def test_requests_come_out_in_the_order_they_came_in() -> None:
    with pair() as (client, connection):
        client.sendall(b"".join(infer(n) for n in range(3)))
        receive(connection)
        assert requests(connection) == [0, 1, 2]


def test_no_more_is_read_ahead_than_allowed() -> None:
    with pair(read_ahead=2) as (client, connection):
        client.sendall(b"".join(infer(n) for n in range(5)))
        receive(connection)
        assert not connection.events & select.EPOLLIN
        assert requests(connection) == [0, 1, 2, 3, 4]
        assert connection.events & select.EPOLLIN


def test_whole_requests_that_wait_are_bounded_in_bytes() -> None:
    state = State(limit_bytes=READ_AHEAD_BYTES * 2)
    with pair(state, read_ahead=64) as (client, connection):
        client.setblocking(False)
        frame = memoryview(infer(1, READ_AHEAD_BYTES))
        while not connection.has_turn:
            with suppress(BlockingIOError):
                frame = frame[client.send(frame) :]
            receive(connection)
        assert not connection.events & select.EPOLLIN


def test_all_that_waits_travels_and_comes_out_the_same() -> None:
    stream = b"".join(infer(n) for n in range(5))
    with pair(read_ahead=2) as (client, connection):
        client.sendall(stream + infer(9)[:20])
        receive(connection)
        connection.send(b"answer ", b"answer " * 99_999)
        state, _ = connection.state()
    assert state.unread == stream + infer(9)[:20]
    assert len(state.received_ns) == 2
    assert 0 < len(state.unsent) < 700_000
    assert (b"answer " * 100_000).endswith(state.unsent)
    with pair(state, read_ahead=2) as (client, connection):
        assert connection.next_request().received_ns == state.received_ns[0]
        client.sendall(infer(9)[20:])
        receive(connection)
        assert requests(connection) == [1, 2, 3, 4, 9]
        assert connection.events & select.EPOLLOUT


def test_a_client_that_takes_no_answers_gets_no_turn_until_it_does() -> None:
    with pair() as (client, connection):
        client.sendall(infer(1) + infer(2))
        receive(connection)
        connection.next_request()
        connection.send(b"head", bytes(UNSENT_BYTES * 2))
        assert not connection.has_turn
        assert connection.events == select.EPOLLOUT
        client.settimeout(10)
        while connection.events & select.EPOLLOUT:
            client.recv(1_000_000)
            connection.flush()
        assert connection.has_turn


def test_an_answer_in_parts_arrives_whole() -> None:
    data = os.urandom(900_000)
    with pair() as (client, connection):
        connection.send(b"head", data)
        connection.send(b"tail")
        received = b""
        client.settimeout(10)
        while len(received) < 900_008:
            received += client.recv(1_000_000)
            connection.flush()
        assert received == b"head" + data + b"tail"


def test_garbage_is_told_after_what_came_before_it_was_answered() -> None:
    with pair() as (client, connection):
        client.sendall(infer(1) + b"garbage, all of it")
        receive(connection)
        connection.settle()
        assert connection.next_request().id == 1
        connection.send(query.frame(query.Kind.ANSWER, b"", 1))
        connection.settle()
        assert connection.closed
        answer, error = frames_to(client)
        assert answer.kind is query.Kind.ANSWER
        assert error.json()["code"] == "protocol"


def test_an_end_between_frames_is_no_error_and_what_was_asked_is_answered() -> None:
    with pair() as (client, connection):
        client.sendall(infer(1))
        client.shutdown(socket.SHUT_WR)
        receive(connection)
        receive(connection)
        connection.settle()
        connection.next_request()
        connection.settle()
        assert connection.closed
        assert frames_to(client) == []


@pytest.mark.parametrize("cut", [1, 15, 16, 20])
def test_an_end_within_a_frame_is_told(cut: int) -> None:
    with pair() as (client, connection):
        client.sendall(infer(1)[:cut])
        client.shutdown(socket.SHUT_WR)
        receive(connection)
        receive(connection)
        connection.settle()
        (error,) = frames_to(client)
        assert "middle of a frame" in error.json()["cause"]


def test_what_only_the_runtime_may_send_is_a_protocol_error() -> None:
    with pair() as (client, connection):
        client.sendall(query.json_frame(query.Kind.WELCOME, {}))
        receive(connection)
        connection.settle()
        (error,) = frames_to(client)
        assert error.json()["code"] == "protocol"


def test_a_farewell_travels_with_the_connection() -> None:
    with pair() as (client, connection):
        client.sendall(infer(1) + b"garbage, all of it")
        receive(connection)
        state, _ = connection.state()
    with pair(state) as (client, connection):
        connection.settle()
        assert connection.next_request().id == 1
        connection.settle()
        (error,) = frames_to(client)
        assert error.json()["code"] == "protocol"


def test_a_client_that_is_gone_closes_the_connection() -> None:
    with pair() as (client, connection):
        client.close()
        connection.send(b"answer")
        assert connection.closed
        connection.settle()
        assert connection.closed
