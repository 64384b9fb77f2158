"""A real mosquitto that can be killed and started again, the fleet's end of it, and a loop that waits on conditions."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.config import Broker as BrokerSettings
from agent.config import Config
from agent.link.events import Connected, Disconnected, Event
from agent.link.link import Link
from littoral.wire.topics import Topics

LONGEST_S = 60.0  # nothing here takes longer, on whatever machine
TOPICS = Topics("main")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Mosquitto:
    """One broker on a loopback port that stays the same over restarts. It keeps nothing on disk."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.port = free_port()
        self._settings = settings or ("allow_anonymous true",)
        self._config = folder / "mosquitto.conf"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        lines = [f"listener {self.port} 127.0.0.1", "persistence false", *self._settings]
        if os.geteuid() == 0:
            lines.append("user root")  # else it drops its rights before it reads its certificates
        self._config.write_text("\n".join(lines) + "\n")
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program, "mosquitto is not installed"
        self._process = subprocess.Popen([program, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        wait_for(self._listens)

    def kill(self) -> None:
        """SIGKILL: every retained message and session is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "mosquitto ended at once"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Fleet:
    """The server's end: publishes as it does, and keeps what devices said."""

    def __init__(self, broker: Mosquitto) -> None:
        self.got: list[tuple[str, bytes, bool]] = []
        self._messages: queue.Queue[tuple[str, bytes, bool]] = queue.Queue()
        self._acks: queue.Queue[int] = queue.Queue()
        name = f"fleet-server-{id(self)}"
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        self._client.connect("127.0.0.1", broker.port)
        self._client.subscribe(f"{TOPICS.prefix}/dev/+/up/#", qos=1)
        self._client.loop_start()
        self._acks.get(timeout=LONGEST_S)

    def publish(self, topic: str, payload: bytes, retain: bool = True) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(LONGEST_S)

    def of(self, topic: str) -> list[bytes]:
        """Everything that was said on `topic` so far."""
        while not self._messages.empty():
            self.got.append(self._messages.get())
        return [payload for said, payload, _ in self.got if said == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_message = self._client.on_subscribe = None
        del self._client  # paho closes its sockets when it is collected

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        self._messages.put((message.topic, bytes(message.payload), message.retain))

    def _on_subscribe(self, client: mqtt.Client, userdata: Any, mid: int, codes: Any, props: Any) -> None:
        self._acks.put(mid)


class Device:
    """A link and the loop around it: hands every event to `listeners` and calls `tickers`, as the agent does."""

    def __init__(self, config: Config, boot: str = "boot-1") -> None:
        self.events: list[Event] = []
        self.listeners: list[Callable[[Event], object]] = []
        self.tickers: list[Callable[[], object]] = []
        self._awake = threading.Event()
        self.link = Link(config, boot, self._awake.set)

    def turn(self) -> None:
        for event in self.link.poll():
            self.events.append(event)
            for listener in self.listeners:
                listener(event)
        for ticker in self.tickers:
            ticker()

    def until(self, condition: Callable[[], bool]) -> None:
        """Runs the loop until `condition` holds."""
        deadline = time.monotonic() + LONGEST_S
        while True:
            self._awake.clear()
            self.turn()
            if condition():
                return
            assert time.monotonic() < deadline, f"never came: {self.link.problem}, {self.events[-5:]}"
            self._awake.wait(0.05)

    def connect(self) -> None:
        self.link.start()
        self.until(lambda: self.link.connected)

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    def reconnected(self) -> bool:
        return self.count(Disconnected) > 0 and self.count(Connected) == self.count(Disconnected) + 1


class Tap:
    """Stands between one device and the broker, and can leave unread what the broker says."""

    def __init__(self, port: int) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._target = port
        self._open = threading.Event()
        self._open.set()
        self._broker: socket.socket | None = None
        self._device: socket.socket | None = None
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def until_full(self) -> None:
        """Waits until the broker has said as much as the connection holds: no more comes into this end's buffer."""
        seen = [0, -1]

        def still() -> bool:
            assert self._broker is not None
            seen.append(len(self._broker.recv(1 << 25, socket.MSG_PEEK)))
            return seen[-1] == seen[-2] == seen[-3]

        wait_for(still)

    def close(self) -> None:
        for each in (self._broker, self._device, self._server):
            if each is not None:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
        self._open.set()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            self._device = self._server.accept()[0]
            self._broker = socket.create_connection(("127.0.0.1", self._target))
            self._threads.append(threading.Thread(target=self._carry, args=(self._device, self._broker)))
            self._threads[1].start()
            self._carry(self._broker, self._device, self._open)

    def _carry(self, source: socket.socket, target: socket.socket, gate: threading.Event | None = None) -> None:
        with contextlib.suppress(OSError):
            while True:
                if gate is not None:
                    gate.wait()
                data = source.recv(65_536)
                if not data:
                    return
                target.sendall(data)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        threading.Event().wait(0.02)


def settings(folder: Path, port: int, device: str = "cam-1") -> Config:
    return Config(state=folder, device=device, broker=BrokerSettings("127.0.0.1", port, tls=False))
