"""agent/updater/voucher.py: the agent's end of control.sock, against a real socket."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import control
from agent.updater.voucher import Voucher

GREETING = control.Greeting("litert", 1000)
SERVING = control.Serving("cats", 1, "a" * 64, "committed")


class Runtime:
    """The listening end."""

    def __init__(self, path: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.listener.settimeout(10)

    def accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.settimeout(10)
        return connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def runtime(path: Path) -> Iterator[Runtime]:
    runtime = Runtime(path)
    yield runtime
    runtime.listener.close()


def until(voucher: Voucher, holds: Callable[[], bool]) -> list[control.Message]:
    messages: list[control.Message] = []
    for _ in range(100_000):
        messages += voucher.poll()
        if holds():
            return messages
    raise AssertionError("never held")


def test_without_a_runtime_nothing_is_asked(path: Path) -> None:
    voucher = Voucher(str(path))
    assert voucher.poll() == []
    assert not voucher.send(control.Apply("cats"))


def test_what_the_runtime_serves_is_known_after_its_greeting(path: Path, runtime: Runtime) -> None:
    voucher = Voucher(str(path))
    voucher.poll()
    with runtime.accept() as theirs:
        assert not voucher.connected
        theirs.sendall(control.encode(GREETING) + control.encode(SERVING))
        messages = until(voucher, lambda: "cats" in voucher.serving)
        assert messages == [GREETING, SERVING]
        assert voucher.send(control.Apply("cats"))
        assert control.Reader().feed(theirs.recv(1000)) == [control.Apply("cats")]
    voucher.close()


def test_a_runtime_that_goes_is_noticed_and_found_again(path: Path, runtime: Runtime) -> None:
    voucher = Voucher(str(path))
    voucher.poll()
    with runtime.accept() as theirs:
        theirs.sendall(control.encode(GREETING) + control.encode(SERVING))
        until(voucher, lambda: voucher.connected)
    until(voucher, lambda: not voucher.connected)
    assert voucher.serving == {}
    until(voucher, lambda: voucher.connections == 2)
    voucher.close()


def test_leases_are_known_while_the_connection_lasts(path: Path, runtime: Runtime) -> None:
    voucher = Voucher(str(path))
    voucher.poll()
    with runtime.accept() as theirs:
        theirs.sendall(control.encode(GREETING) + control.encode(control.Leases("cats", 2)))
        until(voucher, lambda: voucher.leases == {"cats": 2})
        theirs.sendall(control.encode(control.Leases("cats", 0)))
        until(voucher, lambda: voucher.leases == {"cats": 0})
        theirs.sendall(control.encode(control.Leases("dogs", 1)))
        until(voucher, lambda: "dogs" in voucher.leases)
    until(voucher, lambda: not voucher.connected)
    assert voucher.leases == {}
    voucher.close()


def test_garbage_closes_the_connection(path: Path, runtime: Runtime) -> None:
    voucher = Voucher(str(path))
    voucher.poll()
    with runtime.accept() as theirs:
        theirs.sendall(control.encode(GREETING))
        until(voucher, lambda: voucher.connected)
        theirs.sendall(b"\xff\n")
        until(voucher, lambda: voucher.connections == 2)
    voucher.close()
