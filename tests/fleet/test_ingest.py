import json
import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.ingest import Taken, take
from fleet.link import Connected, Disconnected, Received
from fleet.store import Device, Store
from fleet.views import device_view
from littoral.wire.messages import Event, Metrics, Presence, encode_names
from tests.fleet.parts import committed, evidence, make_bundle, reported


@pytest.fixture
def ship(opened: Store) -> Store:
    opened.devices.add(Device("door", {}, "x86_64", 1))
    return opened


def message(kind: str, payload: bytes, device: str = "door") -> Received:
    return Received(device, kind, payload, 1, 1)


def take_all(store: Store, *messages: Received) -> Taken:
    with store.atomic():
        return take(store, messages, 50)


def test_a_batch_is_stored_by_its_kinds(ship: Store) -> None:
    state = reported("door", 4, eye=committed(make_bundle()))
    taken = take_all(
        ship,
        message("presence", Presence(True, "b", "0.1").encode()),
        message("state", reported("door", 3).encode()),
        message("state", state.encode()),
        message("event", Event("e1", 1, "fetched").encode()),
        message("metrics", Metrics("b", 1, 1, 60, ()).encode()),
        message("need", encode_names(["a" * 64])),
        message("ack", b"{}"),
    )
    device = ship.devices.get("door")
    assert device is not None
    assert (device.online, device.reported, device.generation, device.seen) == (True, state, 4, 50)
    assert ship.reports.events(9)[0].event.id == "e1"
    assert ship.reports.newest_metrics("door") is not None
    assert taken == Taken({"door"}, {"door": ["a" * 64]}, {"devices", "rollouts", "events", "metrics"})


def test_who_is_not_enrolled_is_not_heard(ship: Store) -> None:
    taken = take_all(ship, message("state", reported("gate").encode(), "gate"))
    assert taken == Taken()
    assert ship.devices.get("gate") is None


def test_a_state_that_names_another_device_is_left_aside(ship: Store) -> None:
    assert take_all(ship, message("state", reported("gate").encode())).reported == set()


def test_a_new_connection_begins_with_nobody_online(ship: Store) -> None:
    ship.devices.set_presence("door", True, "0.1", 1)
    with ship.atomic():
        take(ship, [Disconnected("gone")], 50)
        assert ship.devices.all()[0].online
        take(ship, [Connected()], 50)
    assert not ship.devices.all()[0].online


GOOD_STATE = json.loads(reported("door", 4, eye=committed(make_bundle())).encode())
GOOD_LAST = GOOD_STATE["models"]["eye"]["last"]
DEEP = json.loads("[" * 200 + "]" * 200)
GOOD_EVENT = json.loads(Event("e1", 1, "fetched", "eye", 1, "text", {"n": 1}).encode())


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("state", b""),
        ("state", b"[]"),
        ("state", b"\xff"),
        ("state", b'{"device": "door"}'),
        ("state", b"[" * 5_000),
        ("state", json.dumps({**GOOD_STATE, "generation": "4"}).encode()),
        ("state", json.dumps({**GOOD_STATE, "generation": True}).encode()),
        ("state", json.dumps({**GOOD_STATE, "generation": 2**60}).encode()),
        ("state", json.dumps({**GOOD_STATE, "models": {"../x": {}}}).encode()),
        ("state", json.dumps({**GOOD_STATE, "models": {"eye": {"release": "5"}}}).encode()),
        ("state", json.dumps({**GOOD_STATE, "models": {"eye": {"update": {"release": 1}}}}).encode()),
        ("state", json.dumps({**GOOD_STATE, "models": {"eye": []}}).encode()),
        ("state", json.dumps({**GOOD_STATE, "tags": {"Site": "x"}}).encode()),
        ("state", json.dumps({**GOOD_STATE, "tags": ["site"]}).encode()),
        ("state", json.dumps({**GOOD_STATE, "tags": None}).encode()),
        ("state", json.dumps({**GOOD_STATE, "models": ["eye"]}).encode()),
        ("state", json.dumps({**GOOD_STATE, "models": {"eye": None}}).encode()),
        ("state", json.dumps({**GOOD_STATE, "models": {"eye": {"last": {**GOOD_LAST, "facts": 1}}}}).encode()),
        ("state", json.dumps({**GOOD_STATE, "warnings": 3}).encode()),
        ("state", json.dumps({**GOOD_STATE, "warnings": [3]}).encode()),
        ("state", json.dumps({**GOOD_STATE, "engine": 3}).encode()),
        ("state", json.dumps({**GOOD_STATE, "engine": "x" * 5_000}).encode()),
        ("event", json.dumps({**GOOD_EVENT, "id": {"a": 1}}).encode()),
        ("event", json.dumps({**GOOD_EVENT, "at": 1.5}).encode()),
        ("event", json.dumps({**GOOD_EVENT, "at": 2**70}).encode()),
        ("event", json.dumps({**GOOD_EVENT, "text": "\ud800"}).encode()),
        ("event", json.dumps({**GOOD_EVENT, "facts": {"x": 0.5}}).encode()),
        ("event", json.dumps({**GOOD_EVENT, "facts": ["x"]}).encode()),
        ("event", json.dumps({**GOOD_EVENT, "facts": {"x": DEEP}}).encode()),
        ("event", b'{"id":"e","at":1,"kind":"k","facts":{"x":NaN}}'),
        ("metrics", b'{"boot":"b","seq":1,"at":1,"window_s":60,"models":[{}]}'),
        ("metrics", b'{"boot":[],"seq":1,"at":1,"window_s":60,"models":[]}'),
        ("presence", b"7"),
        ("need", b'{"names":[1]}'),
        ("need", b'{"names":["\\ud800"]}'),
        ("nonsense", b"{}"),
    ],
)
def test_a_message_that_makes_no_sense_is_left_aside_and_the_next_is_taken(
    ship: Store, kind: str, payload: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    taken = take_all(ship, message(kind, payload), message("event", Event("e2", 1, "fetched").encode()))
    assert [one.event.id for one in ship.reports.events(9)] == ["e2"]
    assert (taken.reported, taken.needed) == (set(), {})
    assert "left aside" in caplog.text


def test_a_fault_of_the_store_is_no_fault_of_the_message(ship: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(ship.devices, "set_reported", fail)
    with pytest.raises(sqlite3.OperationalError):
        take_all(ship, message("state", reported("door").encode()))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted({*GOOD_STATE, *GOOD_EVENT, "names", "online", "seq", "window_s"})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["state", "event", "metrics", "presence", "need", "ack"]),
    good=st.sampled_from([GOOD_STATE, GOOD_EVENT, {}]),
    bad=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3),
)
def test_nothing_that_a_device_may_send_stops_the_server(
    ship: Store, kind: str, good: dict[str, object], bad: dict[str, object]
) -> None:
    take_all(ship, message(kind, json.dumps({**good, **bad}).encode()))
    for device in ship.devices.all():
        json.dumps(device_view(device, None))
        assert device.reported is None or device.reported.device == "door"


# --- judgements ---------------------------------------------------------------------------------------------------


def judged(number: int, model: str = "eye", **facts: object) -> Received:
    event = Event(f"j{number}", 7, "judged", model, 2, "it went back", {**evidence(), **facts})
    return message("event", event.encode())


def test_the_evidence_of_the_last_judgement_is_kept_beside_the_events(ship: Store) -> None:
    taken = take_all(ship, judged(1, code="errors"), judged(2), judged(3, "ear"))
    assert taken.changed == {"events", "judgements"}
    ear, eye = ship.judgements.of("door")
    assert (eye.model, eye.release, eye.at, eye.received, eye.evidence) == ("eye", 2, 7, 50, evidence())
    assert ear.model == "ear"
    assert [one.event.facts for one in ship.reports.events(9)] == [{}, {}, {}]


@pytest.mark.parametrize("model", ["", "../eye", "x" * 80])
def test_a_judgement_of_what_no_model_is_called_is_left_aside(ship: Store, model: str) -> None:
    assert take_all(ship, judged(1, model)).changed == set()
    assert ship.judgements.of("door") == []
    assert ship.reports.events(9) == []


def test_one_device_takes_no_more_room_than_its_share(ship: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.store.judgements.KEPT_OF_A_DEVICE", 2)
    ship.devices.add(Device("gate", {}, "x86_64", 1))
    take_all(ship, message("event", Event("g", 7, "judged", "eye", 1).encode(), "gate"))
    for number, model in enumerate(("a", "b", "c")):
        with ship.atomic():
            take(ship, [judged(number, model)], 60 + number)
    assert [one.model for one in ship.judgements.of("door")] == ["b", "c"]
    assert [one.device for one in ship.judgements.newest(9)] == ["door", "door", "gate"]
