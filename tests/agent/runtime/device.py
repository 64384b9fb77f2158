"""A device made by hand for tests of the runtime: its state folder, its host as a real process, and an agent's end of
control.sock."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar

from agent import control, slots
from agent.slots import Slot, SlotRecord
from littoral import canonical
from littoral.bundle.manifest import Blob, Golden, Limits, Lineage, Manifest, Needs
from littoral.client import Client, models
from littoral.tensors import Interface
from littoral.wire import query

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 60.0  # for anything that must happen; far above what it takes

REAL_HOST = ("-m", "agent.runtime.cli")
SCRIPTED_HOST = ("-m", "tests.agent.runtime.scripted")

M = TypeVar("M")


def until(condition: Callable[[], object], what: str) -> None:
    """Waits until the condition holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE_S:g} s for {what}"
        select.select((), (), (), 0.005)


def interface_digests(interface: Interface, labels: bytes = b"") -> dict[str, str]:
    return Interface(interface.inputs, interface.outputs, tuple(labels.decode().splitlines())).declared()


class Device:
    """A state folder and what runs in it. `runtime` are settings of agent.toml, `tables` what comes after them."""

    def __init__(self, state: Path, host: tuple[str, ...], runtime: dict[str, object], tables: str = "") -> None:
        self.state = state
        self.socket = state / "query.sock"
        self._host = host
        self._opened = ExitStack()
        self.process: subprocess.Popen[bytes] | None = None
        settings = {"vouch_grace_s": 0.3, **runtime}
        lines = [f"{key} = {_toml(value)}" for key, value in settings.items()]
        (state / "agent.toml").write_text("\n".join(["[runtime]", *lines, tables, ""]))

        self.has_memory(True)

    def has_memory(self, enough: bool) -> None:
        """What a scripted host is told of the machine's memory."""
        new = self.state / "meminfo.new"
        new.write_text(f"MemTotal: 1000 kB\nMemAvailable: {900 if enough else 10} kB\n")
        new.rename(self.state / "meminfo")

    def add(
        self,
        model: str,
        release: int,
        content: bytes,
        *,
        interface: dict[str, str] | None = None,
        labels: bytes = b"",
        golden: tuple[Golden, bytes] | None = None,
        limits: Limits | None = None,
        needs: Needs | None = None,
        card: bytes = b"",
    ) -> Slot:
        """Puts a release into the state folder."""
        blobs = {"model": content, "labels": labels, "card": card, "golden": golden[1] if golden else b""}
        blobs = {role: data for role, data in blobs.items() if data}
        manifest = Manifest(
            model=model,
            release=release,
            version=f"v{release}",
            floor=0,
            lineage=Lineage.RETRAINED,
            blobs={role: Blob(canonical.digest(d), len(d), canonical.digest(b"")) for role, d in blobs.items()},
            chunk_bytes=61_440,
            interface=interface or {},
            limits=limits or Limits(),
            needs=needs or Needs(),
            golden=golden[0] if golden else None,
        )
        encoded = manifest.encode()
        slot = Slot(release, canonical.digest(encoded), manifest.version, evidence="full")
        folder = slots.release_folder(self.state, slot.bundle)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bundle.json").write_bytes(encoded)
        for role, data in blobs.items():
            (folder / role).write_bytes(data)
        return slot

    def record(
        self, model: str, a: Slot | None, b: Slot | None = None, *, active: str = "a", trial: bool = False
    ) -> None:
        """Writes the slot record, as the agent would."""
        stage = "trial" if trial else "committed" if active else "none"
        path = slots.path_of(self.state, model)
        path.parent.mkdir(parents=True, exist_ok=True)
        slots.write(path, SlotRecord(model, a, b, active, stage))

    def start(self) -> None:
        """Starts the host and waits until it answers."""
        self.process = subprocess.Popen(
            [sys.executable, *self._host, "run", "--config", self.state / "agent.toml"], cwd=ROOT
        )
        until(self._answers, "the host to answer")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the host ended"
        return self.socket.exists() and self._lists()

    def _lists(self) -> bool:
        try:
            models(self.socket)
        except OSError:
            return False
        except Exception as error:
            if getattr(error, "code", "") == "unreachable":
                return False
            raise
        return True

    def stop(self) -> None:
        """Closes what the test opened, and ends the host."""
        self._opened.close()
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(PATIENCE_S) == 0
            self.process = None

    def client(self, model: str) -> Client:
        return self._opened.enter_context(Client(model, self.socket, timeout_s=PATIENCE_S))

    def agent(self) -> Agent:
        return self._opened.enter_context(closing(Agent(self.state / "control.sock")))

    def raw(self) -> Raw:
        return self._opened.enter_context(closing(Raw(self.socket)))

    def raw_of(self, uid: int, *groups: int) -> Raw:
        """A connection made by another user; only root can."""
        self.state.chmod(0o755)
        here, there = socket.socketpair()
        child = os.fork()
        if child == 0:
            try:
                os.chdir(self.state)  # the folders above are root's own
                os.setgroups(groups)
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                    sock.connect("query.sock")
                    socket.send_fds(there, [b"it"], [sock.fileno()])
            finally:
                os._exit(0)
        there.close()
        descriptor = socket.recv_fds(here, 2, 1)[1][0]
        os.waitpid(child, 0)
        here.close()
        return self._opened.enter_context(closing(Raw(self.socket, socket.socket(fileno=descriptor))))

    def serves(self, model: str) -> int:
        """The release that is served now; 0: none."""
        return int(self.entry(model)["release"])

    def entry(self, model: str) -> dict[str, Any]:
        """What LIST says of the model."""
        return next(entry for entry in models(self.socket) if entry["model"] == model)


class Agent:
    """The agent's end of control.sock, as a test drives it."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(str(path))
        self._reader = control.Reader()
        self._messages: list[control.Message] = []

    def send(self, message: control.Message) -> None:
        self._socket.sendall(control.encode(message))

    def send_bytes(self, data: bytes) -> None:
        self._socket.sendall(data)

    def expect(self, kind: type[M], where: Callable[[M], bool] = lambda _: True) -> M:
        """The next message of this kind for which `where` holds; what comes before it is dropped."""
        end = time.monotonic() + PATIENCE_S
        while True:
            while self._messages:
                message = self._messages.pop(0)
                if isinstance(message, kind) and where(message):
                    return message
            assert time.monotonic() < end, f"no {kind.__name__} came"
            data = self._socket.recv(65_536)
            assert data, f"the host closed control.sock before {kind.__name__} came"
            self._messages += self._reader.feed(data)

    def apply(self, model: str, release: int, *, handover: bool = False) -> control.Serving:
        self.send(control.Apply(model, handover))
        return self.expect(control.Serving, lambda m: m.model == model and m.release == release)

    def expect_counts(self, model: str, **counts: int) -> control.Counters:
        """Waits until the model's counters are these."""
        return self.expect(
            control.Counters, lambda m: m.model == model and all(getattr(m, key) == n for key, n in counts.items())
        )

    def trial(self, model: str, slot: Slot) -> control.Tried:
        self.send(control.Try(1, model, slot.bundle))
        return self.expect(control.Tried)

    def gone(self) -> bool:
        """Whether the host closed the connection."""
        try:
            while self._socket.recv(65_536):
                pass
        except ConnectionError:
            pass
        return True

    def close(self) -> None:
        self._socket.close()


class Raw:
    """A connection that speaks in frames, or in any bytes."""

    def __init__(self, path: Path, connected: socket.socket | None = None) -> None:
        self.socket = connected or socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE_S)
        if connected is None:
            self.socket.connect(str(path))
        self.reader = query.Reader(query.MAX_FRAME_BYTES)

    def send(self, *parts: bytes | memoryview) -> None:
        for part in parts:
            self.socket.sendall(part)

    def next(self) -> query.Frame | None:
        """The next frame; None when the connection was closed."""
        while (frame := self.reader.next()) is None:
            try:
                data = self.socket.recv(65_536)
            except ConnectionError:
                return None
            if not data:
                return None
            self.reader.feed(data)
        return frame

    def frame(self, kind: query.Kind) -> query.Frame:
        """The next frame, which must be of this kind; events that come before it are skipped."""
        frame = self.next()
        while frame is not None and frame.kind is query.Kind.EVENT is not kind:
            frame = self.next()
        assert frame is not None, f"closed in place of {kind.name}"
        assert frame.kind is kind, f"{frame.kind.name} in place of {kind.name}: {frame.body[:200]!r}"
        return frame

    def hello(self, model: str) -> query.Welcome:
        self.send(query.hello(query.Hello(model)))
        return query.parse_welcome(self.frame(query.Kind.WELCOME).json())

    def code(self) -> str:
        """The code of the ERROR that comes next."""
        return str(self.frame(query.Kind.ERROR).json()["code"])

    def close(self) -> None:
        self.socket.close()


def engine_under_test() -> str:
    """The engine that this run of the tests is about."""
    return os.environ.get("LITTORAL_TEST_ENGINE", "litert")


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
