"""agent/main.py: the agent as a process of its own, without a broker and without a runtime."""

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest

from agent import control, fsio, main, slots, status
from agent.config import Broker, Config
from agent.control import Pace
from agent.slots import Slot, SlotRecord, Update
from agent.updater.safety import MANY_STARTS
from tests.agent.machine import Machine

M = TypeVar("M")

LONGEST_S = 30.0
NOBODY = '[broker]\nhost = "127.0.0.1"\nport = 1\ntls = false\n'  # the port of a service that no machine offers


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A device that has a commit to tell its runtime of."""
    (tmp_path / "agent.toml").write_text(f'device = "farm-1"\n{NOBODY}')
    record = SlotRecord(
        "cats",
        a=Slot(1, "a" * 64, "1.0", evidence="full"),
        b=Slot(2, "b" * 64, "2.0", evidence="full"),
        active="b",
        stage="committed",
        update=Update(2, "b" * 64, 1, 7, "commit"),
    )
    path = slots.path_of(tmp_path, "cats")
    path.parent.mkdir(parents=True)
    slots.write(path, record)
    return tmp_path


ON_A_MACHINE = """
import pathlib, sys
from agent import config, main
main.run(config.read(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2]))
"""


@contextmanager
def agent(state: Path, root: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A running agent that answers; killed at the end if it has not ended. root: of the machine it finds itself on."""
    program, config = Path(sys.executable).with_name("littoral-agent"), str(state / "agent.toml")
    command = [str(program), "run", "--config", config]
    if root is not None:
        command = [sys.executable, "-c", ON_A_MACHINE, config, str(root)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            told(state)
            yield process
        finally:
            process.kill()


def told(state: Path) -> dict[str, Any]:
    """What the agent says, once it does."""
    until = time.monotonic() + LONGEST_S
    while time.monotonic() < until:
        found = status.ask(state)
        if found is not None:
            return found
        time.sleep(0.02)
    raise AssertionError("the agent does not answer")


def test_an_agent_alone_says_what_it_waits_for(state: Path) -> None:
    with agent(state):
        found = told(state)
    assert found["connected"] is False
    assert [alarm["code"] for alarm in found["warnings"]] == ["runtime-away"]
    assert found["models"]["cats"]["detail"] == "waiting for the runtime"
    assert found["models"]["cats"]["left_s"] is None


def test_a_hot_device_is_told_of_its_runtime_is_slowed_down_and_no_release_is_tried(state: Path) -> None:
    machine = Machine(state / "machine")
    machine.zone(0, "cpu-thermal", 93_000)
    machine.firmware(0x50005)
    machine.stalled(0.0)
    with Runtime(state) as runtime, agent(state, machine.root):
        runtime.greet()
        assert runtime.hears(Pace) == Pace(300, shadows=False)
        found = told(state)
        alarms = {alarm["code"]: alarm for alarm in found["warnings"]}
        assert list(alarms) == ["too-hot", "throttled", "under-voltage"]
        assert alarms["too-hot"]["severity"] == "critical"
        assert "cpu-thermal is at 93 °C" in alarms["too-hot"]["text"]
        assert found["device"]["level"] == "critical"
        assert found["device"]["zones"][0]["temperature_mc"] == 93_000
        assert found["device"]["firmware"] == 0x50005
        runtime.greet()  # another runtime than before: it is told anew
        assert runtime.hears(Pace) == Pace(300, shadows=False)
        events = told_upstream(state, "alarm")
    assert {event["facts"]["code"] for event in events} == {"too-hot", "throttled", "under-voltage"}


class Runtime:
    """A runtime's end of control.sock that serves nothing and listens."""

    def __init__(self, state: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(state / "control.sock"))
        self._listener.listen()
        self._listener.settimeout(LONGEST_S)
        self._agent: socket.socket | None = None
        self._reader = control.Reader()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()
        self._listener.close()

    def greet(self) -> None:
        """Takes the agent's next connection, and ends the one before."""
        self._leave()
        self._agent, _ = self._listener.accept()
        self._agent.settimeout(LONGEST_S)
        self._agent.sendall(control.encode(control.Greeting("litert", 1 << 30)))

    def hears(self, kind: type[M]) -> M:
        assert self._agent is not None
        while True:
            data = self._agent.recv(65_536)
            assert data
            for message in self._reader.feed(data):
                if isinstance(message, kind):
                    return message

    def _leave(self) -> None:
        if self._agent is not None:
            self._agent.close()
            self._reader = control.Reader()


def told_upstream(state: Path, kind: str) -> list[dict[str, Any]]:
    """Events of this kind in the outbox, once there are some."""
    until = time.monotonic() + LONGEST_S
    while time.monotonic() < until:
        with closing(sqlite3.connect(state / "outbox.db")) as database:
            rows = database.execute("SELECT payload FROM outbox WHERE kind = 'event' ORDER BY seq").fetchall()
        found = [event for (payload,) in rows if (event := json.loads(payload))["kind"] == kind]
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"no {kind} was told")


def test_an_agent_that_is_killed_at_every_start_ends_in_safe_mode(state: Path) -> None:
    modes = []
    for _ in range(MANY_STARTS):
        with agent(state):
            modes.append(told(state)["safe_mode"])
    assert modes == [False] * (MANY_STARTS - 1) + [True]


def test_an_agent_that_is_stopped_again_and_again_does_not(state: Path) -> None:
    for _ in range(MANY_STARTS + 1):
        with agent(state) as process:
            assert told(state)["safe_mode"] is False
            process.send_signal(signal.SIGTERM)
            assert process.wait(LONGEST_S) == 0
    assert not (state / status.NAME).exists()


def test_what_a_killed_agent_did_not_sync_is_durable_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    def settle(folder: Path) -> None:
        happened.append(f"settled {folder.name}")
        raise OSError(5, "a disk that cannot do it holds nothing up")

    def begin(config: Config, root: Path) -> None:
        happened.append("began")
        raise SystemExit

    monkeypatch.setattr(fsio, "settle", settle)
    monkeypatch.setattr(main, "Agent", begin)
    with pytest.raises(SystemExit):
        main.run(Config(state=tmp_path, device="farm-1", broker=Broker(host="broker")))
    assert happened == [f"settled {tmp_path.name}", "began"]
