"""Leases of the C client: of a real runtime, and of one that the test plays."""

from __future__ import annotations

import pytest

from agent import control
from littoral.wire import query
from littoral.wire.query import Kind
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import PATIENCE_S, Device
from tests.clients.conftest import MakeDriver
from tests.clients.driver import Driver, Runtime

PATIENCE_MS = int(PATIENCE_S * 1000)
GIVEN = query.json_frame(Kind.INFO, {"model": "m", "hold_s": 3600.0})


def started(make: MakeDevice, hold_s: float) -> Device:
    device = make(f"[updates]\nlease_hold_s = {hold_s}\n")
    device.record("m", device.add("m", 1, scripted.model(answer=1)))
    device.start()
    return device


def leased(driver: Driver, runtime: Runtime) -> query.Hello:
    """Has the driver ask for a lease, and gives it."""
    driver.tell("open", "m", "client=a", "lease=1")
    runtime.accept()
    hello = query.parse_hello(runtime.take(Kind.HELLO))
    runtime.send(GIVEN)
    assert "error" not in driver.said()
    return hello


def test_a_lease_is_held_until_the_client_is_closed(scripted_device: MakeDevice, drivers: MakeDriver) -> None:
    device = started(scripted_device, 3600.0)
    agent, holding, asking = device.agent(), drivers(), drivers()
    holding.do("open", "m", "lease=1")
    assert agent.expect(control.Leases) == control.Leases("m", 1)
    asking.do("open", "m")
    assert asking.infer(b"abcd") == b"bcde"
    assert holding.do("poll", 0) == {}
    holding.do("close")
    assert agent.expect(control.Leases) == control.Leases("m", 0)


def test_a_lease_that_was_held_for_too_long_is_told_and_taken_anew_by_a_later_call(
    scripted_device: MakeDevice, driver: Driver
) -> None:
    agent = started(scripted_device, 0.2).agent()
    driver.do("open", "m", "lease=1")
    said = driver.tried("poll", PATIENCE_MS)
    assert (said["error"], said["id"]) == ("lease-expired", 0)
    driver.tell("poll", PATIENCE_MS)
    assert [agent.expect(control.Leases).held for _ in range(4)] == [1, 0, 1, 0]
    assert driver.said()["error"] == "lease-expired"


def test_a_model_that_is_not_there_is_a_named_error(scripted_device: MakeDevice, driver: Driver) -> None:
    started(scripted_device, 3600.0)
    assert driver.tried("open", "other", "lease=1")["error"] == "unknown-model"


def test_hello_says_it_is_a_lease(driver: Driver, runtime: Runtime) -> None:
    assert leased(driver, runtime) == query.Hello("m", "a", query.Mode.LEASE)


def test_a_lease_that_is_lost_is_told_and_not_taken_anew_by_itself(driver: Driver, runtime: Runtime) -> None:
    leased(driver, runtime)
    runtime.hang_up()
    said = driver.tried("poll", PATIENCE_MS)
    assert (said["error"], said["id"], said["cause"]) == ("unreachable", 0, "the connection ended")
    driver.tell("poll", 0)
    runtime.accept()
    assert query.parse_hello(runtime.take(Kind.HELLO)).mode is query.Mode.LEASE


def test_nothing_can_be_asked_of_a_lease(driver: Driver, runtime: Runtime) -> None:
    leased(driver, runtime)
    assert driver.do("info") == {}
    assert driver.tried("infer", driver.file(b"abcd"))["error"] == "unsupported"
    assert driver.tried("detect", 3, 2, 2, driver.file(b"abcd"))["error"] == "unsupported"
    assert driver.tried("share", 4, 1)["error"] == "bad-share"
    assert driver.do("poll", 0) == {}


@pytest.mark.parametrize(
    "frame",
    [query.json_frame(Kind.WELCOME, {}), query.frame(Kind.INFO, b"x"), query.json_frame(Kind.INFO, {}, 1)],
    ids=["WELCOME", "no JSON", "of a request"],
)
def test_what_gives_no_lease_is_refused(driver: Driver, runtime: Runtime, frame: bytes) -> None:
    driver.tell("open", "m", "lease=1")
    runtime.accept()
    runtime.send(frame)
    assert driver.said()["error"] == "protocol"
