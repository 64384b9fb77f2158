"""A real runtime that tests attack, and what must still hold afterwards: it lives, it grew by nothing, it answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from agent.runtime.host import memory
from littoral.wire import query, vision
from littoral.wire.query import Kind
from tests.agent.runtime.device import PATIENCE_S, Device, Raw, until

FROM_RUNTIME = {Kind.WELCOME, Kind.ANSWER, Kind.RESULT, Kind.INFO, Kind.EVENT, Kind.ERROR}
GROWTH_BYTES = 12 * 1024 * 1024  # of host and workers together: what is kept for the next time, and no leak


class Patient(Raw):
    """A Raw that waits while the host has too many connections to accept: a socket with a timeout is refused then."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))
        self.socket.settimeout(PATIENCE_S)
        self.reader = query.Reader(query.MAX_FRAME_BYTES)


class Victim:
    """A device that serves MODEL, and another model beside it."""

    def __init__(self, device: Device, model: str) -> None:
        self.device = device
        self.model = model
        self.welcome = device.raw().hello(model)
        self._question = bytes(self.welcome.interface.input_bytes)
        self._answer = self.ask()
        self._look()
        self._steady = device.client(model)

    @property
    def host(self) -> int:
        assert self.device.process is not None
        return self.device.process.pid

    def processes(self) -> list[int]:
        """The host and its children."""
        children = Path(f"/proc/{self.host}/task/{self.host}/children").read_text()
        return [self.host, *map(int, children.split())]

    def connect(self) -> Raw:
        """A connection, as soon as there is room for it among those that the host has not accepted yet."""
        return Patient(self.device.socket)

    def infer(self, id: int = 1) -> bytes:
        return b"".join(query.infer(query.Infer(self.welcome.interface.digest, self._question), id))

    def ask(self) -> bytes:
        """What a new client is answered."""
        asking = self.device.raw()
        asking.hello(self.model)
        asking.send(self.infer())
        answer = bytes(query.parse_answer(asking.frame(Kind.ANSWER)).data)
        asking.close()
        return answer

    def _look(self) -> None:
        """Has a picture looked at: what a worker loads for that once is no leak."""
        looking = self.device.raw()
        looking.hello(self.model)
        picture = vision.Layout(vision.Format.RGB24, 32, 32)
        looking.send(*vision.detect(vision.Detect(picture, bytes(32 * 32 * 3)), 1))
        looking.frame(Kind.RESULT)
        looking.close()

    def converse(self, data: bytes, raw: Raw | None = None) -> list[query.Frame]:
        """Sends bytes and no more, and gives all that the runtime says until it closes."""
        raw = raw or self.device.raw()
        with suppress(BrokenPipeError, ConnectionResetError):  # closed already: what it said is there to be read
            raw.send(data)
            raw.socket.shutdown(socket.SHUT_WR)
        said = []
        while (frame := raw.next()) is not None:
            said.append(frame)
        raw.close()
        return said

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """Whatever is done within, afterwards the same processes live and answer, with no descriptor or thread more."""
        processes = self.processes()
        before = {pid: descriptors(pid) for pid in processes}
        taken = sum(map(memory.pss, processes))
        yield
        assert self.processes() == processes, "a process ended or began"
        assert threads(self.host) == 1
        for pid in processes:
            until(partial(has_at_most, pid, before[pid]), f"the descriptors of {pid} to be {before[pid]} again")
        assert sum(map(memory.pss, processes)) < taken + GROWTH_BYTES
        self.answers()

    def answers(self) -> None:
        """A new client, and the one that was there all the time, are answered as at first."""
        assert self.ask() == self._answer
        assert bytes(self._steady.infer(self._question).data) == self._answer


def named(frames: list[query.Frame]) -> list[str]:
    """The codes of the errors among the frames, all of which must be what a runtime may say."""
    codes = []
    for frame in frames:
        assert frame.kind in FROM_RUNTIME, frame
        if frame.kind is Kind.ERROR:
            body = frame.json()
            assert body["code"] in query.ERROR_CODES - {"internal"}, body
            assert body["cause"]
            codes.append(body["code"])
    return codes


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def has_at_most(pid: int, count: int) -> bool:
    return descriptors(pid) <= count


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
