"""A host whose sockets a service manager made: it keeps them while hosts come and go."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent import control
from agent.runtime.host.listener import listen
from littoral.client import Client, models
from tests.agent.runtime.device import PATIENCE_S, ROOT, SCRIPTED_HOST, Agent, Device, until
from tests.agent.runtime.scripted import model

# What systemd does between fork and exec.
ACTIVATED = """
import os, runpy, sys
for at, descriptor in enumerate(map(int, sys.argv[1].split(",")), 3):
    os.dup2(descriptor, at)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="query:control")
sys.argv[:2] = []
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


class Manager:
    """Holds both sockets, and starts hosts that are handed them."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._open = ExitStack()
        self._sockets = [
            self._open.enter_context(listen(state / f"{name}.sock", 0o600)) for name in ("query", "control")
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, handed: list[socket.socket] | None = None) -> subprocess.Popen[bytes]:
        descriptors = [each.fileno() for each in handed or self._sockets]
        told = ",".join(map(str, descriptors))
        command: list[str | Path] = [
            sys.executable,
            "-c",
            ACTIVATED,
            told,
            SCRIPTED_HOST[1],
            "run",
            "--config",
            self.state / "agent.toml",
        ]
        self.process = subprocess.Popen(command, cwd=ROOT, pass_fds=descriptors, stderr=subprocess.PIPE)
        return self.process

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        _, _ = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0

    def close(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            self.process.communicate()
        self._open.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    device = Device(tmp_path, SCRIPTED_HOST, {})
    device.record("m", device.add("m", 1, model(answer=1)))
    made = Manager(tmp_path)
    yield made
    made.close()


def test_who_asked_before_a_host_was_there_is_answered_by_the_one_that_comes(manager: Manager) -> None:
    with socket.socket(socket.AF_UNIX) as early:
        early.connect(str(manager.state / "query.sock"))
        manager.start()
        with Client("m", manager.state / "query.sock", timeout_s=PATIENCE_S) as client:
            assert client.infer(b"\1\2\3\4").data == b"\2\3\4\5"


def test_the_sockets_stay_when_a_host_ends_and_serve_the_next_one(manager: Manager) -> None:
    manager.start()
    until(lambda: models(manager.state / "query.sock"), "the host to answer")
    manager.stop()
    assert (manager.state / "query.sock").exists()
    with socket.socket(socket.AF_UNIX) as between:
        between.connect(str(manager.state / "query.sock"))  # nothing is refused
    manager.start()
    agent = Agent(manager.state / "control.sock")
    agent.expect(control.Greeting)
    agent.close()


def test_a_host_that_is_handed_another_socket_than_its_settings_say_ends_and_says_so(
    manager: Manager, tmp_path: Path
) -> None:
    with listen(tmp_path / "other.sock", 0o600) as other:
        process = manager.start([other, other])
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert b"other.sock, and agent.toml says" in said


@pytest.mark.skipif(os.getuid() != 0, reason="only root can connect as another user")
def test_the_user_whose_folder_the_state_is_may_ask_whatever_access_says(tmp_path: Path) -> None:
    tables = '[[access]]\nusers = ["4242"]\n'
    device = Device(tmp_path, SCRIPTED_HOST, {"socket_mode": "0666"}, tables)
    device.record("m", device.add("m", 1, model(answer=1)))
    os.chown(tmp_path, 4243, 4243)
    device.start()
    try:
        assert device.raw_of(4243).hello("m").release == 1
        with pytest.raises(AssertionError, match="access-denied"):
            device.raw_of(4244).hello("m")
    finally:
        device.stop()
