import json
import os
import sqlite3
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest

from fleet.broker import Engine
from fleet.repo import Repository
from fleet.server import Options, Server
from fleet.service import Service
from fleet.store import Devices
from littoral.errors import ConflictError, NotFoundError, ReleaseNumberError
from littoral.wire.messages import Ending, Event, Metrics, ModelState, Presence, Reported, parse_desired
from tests.fleet.parts import (
    TOPICS,
    Fleet,
    committed,
    ended,
    eventually,
    make_bundle,
    now,
    reported,
    start_fleet,
    updating,
)

pytestmark = pytest.mark.mosquitto


def test_a_rollout_goes_from_desired_states_to_committed_devices(fleet: Fleet) -> None:
    bundle = make_bundle()
    fleet.publish(bundle)
    door, gate = fleet.join("door", site="north"), fleet.join("gate")
    door.subscribe(TOPICS.desired("door"))
    fleet.service.start_rollout("eye", 1, "all")
    desired = parse_desired(eventually(lambda: door.messages.get(TOPICS.desired("door")))).desired
    assert (desired.generation, desired.models["eye"]) == (1, fleet.server.store.rollouts.all()[0].want)
    door.say(reported("door", 1, eye=updating(bundle, "fetch", 5, 9)))
    eventually(lambda: fleet.standings()["door"] == "fetching")
    door.say(reported("door", 1, eye=committed(bundle)))
    eventually(lambda: fleet.standings()["door"] == "committed")
    gate.say(reported("gate", 1, eye=ended(bundle, "rolled-back", "64 equal answers")))
    eventually(lambda: fleet.service.rollouts()[0]["state"] == "halted")
    [gone] = [one for one in fleet.service.rollouts()[0]["devices"] if one["id"] == "gate"]
    assert (gone["reason"], gone["facts"]) == ("64 equal answers", {"answers": 64})


def test_reports_come_through_the_broker_into_the_store(fleet: Fleet) -> None:
    door = fleet.join("door")
    door.send(TOPICS.up("door", "presence"), Presence(True, "b", "0.1").encode(), retain=True)
    for _ in range(2):
        door.send(TOPICS.up("door", "event"), Event("e1", 1, "wrong-bytes", text="chunk").encode())
        door.send(TOPICS.up("door", "metrics"), Metrics("b", 1, 9, 60, ()).encode())
    device = eventually(lambda: (d := fleet.service.device("door"))["metrics"] and d["online"] and d)
    assert [event["kind"] for event in device["events"]] == ["wrong-bytes", "enrolled"]
    assert device["metrics"] == {"at": 9, "window_s": 60, "models": []}
    with pytest.raises(NotFoundError):
        fleet.service.device("gate")


def test_devices_find_a_restarted_server_where_it_was(data: Path, new_fleet: Path, repository: Repository) -> None:
    first = start_fleet(data, new_fleet / "keys", Engine.MOSQUITTO)
    answer, key = first.enrol("door")
    first.server.shutdown()
    assert not (data / "server.json").exists()
    second = start_fleet(data, new_fleet / "keys", Engine.MOSQUITTO)
    assert second.server.broker.device_address.port == answer["broker"]["port"]  # devices know no other
    door = second.connect(answer, key)
    door.say(reported("door", 0, eye=ModelState()))
    eventually(lambda: second.service.device("door")["models"])
    door.stop()
    second.server.shutdown()


def test_one_server_at_a_time_runs_on_a_folder(fleet: Fleet) -> None:
    with pytest.raises(ConflictError):
        Server(Options(fleet.data), fleet.repository)


def test_its_whereabouts_are_told_while_it_runs(fleet: Fleet) -> None:
    where = json.loads((fleet.data / "server.json").read_text())
    address = fleet.server.broker.device_address
    assert (where["url"], where["pid"]) == ("http://127.0.0.1:1", os.getpid())
    assert where["broker"] == {
        "engine": "mosquitto",
        "host": "127.0.0.1",
        "port": address.port,
        "tls": True,
        "pid": fleet.server.broker.pid,
    }
    assert fleet.server.status()["broker"]["connected"] is True


def test_another_release_of_the_same_number_cannot_be_published(fleet: Fleet) -> None:
    fleet.publish(make_bundle())
    with pytest.raises(ReleaseNumberError):
        fleet.publish(make_bundle(size=30_000))
    assert len(fleet.service.releases()) == 1


def test_a_publication_that_failed_between_repository_and_store_is_completed_by_the_same_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    bundle = make_bundle()
    with monkeypatch.context() as patch:
        patch.setattr(fleet.server.store.releases, "add", fail)
        with pytest.raises(sqlite3.OperationalError):
            fleet.publish(bundle)
    assert fleet.repository.releases() == [bundle.manifest]
    assert fleet.service.releases() == []
    for _ in range(2):  # the second time its answer was lost
        fleet.publish(bundle)
        assert [one["bundle"] for one in fleet.service.releases()] == [bundle.digest]
    assert [event["kind"] for event in fleet.service.events(9, None, None)].count("published") == 1
    door = fleet.join("door")
    door.subscribe(f"{TOPICS.prefix}/chunk/+")
    wanted = {TOPICS.chunk(digest) for digest in (*bundle.chunks(), bundle.digest)}
    eventually(lambda: wanted <= door.messages.keys())


def test_a_release_that_a_crash_kept_out_of_the_store_is_taken_in_at_the_start(fleet: Fleet) -> None:
    bundle = make_bundle()
    fleet.publish(bundle)
    fleet.server.store.releases.drop("eye", 1)
    assert fleet.service.releases() == []
    fleet.service.recover()
    assert [one["bundle"] for one in fleet.service.releases("eye")] == [bundle.digest]
    assert set(fleet.server.store.releases.pieces()) == set(bundle.chunks())


def test_releases_that_the_metadata_list_no_more_are_forgotten(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.metadata.KEPT_RELEASES", 2)
    bundles = [make_bundle(release=number) for number in (1, 2, 3)]
    for bundle in bundles:
        fleet.publish(bundle)
    assert [one["release"] for one in fleet.service.releases()] == [3, 2]
    door = fleet.join("door")
    first_chunk = TOPICS.chunk(next(iter(bundles[0].chunks())))
    last_chunk = TOPICS.chunk(next(iter(bundles[2].chunks())))
    door.subscribe(last_chunk, first_chunk)
    eventually(lambda: last_chunk in door.messages)
    assert not door.messages.get(first_chunk)


def test_metadata_are_renewed_and_published_at_half_their_life(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    door = fleet.join("door")
    topic = TOPICS.meta("timestamp.json")
    door.subscribe(topic)
    first = eventually(lambda: door.messages.get(topic))
    fleet.service.renew_metadata()
    assert fleet.service.metadata()["timestamp.json"].encode() == first
    later = (now() + timedelta(days=1)).timestamp()
    monkeypatch.setattr(fleet.service, "_clock", lambda: later)
    fleet.service.renew_metadata()
    eventually(lambda: door.messages[topic] != first)


def test_one_message_that_cannot_be_stored_takes_no_other_with_it(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fleet.server.PAUSE_AFTER_FAILURE_S", 0.01)
    whole = Service.take

    def fail_on_poison(service: Service, arrivals: list[object]) -> None:
        if any(b"poison" in getattr(one, "payload", b"") for one in arrivals):
            raise OSError("the disk said no")
        whole(service, arrivals)  # type: ignore[arg-type]

    monkeypatch.setattr(Service, "take", fail_on_poison)
    door = fleet.join("door")
    door.send(TOPICS.up("door", "event"), Event("poison", 1, "fetched").encode())
    door.send(TOPICS.up("door", "event"), Event("good", 1, "fetched").encode())
    eventually(lambda: fleet.service.device("door")["events"][0]["id"] == "good")
    eventually(lambda: "a message was lost" in caplog.text)


POISON: list[bytes] = [
    json.dumps({**json.loads(reported("door").encode()), **changes}).encode()
    for changes in (
        {"tags": ["site"]},
        {"models": ["eye"]},
        {"engine": 7, "boot": 8, "architecture": 9},
        {
            "models": {
                "eye": {"last": {**asdict(Ending(1, "b", 1, "failed")), "facts": json.loads("[" * 500 + "]" * 500)}}
            }
        },
        {"tags": {"site": {"a": ["b"]}}, "warnings": {"a": 1}},
    )
]


@pytest.mark.parametrize("spoilt", ["in the message", "in the server"])
def test_no_device_makes_the_server_deaf_to_the_others(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, spoilt: str
) -> None:
    """The broker hands out twenty messages that nobody acknowledged, and then none."""
    monkeypatch.setattr("fleet.server.PAUSE_AFTER_FAILURE_S", 0.01)
    payloads = POISON * 25
    if spoilt == "in the server":
        payloads = [reported("door").encode()] * 30
        whole = Devices.set_reported

        def refuse(devices: Devices, device: str, state: Reported, now: int) -> None:
            if device == "door":
                raise sqlite3.InterfaceError("it cannot be bound")
            whole(devices, device, state, now)

        monkeypatch.setattr(Devices, "set_reported", refuse)
    door, gate = fleet.join("door"), fleet.join("gate")
    for payload in payloads:
        door.send(TOPICS.up("door", "state"), payload, retain=True)
    gate.say(reported("gate", 3))
    eventually(lambda: fleet.service.device("gate")["generation"] == 3)
    assert fleet.service.device("door")["engine"] == ""


def test_a_late_joiner_is_offered_what_runs(fleet: Fleet) -> None:
    fleet.publish(make_bundle())
    fleet.service.start_rollout("eye", 1, "site=north")
    door = fleet.join("door", site="north")
    door.subscribe(TOPICS.desired("door"))
    eventually(lambda: TOPICS.desired("door") in door.messages)
    assert fleet.standings() == {"door": "offered"}
