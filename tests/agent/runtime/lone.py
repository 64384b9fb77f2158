"""A real worker process without a host: the test holds the host's end of its channel and gives it connections.

`python -m tests.agent.runtime.lone FD STATE ENGINE SETTINGS` is that process.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from agent.runtime.engine import Delegate, Tuning
from agent.runtime.engines import open_engine
from agent.runtime.handover import Carried, Channel, Message, State, channel_pair
from agent.runtime.release import read
from agent.runtime.worker.worker import Settings, run
from littoral.wire import query, vision
from tests.agent.runtime import scripted
from tests.agent.runtime.device import PATIENCE_S, ROOT, Device

UNTUNED = Tuning()
SETTINGS = {"read_ahead": 64, "queue_bytes": 1 << 24, "max_shares": 8, "max_share_bytes": 1 << 26, "hung_s": 10.0}


class Peer:
    """A client's end of a connection, which speaks in frames."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.socket.settimeout(PATIENCE_S)
        self._reader = query.Reader(query.MAX_FRAME_BYTES)
        self.welcome: query.Welcome | None = None

    def send(self, *parts: bytes | memoryview) -> None:
        self.socket.sendall(b"".join(parts))

    def share(self, body: dict[str, Any], *descriptors: int, id: int = 0) -> None:
        frame = query.json_frame(query.Kind.SHARE, body, id)
        assert socket.send_fds(self.socket, [frame], descriptors) == len(frame)

    def infer(self, data: bytes, id: int, deadline_us: int = 0, place: query.Place | None = None) -> bytes:
        """An INFER for the interface that this client was told."""
        assert self.welcome is not None
        return b"".join(query.infer(query.Infer(self.welcome.interface.digest, data, deadline_us, place), id))

    def next(self) -> query.Frame | None:
        """The next frame; None when the connection was closed."""
        while (frame := self._reader.next()) is None:
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionError:
                return None
            if not data:
                return None
            self._reader.feed(data)
        return frame

    def frame(self, kind: query.Kind) -> query.Frame:
        frame = self.next()
        assert frame is not None, f"closed in place of {kind.name}"
        assert frame.kind is kind, f"{frame.kind.name} in place of {kind.name}: {frame.body[:300]!r}"
        return frame

    def answer(self, id: int) -> query.Answer:
        frame = self.frame(query.Kind.ANSWER)
        assert frame.id == id
        return query.parse_answer(frame)

    def result(self, id: int) -> vision.Result:
        frame = self.frame(query.Kind.RESULT)
        assert frame.id == id
        return vision.parse_result(frame)

    def info(self, id: int) -> dict[str, Any]:
        frame = self.frame(query.Kind.INFO)
        assert frame.id == id
        return frame.json()

    def error(self, id: int) -> dict[str, Any]:
        frame = self.frame(query.Kind.ERROR)
        assert frame.id == id
        return frame.json()

    def code(self, id: int) -> str:
        return str(self.error(id)["code"])

    def greeted(self) -> Peer:
        self.welcome = query.parse_welcome(self.frame(query.Kind.WELCOME).json())
        return self

    def close(self) -> None:
        self.socket.close()


class Lone:
    """A worker. `tuning` and `settings` are fields of what it is told at birth. delegate: path of an accelerator's
    library; empty: the CPU.
    """

    def __init__(
        self,
        folder: Path,
        content: bytes,
        *,
        release: int = 1,
        engine: str = "scripted",
        card: bytes = b"",
        labels: bytes = b"",
        stage: str = "committed",
        tuning: Tuning = UNTUNED,
        delegate: str = "",
        **settings: float,
    ) -> None:
        folder.mkdir()
        slot = Device(folder, (), {}).add("m", release, content, card=card, labels=labels)
        self.channel, end = channel_pair()
        tuned = [tuning.threads, tuning.interpreters, tuning.cpus]
        told = {"bundle": slot.bundle, "stage": stage, "tuning": tuned, "delegate": delegate}
        command = [sys.executable, "-m", "tests.agent.runtime.lone", str(end.fileno()), str(folder), engine]
        command.append(json.dumps({**told, **SETTINGS, **settings}))
        self.process = subprocess.Popen(command, cwd=ROOT, pass_fds=[end.fileno()])
        end.close()
        self._ids = 0
        self._peers: list[Peer] = []
        self.ready = self.expect("ready").body

    def connect(self, **state: Any) -> Peer:
        """A new client, as the door gives it."""
        ours, theirs = socket.socketpair()
        self._ids += 1
        memfd = State(greet=True, **state).to_memfd()
        self.give(Carried(self._ids, theirs.detach(), memfd))
        peer = Peer(ours)
        self._peers.append(peer)
        return peer

    def greeted(self, **state: Any) -> Peer:
        return self.connect(**state).greeted()

    def give(self, carried: Carried) -> None:
        self.channel.send("give", {"id": carried.id}, (carried.connection, carried.state, *carried.shares))
        carried.close()

    def expect(self, op: str) -> Message:
        """The next message of this kind; others before it are dropped."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            select.select([self.channel], [], [], PATIENCE_S)
            message = self.channel.receive()
            if message is not None and message.op == op:
                return message
        raise AssertionError(f"no {op} came")

    def counts(self, **wanted: int) -> dict[str, Any]:
        """The counters, as soon as these have these values."""
        while True:
            body = self.expect("counters").body
            if all(body[name] == count for name, count in wanted.items()):
                return body

    def drain(self, gate: Path | None = None) -> list[Carried]:
        """All connections, handed back. gate: to be opened as soon as it was told."""
        self.channel.send("drain")
        if gate:
            gate.touch()
        found = []
        while True:
            select.select([self.channel], [], [], PATIENCE_S)
            message = self.channel.receive()
            assert message is not None
            if message.op == "back":
                connection, state, *shares = message.descriptors
                found.append(Carried(int(message.body["id"]), connection, state, tuple(shares)))
            elif message.op == "drained":
                assert self.process.wait(PATIENCE_S) == 0
                return found

    def descriptors(self) -> int:
        """How many it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))  # noqa: PTH208

    def stop(self) -> None:
        for peer in self._peers:
            peer.close()
        self.channel.close()  # as when the host dies
        self.process.wait(PATIENCE_S)


def main(fd: str, folder: str, engine: str, told: str) -> None:
    value = json.loads(told)
    release = read(Path(folder), value.pop("bundle"))
    path = value.pop("delegate")
    delegate = Delegate("accelerator", path) if path else None
    settings = Settings(release=release, delegate=delegate, **{**value, "tuning": Tuning(*value["tuning"])})
    channel = Channel(socket.socket(fileno=int(fd)))
    run(channel, scripted.ScriptedEngine() if engine == "scripted" else open_engine(engine), settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
