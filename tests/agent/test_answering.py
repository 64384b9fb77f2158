"""Whether what is committed answers: a real agent, a real runtime host with scripted models, and a service manager."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent import status
from littoral.client import Client, stats
from littoral.errors import LittoralError
from tests.agent.manager import Manager
from tests.agent.runtime.device import PATIENCE_S, ROOT, SCRIPTED_HOST, Device, until
from tests.agent.runtime.scripted import model

pytestmark = pytest.mark.slow

WATCHDOG_S = 0.4
# The agent with an impatient canary.
AGENT = """
import sys
from agent.cli import main
from agent.health import canary, committed
committed.CommittedCanaries.__init__.__defaults__ = (0.3,)
canary.CanaryAsker.__init__.__defaults__ = (0.5,)
sys.exit(main(["run", "--config", sys.argv[1]]))
"""
NOBODY = '[broker]\nhost = "127.0.0.1"\nport = 1\ntls = false\n'


@pytest.fixture
def manager() -> Iterator[Manager]:
    with closing(Manager()) as made:
        yield made


@pytest.fixture
def device(tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """It serves release 3 of `m`, committed, which answers while the file `gate` is there."""
    made = Device(tmp_path, SCRIPTED_HOST, {}, NOBODY)
    settings = tmp_path / "agent.toml"
    settings.write_text(f'device = "farm-1"\n{settings.read_text()}')
    (tmp_path / "gate").touch()
    made.record("m", made.add("m", 3, model(gate=str(tmp_path / "gate"))))
    with monkeypatch.context() as patched:
        for name, value in manager.environment(WATCHDOG_S).items():
            patched.setenv(name, value)
        made.start()
    yield made
    (tmp_path / "gate").touch()
    made.stop()


@contextmanager
def agent(device: Device, environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A running agent that is connected to the runtime."""
    command = [sys.executable, "-c", AGENT, str(device.state / "agent.toml")]
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            until(lambda: "warnings" in told(device) and not warned(device, "nothing listens"), "the agent")
            yield process
        finally:
            process.kill()


def passes(seconds: float) -> None:
    """What must not happen needs time not to."""
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end, "some time")


def told(device: Device) -> dict[str, Any]:
    return status.ask(device.state) or {}


def warned(device: Device, words: str) -> bool:
    return any(words in warning["text"] for warning in told(device).get("warnings", []))


def use(device: Device) -> bool:
    """As an app that asks once and does not wait for long; whether it was answered."""
    try:
        with Client("m", device.socket, timeout_s=0.2) as asking:
            asking.infer(bytes(4))
    except LittoralError:
        return False
    return True


def workers(device: Device) -> set[str]:
    assert device.process is not None
    return set(Path(f"/proc/{device.process.pid}/task/{device.process.pid}/children").read_text().split())


def answers(device: Device) -> int:
    """Of the worker, as it tells each second."""
    return int(stats(device.socket)["m"]["answers"])


def test_a_committed_model_in_use_is_asked_by_the_canary_and_an_idle_one_is_not(device: Device) -> None:
    with agent(device):
        uses = 0

        def more_than_uses() -> bool:
            nonlocal uses
            uses += use(device)
            return answers(device) > uses

        until(more_than_uses, "an answer to the canary")
        settled = 0

        def is_quiet() -> bool:
            nonlocal settled
            settled = answers(device)
            passes(4.0)  # a dozen canaries, were it asked
            return answers(device) == settled

        until(is_quiet, "silence after the last use")
        assert use(device)
        until(lambda: answers(device) == settled + 2, "the next one")


def test_a_committed_model_that_answers_no_canary_is_started_anew_and_warned_of(device: Device) -> None:
    with agent(device):
        until(lambda: use(device), "an answer")
        before = workers(device)
        (device.state / "gate").unlink()
        until(lambda: not use(device) and warned(device, "release 3 of m does not answer: 3 canaries"), "the warning")
        until(lambda: workers(device).isdisjoint(before), "the end of the worker that hangs")
        (device.state / "gate").touch()
        until(lambda: use(device), "an answer of another worker")
        until(lambda: use(device) and not warned(device, "does not answer"), "the end of the warning")


def test_the_runtimes_watchdog_goes_hungry_once_no_canary_is_answered(device: Device, manager: Manager) -> None:
    with agent(device):
        until(lambda: use(device), "an answer")
        manager.until("WATCHDOG=1")
        (device.state / "gate").unlink()
        until(lambda: not use(device) and any("no canary is answered" in word for word in manager.hear()), "no food")
        assert manager.is_silent(3 * WATCHDOG_S)
        (device.state / "gate").touch()
        until(lambda: use(device) and "WATCHDOG=1" in manager.hear(), "food")


def test_a_runtime_that_stands_still_is_not_fed_and_one_without_an_agent_is(device: Device, manager: Manager) -> None:
    with agent(device):
        manager.until("WATCHDOG=1")
    assert device.process is not None
    manager.until("WATCHDOG=1")
    device.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, device.process.pid, os.WSTOPPED | os.WNOWAIT)
    assert manager.is_silent(3 * WATCHDOG_S)
    device.process.send_signal(signal.SIGCONT)


def test_the_agent_says_that_it_is_ready_feeds_its_own_watchdog_and_says_that_it_ends(device: Device) -> None:
    with closing(Manager()) as its, agent(device, its.environment(WATCHDOG_S)) as process:
        assert "of farm-1" in its.until("READY=1")
        for _ in range(5):
            its.until("WATCHDOG=1")
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert its.is_silent(3 * WATCHDOG_S)
        process.send_signal(signal.SIGCONT)
        its.until("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        its.until("STOPPING=1")
        assert process.wait(PATIENCE_S) == 0
