"""The two that a client can talk to, behind one face, so that the same tests run against both: the real host with
scripted models (tests/agent/runtime/scripted.py), and the fake server."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Protocol

from agent.slots import Slot
from littoral.client import Client, Subscription
from littoral.fake import FakeModel, FakeServer
from tests.agent.runtime import scripted
from tests.agent.runtime.device import PATIENCE_S, SCRIPTED_HOST, Agent, Device


class Side(Protocol):
    """Serves the model `m`. The releases given to `serve` are 1, 2 ...; the first is served until `switch`."""

    socket: Path

    def serve(self, *models: bytes, labels: tuple[bytes, ...] = ()) -> None: ...

    def switch(self, release: int) -> None: ...

    def kill(self) -> None: ...

    def revive(self, release: int = 0) -> None:
        """Starts again what was killed; release: another one than before."""

    def client(self, model: str = "m", **options: Any) -> Client: ...

    def subscription(self) -> Subscription: ...

    def stop(self) -> None: ...


class RealSide:
    def __init__(self, folder: Path) -> None:
        self._device = Device(folder, SCRIPTED_HOST, {})
        self.socket = self._device.socket
        self._opened = ExitStack()
        self._slots: list[Slot] = []
        self._agent: Agent | None = None

    def serve(self, *models: bytes, labels: tuple[bytes, ...] = ()) -> None:
        self._slots = [
            self._device.add("m", n, content, labels=labels[n - 1] if labels else b"")
            for n, content in enumerate(models, 1)
        ]
        self._record(1)
        self._device.start()
        self._agent = self._device.agent()

    def _record(self, release: int) -> None:
        other = self._slots[1] if len(self._slots) > 1 else None
        self._device.record("m", self._slots[0], other, active="ab"[release - 1])

    def switch(self, release: int) -> None:
        assert self._agent is not None
        self._record(release)
        self._agent.apply("m", release)

    def kill(self) -> None:
        assert self._device.process is not None
        self._device.process.kill()
        self._device.process.wait()

    def revive(self, release: int = 0) -> None:
        if release:
            self._record(release)
        self._device.start()

    def client(self, model: str = "m", **options: Any) -> Client:
        return self._opened.enter_context(Client(model, self.socket, **{"timeout_s": PATIENCE_S, **options}))

    def subscription(self) -> Subscription:
        return self._opened.enter_context(Subscription("m", self.socket, timeout_s=PATIENCE_S))

    def stop(self) -> None:
        self._opened.close()
        self._device.stop()


class FakeSide:
    def __init__(self, folder: Path) -> None:
        self.socket = folder / "query.sock"
        self._opened = ExitStack()
        self._models: list[FakeModel] = []
        self._server = FakeServer({}, self.socket)

    def serve(self, *models: bytes, labels: tuple[bytes, ...] = ()) -> None:
        self._models = [
            _fake(n, content, labels[n - 1].decode() if labels else "") for n, content in enumerate(models, 1)
        ]
        self.switch(1)
        self._server.start()

    def switch(self, release: int) -> None:
        self._server.switch("m", self._models[release - 1])

    def be_busy(self, count: int) -> None:
        self._server.be_busy(count)

    def kill(self) -> None:
        self._server.stop()

    def revive(self, release: int = 0) -> None:
        if release:
            self.switch(release)
        self._server.start()

    def client(self, model: str = "m", **options: Any) -> Client:
        return self._opened.enter_context(Client(model, self.socket, **{"timeout_s": PATIENCE_S, **options}))

    def subscription(self) -> Subscription:
        return self._opened.enter_context(Subscription("m", self.socket, timeout_s=PATIENCE_S))

    def stop(self) -> None:
        self._opened.close()
        self._server.stop()


def _fake(release: int, content: bytes, labels: str) -> FakeModel:
    """A scripted model as the fake server has it."""
    value = json.loads(content)
    interface = scripted.interface_of(content, tuple(labels.split()))

    def answer(data: bytes) -> bytes:
        time.sleep(value.get("delay_ms", 0) / 1000)
        added = value.get("answer", 0)
        return bytes((byte + added) % 256 for byte in islice(cycle(data), interface.output_bytes))

    return FakeModel(interface.inputs, interface.outputs, interface.labels, release, answer=answer)
