"""What apps report, on a real host: in STATS, and to the agent."""

from __future__ import annotations

import os

import pytest

from agent import control
from littoral import client
from littoral.wire import query
from littoral.wire.report import Report, report
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import Device, Raw, until

ANN, BOB = 60_001, 60_002
ONLY_ANN = f"[[access]]\nmodels = ['m']\nusers = ['{ANN}']\n"
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user")


def started(make: MakeDevice, tables: str = "") -> Device:
    made = make(tables, socket_mode="0666")
    made.record("m", made.add("m", 1, scripted.model(answer=1)))
    made.start()
    return made


def reports(raw: Raw, note: str = "", *, good: bool = False) -> None:
    """Asks the model, and reports its answer."""
    welcome = raw.hello("m")
    raw.send(*query.infer(query.Infer(welcome.interface.digest, bytes(4)), 1))
    raw.frame(query.Kind.ANSWER)
    raw.send(report(Report(1, welcome.release, good, note), 2))
    assert raw.frame(query.Kind.INFO).json() == {"counted": True}


def stats(device: Device, raw: Raw | None = None) -> dict[str, object]:
    """STATS of the model, as root sees them or whoever made the connection."""
    if raw is None:
        return client.stats(device.socket)["m"]
    raw.send(query.hello(query.Hello("", mode=query.Mode.INFO)), query.json_frame(query.Kind.STATS, {}, 1))
    raw.frame(query.Kind.INFO)
    return dict(raw.frame(query.Kind.INFO).json()["models"]["m"])


def votes(device: Device) -> tuple[object, object]:
    told = stats(device)
    return told["votes"], told["votes_bad"]


@pytest.mark.root
@root
def test_each_user_of_the_device_has_a_vote(scripted_device: MakeDevice) -> None:
    device = started(scripted_device)
    for uid, good in ((ANN, True), (BOB, False)):
        reports(device.raw_of(uid), good=good)
    until(lambda: votes(device) == (2, 1), "two votes")
    assert device.agent().expect_counts("m", votes=2).votes_bad == 1


@pytest.mark.root
@root
def test_what_apps_wrote_is_shown_to_those_who_may_use_the_model(scripted_device: MakeDevice) -> None:
    device = started(scripted_device, ONLY_ANN)
    reports(device.raw_of(ANN), "the cat is no dog")
    until(lambda: stats(device)["notes"], "a note")
    assert stats(device, device.raw_of(ANN))["notes"] == ["the cat is no dog"]
    assert "notes" not in stats(device, device.raw_of(BOB))
    assert stats(device, device.raw_of(BOB))["answers"] == 1


def test_the_agent_is_told_what_apps_wrote_and_each_agent_anew(scripted_device: MakeDevice) -> None:
    device = started(scripted_device)
    for _ in range(2):
        agent = device.agent()
        reports(device.raw(), "no cat")
        told = agent.expect(control.Reported)
        assert (told.model, told.release, set(told.notes)) == ("m", 1, {"no cat"})


def test_votes_of_a_release_end_with_it(scripted_device: MakeDevice) -> None:
    device = started(scripted_device)
    reports(device.raw(), "no cat")
    until(lambda: stats(device)["votes"] == 1, "a vote")
    agent = device.agent()
    old, new = (device.add("m", release, scripted.model(answer=release)) for release in (1, 2))
    device.record("m", old, new, active="b", trial=True)
    agent.apply("m", 2)
    counters = agent.expect(control.Counters, lambda told: told.release == 2)
    assert (counters.votes, counters.votes_bad) == (0, 0)
    until(lambda: stats(device)["release"] == 2, "release 2")
    assert stats(device)["notes"] == []


def test_an_info_connection_reports_nothing(scripted_device: MakeDevice) -> None:
    raw = started(scripted_device).raw()
    raw.send(query.hello(query.Hello("", mode=query.Mode.INFO)), report(Report(1, 1, good=True), 1))
    raw.frame(query.Kind.INFO)
    assert raw.code() == "unsupported"
