"""Models that are unloaded while nobody asks, and loaded when somebody does; on a real host (scripted.py)."""

from __future__ import annotations

import pytest

from agent import control
from agent.slots import Slot
from littoral import client, errors
from littoral.wire import query
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import Device, until

MIB = 1024 * 1024
QUESTION = b"\x00\x01\x02\x03"


def with_models(device: Device, **bytes_of: int) -> Device:
    """A device whose models have these names and take so many MiB."""
    for name, mib in bytes_of.items():
        slot = device.add(name, 1, scripted.model(answer=1, bytes=mib * MIB))
        device.record(name, Slot(slot.release, slot.bundle, slot.version, memory_bytes=mib * MIB))
    device.start()
    return device


def unloaded(device: Device, model: str = "m") -> bool:
    entry = device.entry(model)
    return bool(entry["stage"] == "unloaded" and not entry["memory_bytes"])


def infer(welcome: query.Welcome, id: int = 1) -> bytes:
    return b"".join(query.infer(query.Infer(welcome.interface.digest, QUESTION), id))


# --- idle -------------------------------------------------------------------------------------------------------


def test_a_model_that_nobody_asks_is_unloaded_and_comes_back_for_the_next_client(scripted_device: MakeDevice) -> None:
    device = with_models(scripted_device(idle_unload_s=0.3), m=1)
    until(lambda: unloaded(device), "the model to be unloaded")
    assert (device.entry("m")["release"], device.entry("m")["why"]) == (1, "")
    assert device.client("m").infer(QUESTION).release == 1
    assert device.entry("m")["why"] == "serving"


def test_a_connection_that_is_held_outlives_the_unloading(scripted_device: MakeDevice) -> None:
    device = with_models(scripted_device(idle_unload_s=0.3), m=1)
    held = [device.raw() for _ in range(3)]
    welcomes = [connection.hello("m") for connection in held]
    for round in range(2):
        until(lambda: unloaded(device), "the model to be unloaded")
        for connection, welcome in zip(held, welcomes, strict=True):
            connection.send(infer(welcome, round))
        for connection in held:
            assert connection.frame(query.Kind.ANSWER).id == round


def test_half_a_request_sent_to_an_unloaded_model_is_answered_when_its_other_half_came(
    scripted_device: MakeDevice,
) -> None:
    device = with_models(scripted_device(idle_unload_s=0.3), m=1)
    connection = device.raw()
    request = infer(connection.hello("m"))
    until(lambda: unloaded(device), "the model to be unloaded")
    connection.send(request[:20])
    until(lambda: not unloaded(device), "the model to be loaded")
    connection.send(request[20:])
    assert connection.frame(query.Kind.ANSWER).id == 1


def test_a_connection_that_is_closed_while_its_model_is_unloaded_wakes_nobody_and_is_forgotten(
    scripted_device: MakeDevice,
) -> None:
    device = with_models(scripted_device(idle_unload_s=0.3, max_connections=3), m=1)
    for _ in range(4):
        connections = [device.raw(), device.raw()]
        for connection in connections:
            connection.hello("m")
        until(lambda: unloaded(device), "the model to be unloaded")
        for connection in connections:
            connection.close()
        assert unloaded(device)


def test_a_pinned_model_and_one_with_a_longer_rest_of_its_own_stay(scripted_device: MakeDevice) -> None:
    tables = "[models.pinned]\npinned = true\n[models.other]\nidle_unload_s = 3600\n"
    device = with_models(scripted_device(tables=tables, idle_unload_s=0.3), m=1, pinned=1, other=1)
    until(lambda: unloaded(device), "the model to be unloaded")
    assert device.entry("pinned")["why"] == "pinned"
    until(lambda: device.entry("other")["why"] == "idle", "the other one to be idle")
    assert device.entry("other")["idle_s"] > 0


def test_the_agent_finds_an_unloaded_model_served_and_a_trial_is_not_unloaded(scripted_device: MakeDevice) -> None:
    device = scripted_device(idle_unload_s=0.3)
    old, new = (device.add("m", n, scripted.model(answer=n)) for n in (1, 2))
    device.record("m", old)
    device.start()
    until(lambda: unloaded(device), "the model to be unloaded")
    agent = device.agent()
    assert agent.expect(control.Serving) == control.Serving("m", 1, old.bundle, "committed")
    device.record("m", old, new, active="b", trial=True)
    agent.apply("m", 2)
    until(lambda: device.entry("m")["idle_s"] > 1.5, "the trial to be idle for long")
    assert device.entry("m")["why"] == "trial"


def test_the_clients_of_a_model_that_is_removed_while_it_is_unloaded_are_told(scripted_device: MakeDevice) -> None:
    device = with_models(scripted_device(idle_unload_s=0.3), m=1)
    held, agent = device.raw(), device.agent()
    held.hello("m")
    until(lambda: unloaded(device), "the model to be unloaded")
    agent.send(control.Unload("m"))
    assert held.code() == "no-release"


# --- room -------------------------------------------------------------------------------------------------------


def test_an_idle_model_makes_room_for_one_that_is_asked(scripted_device: MakeDevice) -> None:
    """Only one of the two fits; whoever is asked is loaded."""
    device = scripted_device(memory_budget_bytes=110 * MIB, idle_unload_s=0.3)
    with_models(device, first=60, second=60)
    until(lambda: unloaded(device, "first") and unloaded(device, "second"), "both to be unloaded")
    asking = device.client("first")
    assert asking.infer(QUESTION).release == 1
    until(lambda: is_quiet(device, "first"), "the first to be idle")
    assert device.client("second").infer(QUESTION).release == 1
    assert unloaded(device, "first")
    until(lambda: is_quiet(device, "second"), "the second to be idle")
    assert asking.infer(QUESTION).release == 1
    assert unloaded(device, "second")


def is_quiet(device: Device, model: str) -> bool:
    return device.entry(model)["why"] in ("idle", "")


def test_a_model_that_is_asked_while_a_busy_one_has_its_room_is_told_to_come_again(scripted_device: MakeDevice) -> None:
    tables = "[models.first]\nidle_unload_s = 3600\n"
    device = scripted_device(tables=tables, memory_budget_bytes=110 * MIB, idle_unload_s=0.3)
    with_models(device, first=60, second=60)
    until(lambda: unloaded(device, "second"), "the second to be unloaded")
    with device.client("first") as busy:
        assert busy.infer(QUESTION).release == 1
        connection = device.raw()
        connection.send(query.hello(query.Hello("second")))
        error = connection.frame(query.Kind.ERROR).json()
        assert error["code"] == "busy"
        assert error["retry_after_ms"] > 0
        assert busy.infer(QUESTION).release == 1


@pytest.mark.parametrize(
    "tables", ["[models.first]\npinned = true\n", "[models.first]\npriority = 2\nidle_unload_s = 3600\n"]
)
def test_a_pinned_model_and_one_of_higher_priority_make_no_room(scripted_device: MakeDevice, tables: str) -> None:
    device = scripted_device(tables=tables, memory_budget_bytes=110 * MIB, idle_unload_s=0.3)
    with_models(device, first=60, second=60)
    until(lambda: unloaded(device, "second"), "the second to be unloaded")
    until(lambda: device.entry("first")["idle_s"] > 2.5, "the first to be idle for long")
    with pytest.raises(errors.NoReleaseError, match="bytes"):
        client.Client("second", device.socket)
    assert device.client("first").infer(QUESTION).release == 1
