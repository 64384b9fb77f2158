"""What the host tells its service manager, and how a worker is replaced that answers no canary."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing

import pytest

from agent import control
from littoral.wire import query
from tests.agent.manager import Manager
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import Device, Raw, until
from tests.agent.runtime.scripted import model

WATCHDOG_S = 0.2


@pytest.fixture
def manager() -> Iterator[Manager]:
    with closing(Manager()) as made:
        yield made


@pytest.fixture
def watched(scripted_device: MakeDevice, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> Device:
    """A device whose host was started by a service manager with a watchdog."""
    device = scripted_device()
    device.record("m", device.add("m", 1, model()))
    for name, value in manager.environment(WATCHDOG_S).items():
        monkeypatch.setenv(name, value)
    device.start()
    return device


def test_a_host_says_that_it_is_ready_feeds_the_watchdog_and_says_that_it_ends(
    watched: Device, manager: Manager
) -> None:
    ready = manager.until("READY=1")
    assert f"serves {watched.socket}" in ready
    for _ in range(3):
        manager.until("WATCHDOG=1")
    watched.stop()
    manager.until("STOPPING=1")


def test_the_watchdog_is_fed_only_while_the_agent_says_that_canaries_are_answered(
    watched: Device, manager: Manager
) -> None:
    agent = watched.agent()
    agent.expect(control.Greeting)
    agent.send(control.Well(True))
    manager.until("WATCHDOG=1")
    agent.send(control.Well(False))
    assert "no canary is answered" in manager.until("STATUS=")
    assert manager.is_silent(5 * WATCHDOG_S)
    agent.send(control.Well(True))
    manager.until("WATCHDOG=1")


def test_without_an_agent_the_watchdog_is_fed_while_the_loop_turns(watched: Device, manager: Manager) -> None:
    agent = watched.agent()
    agent.send(control.Well(False))
    manager.until("STATUS=")
    assert manager.is_silent(5 * WATCHDOG_S)
    agent.close()
    manager.until("WATCHDOG=1")


def test_a_host_that_hangs_feeds_nothing(watched: Device, manager: Manager) -> None:
    manager.until("WATCHDOG=1")
    assert watched.process is not None
    watched.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, watched.process.pid, os.WSTOPPED | os.WNOWAIT)
    assert manager.is_silent(5 * WATCHDOG_S)
    watched.process.send_signal(signal.SIGCONT)
    manager.until("WATCHDOG=1")


# --- renewal ----------------------------------------------------------------------------------------------------


def ask(raw: Raw, digest: str, data: bytes, id: int) -> None:
    raw.send(*query.infer(query.Infer(digest, data, 0), id))


def test_a_renewed_model_is_answered_by_another_worker_on_the_same_connections(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    device.record("m", device.add("m", 1, model()))
    device.start()
    agent, raw = device.agent(), device.raw()
    digest = raw.hello("m").interface.digest
    before = agent.expect(control.Counters).worker
    agent.send(control.Renew("m"))
    agent.expect(control.Counters, lambda m: m.worker != before)
    ask(raw, digest, bytes(4), 1)
    assert raw.frame(query.Kind.ANSWER).id == 1


def test_a_worker_that_hangs_is_replaced_too(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    device.record("m", device.add("m", 1, model(run="hang", on=7)))
    device.start()
    agent, raw = device.agent(), device.raw()
    digest = raw.hello("m").interface.digest
    before = agent.expect(control.Counters).worker
    ask(raw, digest, b"\x07\x00\x00\x00", 1)
    agent.send(control.Renew("m"))
    agent.expect(control.Counters, lambda m: m.worker != before)
    assert device.client("m").infer(bytes(4)).release == 1


def test_what_is_renewed_again_and_again_is_replaced_by_the_other_slots_release(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    old, new = device.add("m", 1, model(answer=1)), device.add("m", 2, model(answer=2))
    device.record("m", new, old)
    device.start()
    agent = device.agent()
    agent.expect(control.Serving)
    for _ in range(3):
        worker = agent.expect(control.Counters, lambda m: m.release == 2).worker
        agent.send(control.Renew("m"))
        agent.expect(control.Counters, lambda m, worker=worker: m.worker != worker)  # type: ignore[misc]
    until(lambda: device.entry("m")["reason"] == "safe", "the other slot's release")
    assert device.serves("m") == 1


@pytest.mark.parametrize("name", ["nobody", "asleep", "trial"])
def test_what_is_not_served_as_committed_is_not_renewed(scripted_device: MakeDevice, name: str) -> None:
    device = scripted_device("[models.asleep]\nidle_unload_s = 0.1")
    device.record("asleep", device.add("asleep", 1, model()))
    device.record(
        "trial", device.add("trial", 1, model()), device.add("trial", 2, model(answer=1)), active="b", trial=True
    )
    device.start()
    agent = device.agent()
    agent.apply("trial", 2)
    until(lambda: device.entry("asleep")["stage"] == "unloaded", "the idle model to be unloaded")
    worker = agent.expect(control.Counters, lambda m: m.model == "trial").worker
    agent.send(control.Renew(name))
    for _ in range(2):
        assert agent.expect(control.Counters, lambda m: m.model == "trial").worker == worker
    assert device.entry("asleep")["stage"] == "unloaded"


def test_a_worker_that_hangs_is_seen_by_the_connections_it_does_not_take(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    device.record("m", device.add("m", 1, model(run="hang")))
    device.start()
    agent, raw, other = device.agent(), device.raw(), device.raw()
    digest = raw.hello("m").interface.digest
    agent.expect(control.Counters, lambda m: m.waiting == 0)
    ask(raw, digest, bytes(4), 1)
    other.send(query.hello(query.Hello("m")))
    agent.expect(control.Counters, lambda m: m.waiting > 0)
