import json
import os
import signal
import sqlite3
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest

from fleet.broker import Engine
from fleet.content import Content
from fleet.repo import Repository
from fleet.rollout import Outcome, RolloutState, Standing
from fleet.server import Options, Server
from fleet.service import Service
from fleet.store import Devices
from littoral.errors import ConflictError, NotFoundError, ReleaseNumberError
from littoral.wire.messages import Ending, Event, Metrics, ModelState, Presence, Reported, encode_names, parse_desired
from tests.fleet.parts import (
    TOPICS,
    Device,
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
    fleet.service.start_rollout("eye", 1, "all")
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
    assert set(fleet.server.store.releases.pieces([bundle.digest])) == set(bundle.chunks())


def test_releases_that_the_metadata_list_no_more_are_forgotten(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.metadata.KEPT_RELEASES", 2)
    bundles = [make_bundle(release=number) for number in (1, 2, 3)]
    fleet.publish(bundles[0])
    fleet.service.start_rollout("eye", 1, "all")
    door = fleet.join("door")
    left = {TOPICS.chunk(digest) for digest in (*bundles[0].chunks(), bundles[0].digest)}
    left -= {TOPICS.chunk(digest) for digest in bundles[2].chunks()}
    door.subscribe(f"{TOPICS.prefix}/chunk/+")
    eventually(lambda: left <= door.messages.keys())
    fleet.publish(bundles[1])
    fleet.publish(bundles[2])
    assert [one["release"] for one in fleet.service.releases()] == [3, 2]
    eventually(lambda: not any(door.messages[topic] for topic in left))


def chunks_there(device: Device) -> set[str]:
    """Digests of the chunks on the broker, as a subscription that begins now is given them."""
    device.messages.clear()
    device.subscribe(f"{TOPICS.prefix}/chunk/+", TOPICS.meta("timestamp.json"))
    eventually(lambda: TOPICS.meta("timestamp.json") in device.messages)  # a broker answers in the order asked
    device.client.unsubscribe([f"{TOPICS.prefix}/chunk/+", TOPICS.meta("timestamp.json")])
    return {topic.rsplit("/")[-1] for topic, payload in device.messages.items() if "/chunk/" in topic and payload}


def test_chunks_are_on_the_broker_from_the_start_of_a_rollout_to_the_last_commit(fleet: Fleet) -> None:
    bundle = make_bundle()
    chunks = set(bundle.chunks())
    fleet.publish(bundle)
    door, viewer = fleet.join("door"), fleet.join("viewer", kind="none")
    eventually(lambda: bundle.digest in chunks_there(viewer))
    assert not chunks & chunks_there(viewer)
    fleet.service.start_rollout("eye", 1, "door")
    eventually(lambda: chunks <= chunks_there(viewer))
    door.say(reported("door", 1, eye=committed(bundle)))
    eventually(lambda: not chunks & chunks_there(viewer))
    assert bundle.digest in chunks_there(viewer)  # small and signed itself: it stays
    late = fleet.join("late")
    late.send(TOPICS.up("late", "need"), encode_names([min(chunks)]))
    eventually(lambda: chunks & chunks_there(viewer) == {min(chunks)})


def test_a_broker_that_lost_everything_is_given_only_what_is_wanted(fleet: Fleet) -> None:
    done, running = make_bundle(), make_bundle("ear")
    fleet.publish(done)
    fleet.publish(running)
    door, viewer = fleet.join("door"), fleet.join("viewer")
    fleet.service.start_rollout("eye", 1, "door")
    fleet.service.start_rollout("ear", 1, "door")
    door.say(reported("door", 1, eye=committed(done)))
    eventually(lambda: fleet.standings() == {"door": "committed"})
    os.kill(fleet.broker_pid(), signal.SIGKILL)
    eventually(lambda: viewer.connects == 2, "the device did not come back")
    wanted = {*running.chunks(), *fleet.repository.small_targets()}
    eventually(lambda: chunks_there(viewer) == wanted)


def test_what_a_server_that_was_killed_left_on_the_broker_is_cleared_by_the_next(fleet: Fleet) -> None:
    bundle = make_bundle()
    fleet.publish(bundle)
    fleet.service.start_rollout("eye", 1, "all")
    viewer = fleet.join("viewer")
    eventually(lambda: set(bundle.chunks()) <= chunks_there(viewer))
    with fleet.server.store.atomic():  # as one that was restored, or killed before it told the broker
        fleet.server.store.rollouts.set_state(1, RolloutState.ABORTED, "", 9)
        fleet.server.store.rollouts.put_standing(1, "viewer", Standing(Outcome.SUPERSEDED))
        Content(fleet.server.store, fleet.repository, "main").changed_chunks()
    connection = fleet.server.link._client.socket()
    assert connection is not None
    connection.close()  # the next server begins with a connection too
    eventually(lambda: chunks_there(viewer) == set(fleet.repository.small_targets()))


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
