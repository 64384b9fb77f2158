"""Leases on a real host: kept as long as the socket is open and no longer than they may be, and told to the agent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from agent import control
from littoral.wire import query
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import PATIENCE_S, ROOT, Agent, Device, Raw

UNREAD_S = 0.05  # for something that must not come


def started(make: MakeDevice, hold_s: float = 3600.0, tables: str = "", **runtime: object) -> Device:
    made = make(f"[updates]\nlease_hold_s = {hold_s}\n{tables}", **runtime)
    made.record("m", made.add("m", 1, scripted.model(answer=1)))
    made.record("n", made.add("n", 1, scripted.model()))
    made.start()
    return made


@pytest.fixture
def device(scripted_device: MakeDevice) -> Device:
    return started(scripted_device)


def ask(connection: Raw, model: str = "m") -> Raw:
    connection.send(query.hello(query.Hello(model, mode=query.Mode.LEASE)))
    return connection


def lease(device: Device, model: str = "m") -> Raw:
    connection = ask(device.raw(), model)
    told = connection.frame(query.Kind.INFO)
    assert (told.id, told.json()) == (0, {"model": model.partition("@")[0], "hold_s": 3600.0})
    return connection


def expect(agent: Agent, held: int, model: str = "m") -> None:
    """The next that the agent is told of leases."""
    assert agent.expect(control.Leases) == control.Leases(model, held)


def is_silent(connection: Raw) -> bool:
    """Whether it is open, and nothing comes."""
    connection.socket.settimeout(UNREAD_S)
    try:
        connection.next()
    except TimeoutError:
        connection.socket.settimeout(PATIENCE_S)
        return True
    return False


def test_the_agent_is_told_of_each_lease_that_begins_or_ends(device: Device) -> None:
    agent = device.agent()
    first = lease(device)
    expect(agent, 1)
    second = lease(device, "m@trial")
    expect(agent, 2)
    other = lease(device, "n")
    expect(agent, 1, "n")
    first.close()
    expect(agent, 1)
    second.socket.shutdown(1)  # of a connection on which nothing is said this is the end
    assert second.next() is None
    expect(agent, 0)
    other.close()
    expect(agent, 0, "n")


def test_an_agent_that_comes_later_is_told_what_is_held(device: Device) -> None:
    held = [lease(device), lease(device)]
    ended = lease(device, "n")
    first = device.agent()
    assert {first.expect(control.Leases), first.expect(control.Leases)} == {
        control.Leases("m", 2),
        control.Leases("n", 1),
    }
    ended.close()
    expect(first, 0, "n")
    again = device.agent()
    expect(again, 2)
    held.pop().close()
    expect(again, 1)


def test_a_lease_is_untouched_by_switches_and_by_the_death_of_a_worker(device: Device) -> None:
    agent, held, asking = device.agent(), lease(device), device.client("m")
    expect(agent, 1)
    slots = [device.add("m", number, scripted.model(answer=number)) for number in (1, 2)]
    for number, active in enumerate("baba", 1):
        device.record("m", *slots, active=active)
        agent.apply("m", 2 if number % 2 else 1)
    os.kill(agent.expect_counts("m").worker, signal.SIGKILL)
    agent.expect(control.Died)
    assert asking.infer(bytes(4)).release == 1
    assert is_silent(held)
    held.close()
    expect(agent, 0)


def test_a_lease_ends_with_the_process_that_holds_it(device: Device) -> None:
    agent = device.agent()
    command = [sys.executable, "-m", "littoral.cli", "lease", "--socket", str(device.socket), "m", "--", "sleep", "600"]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as process:
        expect(agent, 1)
        os.killpg(process.pid, signal.SIGKILL)
    expect(agent, 0)


def test_a_lease_is_ended_by_name_when_it_was_held_for_as_long_as_it_may_be(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, hold_s=0.1)
    agent, held = device.agent(), ask(device.raw())
    expect(agent, 1)
    assert held.frame(query.Kind.INFO).json()["hold_s"] == 0.1
    assert held.code() == "lease-expired"
    assert held.next() is None
    expect(agent, 0)


def test_no_lease_is_given_where_none_may_be_held(scripted_device: MakeDevice) -> None:
    assert ask(started(scripted_device, hold_s=0.0).raw()).code() == "unsupported"


@pytest.mark.parametrize("said", [b"L", query.frame(query.Kind.INFER, bytes(40), 1), b"garbage of any length"])
def test_whatever_is_said_on_a_lease_ends_it(device: Device, said: bytes) -> None:
    agent, held = device.agent(), lease(device)
    expect(agent, 1)
    held.send(said)
    assert held.code() == "protocol"
    assert held.next() is None
    expect(agent, 0)


def test_what_is_said_in_one_breath_with_the_hello_ends_it_too(device: Device) -> None:
    connection = device.raw()
    hello = query.hello(query.Hello("m", mode=query.Mode.LEASE))
    connection.send(hello + query.frame(query.Kind.LIST))
    connection.frame(query.Kind.INFO)
    assert connection.code() == "protocol"


def test_a_lease_outlives_the_time_that_a_client_has_for_its_hello(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, hello_timeout_s=0.2)
    held = lease(device)
    late = device.raw()
    assert late.code() == "handshake-timeout"  # later than the lease's own would have been
    assert is_silent(held)


def test_leases_count_as_connections_and_give_their_places_back(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, max_connections_per_user=3)
    agent = device.agent()
    held = [lease(device) for _ in range(3)]
    for number in (1, 2, 3):
        expect(agent, number)
    assert device.raw().code() == "busy"
    held.pop().close()
    expect(agent, 2)
    lease(device)


def test_a_model_that_is_not_there_is_not_leased(device: Device) -> None:
    assert ask(device.raw(), "nobody").code() == "unknown-model"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user")
def test_only_who_may_use_a_model_may_hold_it(scripted_device: MakeDevice) -> None:
    tables = "[[access]]\nmodels = ['m']\nusers = ['60001']\n"
    device = started(scripted_device, tables=tables, socket_mode="0666")
    agent = device.agent()
    assert ask(device.raw_of(60_002)).code() == "access-denied"
    ask(device.raw_of(60_001)).frame(query.Kind.INFO)
    expect(agent, 1)
