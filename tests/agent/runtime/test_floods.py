"""A client that asks in mode info and takes no answer: a real door and loop in this process, so that turns count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.runtime.handover import Carried
from agent.runtime.host.access import Allowance, Caller
from agent.runtime.host.door import Door, Settings
from agent.runtime.host.listener import listen
from agent.runtime.host.loop import READ, Loop
from littoral import errors
from littoral.wire import query
from tests.agent.runtime.device import PATIENCE_S, Raw

FLOOD = 20


class Inside:
    """What a door leads to: no model, and a LIST of any size, which is counted."""

    def __init__(self, list_bytes: int) -> None:
        self.lists = 0
        self.lists_at_entry: int | None = None  # when a client came that wants a model
        self._list_bytes = list_bytes

    def admit(self, caller: Caller, model: str) -> Allowance:
        self.lists_at_entry = self.lists
        raise errors.UnknownModelError(model)

    def take(self, model: str, carried: Carried) -> None:
        raise AssertionError("nobody was admitted")

    def leased(self, model: str, change: int) -> None:
        raise AssertionError("nobody was admitted")

    def list_json(self) -> dict[str, Any]:
        self.lists += 1
        return {"models": "x" * self._list_bytes}

    def stats_json(self, caller: Caller) -> dict[str, Any]:
        return {}

    def greeting_json(self) -> dict[str, Any]:
        return {}


class Flooded:
    """A door, in this process, with a client that has asked FLOOD times and read nothing."""

    def __init__(self, folder: Path, list_bytes: int) -> None:
        self.loop = Loop()
        self.inside = Inside(list_bytes)
        self._listener = listen(folder / "q.sock", 0o600)
        self.door = Door(self.loop, self._listener, Settings(10, 10, PATIENCE_S, PATIENCE_S), self.inside)
        self.flooding = Raw(folder / "q.sock")
        hello = query.hello(query.Hello("", mode=query.Mode.INFO))
        self.flooding.send(hello, *(query.json_frame(query.Kind.LIST, {}, id) for id in range(1, FLOOD + 1)))
        self.other = Raw(folder / "q.sock")

    def run(self, until: Callable[[], bool]) -> None:
        """Runs until the condition holds, and then until the door has seen its clients go."""

        def look() -> None:
            if until():
                self.flooding.close()
                self.other.close()
                if not self.door.open_connections:
                    self.loop.stop()

        self.loop.every(0.001, look)
        self.loop.run()
        self.door.close()
        self.loop.close()


def test_an_info_connection_that_asks_much_does_not_hold_up_a_hello(tmp_path: Path) -> None:
    flooded = Flooded(tmp_path, list_bytes=10)
    flooded.other.send(query.hello(query.Hello("m")))
    flooded.run(until=lambda: flooded.inside.lists_at_entry is not None)
    assert flooded.inside.lists_at_entry == 0


def test_no_answer_is_made_before_the_client_took_the_one_before(tmp_path: Path) -> None:
    flooded = Flooded(tmp_path, list_bytes=1_000_000)
    loop, sock, reader = flooded.loop, flooded.flooding.socket, flooded.flooding.reader
    made_unread, ids, turns = list[int](), list[int](), list[None]()

    def wait() -> None:
        turns.append(None)
        if len(turns) == 50:
            made_unread.append(flooded.inside.lists)
            loop.watch(sock.fileno(), READ, read)

    def read(_events: int) -> None:
        reader.feed(sock.recv(1_000_000))
        while (frame := reader.next()) is not None:
            ids.append(frame.id)
        if len(ids) > FLOOD:
            loop.unwatch(sock.fileno())

    loop.every(0.001, wait)
    flooded.run(until=lambda: len(ids) > FLOOD)
    assert made_unread == [1]
    assert ids == list(range(FLOOD + 1))


def test_no_answer_is_made_for_a_client_that_is_gone(tmp_path: Path) -> None:
    flooded = Flooded(tmp_path, list_bytes=1_000_000)
    flooded.flooding.close()
    flooded.run(until=lambda: True)
    assert flooded.inside.lists <= 1
