"""The C client as a process of its own, driven line by line, and a runtime that a test plays itself, frame by frame."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
from pathlib import Path
from typing import Any

from littoral.tensors import Interface, Tensor
from littoral.wire import query
from tests.agent.runtime.device import PATIENCE_S, ROOT

INPUTS = bytes(range(8))  # of INTERFACE
C = ROOT / "clients" / "c"
TESTS = Path(__file__).parent
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-g", "-fsanitize=address,undefined")

INTERFACE = Interface(
    (Tensor("picture", "uint8", (1, 2, 2), 0.5, -3), Tensor("more", "float32", (), 0.0, 0)),
    (Tensor("scores", "int8", (1, 3), 1 / 3, 127), Tensor("wide", "int64", (2,), 0.0, 0)),
    ("cat", 'a "dog"', "\u00e9t\u00e9 \U0001f600"),
)


def build(folder: Path, compiler: str, main: Path, *flags: str) -> Path:
    """The client and a program that uses it, compiled with every warning an error and with sanitizers."""
    program = folder / f"{main.stem}-{compiler}"
    command = [compiler, *FLAGS, *flags, f"-I{C}", str(main), str(C / "littoral.c"), "-o", str(program)]
    subprocess.run(command, check=True)
    return program


class Driver:
    """driver.c, with the socket of its runtime and a folder for the bytes it is to send."""

    def __init__(self, program: Path, path: Path, folder: Path) -> None:
        self._folder = folder
        self._files = 0
        environment = {**os.environ, "LITTORAL_SOCKET": str(path), "UBSAN_OPTIONS": "halt_on_error=1"}
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )

    def tell(self, *words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def said(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], PATIENCE_S)[0], "the driver said nothing"
        line = self.process.stdout.readline()
        assert line, f"the driver ended with {self.process.wait(PATIENCE_S)}"
        value: dict[str, Any] = json.loads(line)
        return value

    def do(self, *words: object) -> dict[str, Any]:
        """Tells it, and gives what it says. Fails where that is an error."""
        said = self.tried(*words)
        assert "error" not in said, said
        return said

    def tried(self, *words: object) -> dict[str, Any]:
        self.tell(*words)
        return self.said()

    def file(self, data: bytes) -> Path:
        self._files += 1
        path = self._folder / f"data-{id(self)}-{self._files}"
        path.write_bytes(data)
        return path

    def infer(self, data: bytes) -> bytes:
        return bytes.fromhex(self.do("infer", self.file(data))["data"])

    def end(self) -> None:
        """Ends it; what the sanitizers found, leaks too, fails the test."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            assert self.process.wait(PATIENCE_S) == 0
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


class Runtime:
    """The runtime's end of a connection, as a test plays it."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.settimeout(PATIENCE_S)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self.connection: socket.socket | None = None
        self.descriptors: list[int] = []

    def accept(self) -> None:
        self.hang_up()
        self.connection, _ = self._listener.accept()
        self.connection.settimeout(PATIENCE_S)
        self._reader = query.Reader(query.MAX_FRAME_BYTES)

    def take(self, kind: query.Kind) -> query.Frame:
        assert self.connection is not None
        while (frame := self._reader.next()) is None:
            data, descriptors, _, _ = socket.recv_fds(self.connection, 65_536, 4)
            self.descriptors += descriptors
            assert data, f"the client closed in place of {kind.name}"
            self._reader.feed(data)
        assert frame.kind is kind, frame
        return frame

    def send(self, *parts: bytes | bytearray | memoryview) -> None:
        assert self.connection is not None
        for part in parts:
            self.connection.sendall(part)

    def welcome(self, welcome: query.Welcome | None = None) -> query.Hello:
        """Accepts the next connection and greets it."""
        self.accept()
        hello = query.parse_hello(self.take(query.Kind.HELLO))
        self.send(query.welcome(welcome or welcome_of()))
        return hello

    def answer(self, data: bytes, release: int = 7) -> query.Frame:
        """Answers the next INFER."""
        frame = self.take(query.Kind.INFER)
        self.send(*query.answer(query.Answer(release, query.Stage.TRIAL, 3, 4, data), frame.id))
        return frame

    def hang_up(self) -> None:
        if self.connection is not None:
            self.connection.close()

    def close(self) -> None:
        self.hang_up()
        self._listener.close()
        for descriptor in self.descriptors:
            os.close(descriptor)


def welcome_of(interface: Interface = INTERFACE, release: int = 7, **fields: Any) -> query.Welcome:
    given: dict[str, Any] = {"stage": query.Stage.TRIAL, "detect": "boxes", "max_frame_bytes": 1 << 20, **fields}
    return query.Welcome("m", release, "v7", engine="scripted 1", interface=interface, **given)


def changed(**fields: Any) -> dict[str, Any]:
    """The same as EVENT and ERROR carry it."""
    return query.welcome_json(welcome_of(**fields))


def opened(driver: Driver, runtime: Runtime, *words: object, **fields: Any) -> query.Hello:
    """Has the driver connect, and greets it."""
    driver.tell("open", "m", *words)
    hello = runtime.welcome(welcome_of(**fields))
    assert "error" not in driver.said()
    return hello
