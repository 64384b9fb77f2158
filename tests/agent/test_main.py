"""agent/main.py: the agent as a process of its own, without a broker and without a runtime."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent import fsio, main, slots, status
from agent.config import Broker, Config
from agent.slots import Slot, SlotRecord, Update
from agent.updater.safety import MANY_STARTS

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


@contextmanager
def agent(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running agent that answers; killed at the end if it has not ended."""
    program = Path(sys.executable).with_name("littoral-agent")
    command = [str(program), "run", "--config", str(state / "agent.toml")]
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
    assert "the runtime is away" in found["warnings"]
    assert found["models"]["cats"]["detail"] == "waiting for the runtime"
    assert found["models"]["cats"]["left_s"] is None


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

    def begin(config: Config) -> None:
        happened.append("began")
        raise SystemExit

    monkeypatch.setattr(fsio, "settle", settle)
    monkeypatch.setattr(main, "Agent", begin)
    with pytest.raises(SystemExit):
        main.run(Config(state=tmp_path, device="farm-1", broker=Broker(host="broker")))
    assert happened == [f"settled {tmp_path.name}", "began"]
