import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from fleet import keys
from fleet.api import app
from fleet.api.app import RELEASE_BYTES
from fleet.link import Received
from fleet.metadata import sign_release
from fleet.repo import Repository
from fleet.service import Service
from littoral import canonical
from littoral.wire.messages import Alarm, Event
from tests.fleet.parts import (
    PASSPHRASE,
    Bundle,
    committed,
    eventually,
    evidence,
    make_bundle,
    make_csr,
    new_key,
    reported,
)

Publish = Callable[[Bundle], httpx.Response]


@pytest.fixture
def publish(client: httpx.Client, new_fleet: Path) -> Publish:
    operator = keys.load(new_fleet / "keys", PASSPHRASE)

    def run(bundle: Bundle) -> httpx.Response:
        for name, data in bundle.blobs.items():
            assert client.put(f"/api/v1/blobs/{name}", content=data).status_code == 204
        files = client.get("/api/v1/metadata").json()["files"]
        current = {name: text.encode() for name, text in files.items()}
        signed = sign_release(current, bundle.manifest.encode(), operator, datetime.now(UTC))
        metadata = {name: data.decode() for name, data in signed.items()}
        return client.post("/api/v1/releases", json={"manifest": bundle.text, "metadata": metadata})

    return run


def enrolment(token: str, /, **changes: Any) -> dict[str, Any]:
    wish = {"csr": make_csr(new_key()), "name": "door", "tags": {}, "architecture": "x86_64"}
    return {"token": token, **wish, **changes}


def enrol(client: httpx.Client, name: str = "door") -> dict[str, Any]:
    token = client.post("/api/v1/tokens").json()["token"]
    answer: dict[str, Any] = client.post("/api/v1/enroll", json=enrolment(token, name=name)).json()
    return answer


def error_of(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert set(error) == {"code", "cause", "remedy"}
    return answer.status_code, error["code"]


GUARDED = [
    ("GET", "/status"),
    ("GET", "/metadata"),
    ("GET", "/mirror"),
    ("GET", "/devices"),
    ("GET", "/devices/door"),
    ("GET", "/devices/door/judgements"),
    ("GET", "/judgements"),
    ("GET", "/releases"),
    ("GET", "/rollouts"),
    ("GET", "/events"),
    ("GET", "/stream"),
    ("GET", f"/blobs/{'a' * 64}"),
    ("HEAD", f"/blobs/{'a' * 64}"),
    ("PUT", f"/blobs/{'a' * 64}"),
    ("POST", "/releases"),
    ("GET", "/keys"),
    ("POST", "/keys"),
    ("POST", "/keys/next"),
    ("POST", "/exports"),
    ("POST", "/tokens"),
    ("POST", "/rollouts"),
]


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer", "Basic abc"])
def test_without_a_valid_token_nothing_is_shown_or_done(visitor: httpx.Client, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for method, path in GUARDED:
        answer = visitor.request(method, f"/api/v1{path}", headers=headers)
        assert answer.status_code == 401, path
        assert method == "HEAD" or error_of(answer) == (401, "unauthorized")


def test_every_address_but_enrolment_and_the_page_is_guarded(visitor: httpx.Client) -> None:
    routes = {
        (method, route.path.replace("{sha256}", "a" * 64).replace("{name}", "door"))
        for router in (app.anyone, app.readers, app.administrators)
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert routes - {(method, f"/api/v1{path}") for method, path in GUARDED} == {("POST", "/api/v1/enroll")}


def test_a_device_enrols_with_a_token(client: httpx.Client, service: Service, repository: Repository) -> None:
    answer = enrol(client)
    assert answer["root"].encode() == repository.first_root()
    assert (answer["tenant"], answer["device"]) == ("main", "door")
    broker = {"host": "hub.example", "port": 8883, "tls": True, "username": "", "password": ""}
    assert answer["broker"] == broker
    assert answer["certificate"].startswith("-----BEGIN CERTIFICATE-----")
    [device] = client.get("/api/v1/devices").json()
    assert (device["id"], device["online"], device["models"]) == ("door", False, {})


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"token": "unknown"}, 401, "token-unknown"),
        ({"csr": "nothing"}, 400, "bad-request"),
        ({"name": "Door!"}, 400, "bad-name"),
        ({"name": "fleet-server"}, 409, "name-taken"),
        ({"tags": {"a": 1}}, 400, "bad-request"),
        ({"architecture": ""}, 400, "bad-request"),
        ({"more": 1}, 400, "bad-request"),
        ({"csr": "x" * 70_000}, 400, "bad-request"),
    ],
)
def test_bad_enrolment_is_a_named_error(client: httpx.Client, changes: dict[str, Any], status: int, code: str) -> None:
    token = client.post("/api/v1/tokens").json()["token"]
    answer = client.post("/api/v1/enroll", json=enrolment(token, **changes))
    assert error_of(answer) == (status, code)
    assert client.get("/api/v1/devices").json() == []


def test_a_used_an_expired_token_and_a_taken_name_are_conflicts(
    client: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = client.post("/api/v1/tokens").json()["token"]
    assert client.post("/api/v1/enroll", json=enrolment(token)).status_code == 200
    assert error_of(client.post("/api/v1/enroll", json=enrolment(token, name="gate"))) == (409, "token-used")
    token = client.post("/api/v1/tokens", json={"life_s": 60}).json()["token"]
    assert error_of(client.post("/api/v1/enroll", json=enrolment(token))) == (409, "name-taken")
    later = datetime.now(UTC).timestamp() + 61
    monkeypatch.setattr(service, "_clock", lambda: later)
    assert error_of(client.post("/api/v1/enroll", json=enrolment(token, name="gate"))) == (409, "token-expired")


def test_blobs_go_in_and_out_by_their_digest(client: httpx.Client) -> None:
    data = b"\0some bytes"
    address = f"/api/v1/blobs/{canonical.digest(data)}"
    assert client.head(address).status_code == 404
    assert error_of(client.get(address)) == (404, "not-found")
    assert error_of(client.put(address, content=data + b"!")) == (400, "digest-mismatch")
    assert client.head(address).status_code == 404
    assert client.put(address, content=data).status_code == 204
    assert client.get(address).content == data
    assert client.head(address).status_code == 200
    assert error_of(client.get("/api/v1/blobs/..%2Ffleet.db"))[0] in (400, 404)
    assert error_of(client.put("/api/v1/blobs/ABC", content=b"")) == (400, "bad-request")


def test_a_release_is_published_and_rolled_out(client: httpx.Client, publish: Publish) -> None:
    bundle = make_bundle()
    answer = publish(bundle)
    assert (answer.status_code, answer.json()) == (201, {"model": "eye", "release": 1, "bundle": bundle.digest})
    [release] = client.get("/api/v1/releases?model=eye").json()
    assert (release["version"], release["size_bytes"]) == ("1.1", bundle.manifest.size_bytes)
    assert client.get("/api/v1/releases?model=ear").json() == []
    enrol(client)
    started = client.post("/api/v1/rollouts", json={"model": "eye", "release": 1, "to": "door"})
    assert started.status_code == 201
    assert client.get("/api/v1/rollouts").json() == [started.json()]
    assert [device["state"] for device in started.json()["devices"]] == ["offered"]
    assert error_of(client.post("/api/v1/rollouts", json={"model": "eye", "release": 2})) == (404, "not-found")
    assert error_of(client.post("/api/v1/rollouts", json={"model": "eye", "release": "1"})) == (400, "bad-request")


def test_a_rollout_may_name_a_window_or_be_urgent(client: httpx.Client, publish: Publish) -> None:
    publish(make_bundle())
    wish = {"model": "eye", "release": 1}
    refused = client.post("/api/v1/rollouts", json={**wish, "window": "at night"})
    assert error_of(refused) == (400, "bad-window")
    assert client.get("/api/v1/rollouts").json() == []
    client.post("/api/v1/rollouts", json={**wish, "window": "sat,sun 02:00-05:00"})
    client.post("/api/v1/rollouts", json={**wish, "urgent": True})
    told = [(one["window"], one["urgent"]) for one in client.get("/api/v1/rollouts").json()]
    assert told == [("", True), ("sat,sun 02:00-05:00", False)]


def test_a_rollout_may_say_how_it_is_compared(client: httpx.Client, publish: Publish) -> None:
    publish(make_bundle())
    wish = {"model": "eye", "release": 1}
    for bad in ({"gate": "open"}, {"shadow_s": -1}, {"shadow_s": 1.5}, {"shadow_s": 60, "urgent": True}):
        assert error_of(client.post("/api/v1/rollouts", json={**wish, **bad})) == (400, "bad-request")
    client.post("/api/v1/rollouts", json={**wish, "gate": "strict", "shadow_s": 172_800})
    [told] = client.get("/api/v1/rollouts").json()
    assert (told["gate"], told["shadow_s"]) == ("strict", 172_800)


def test_a_bundle_that_is_not_whole_is_refused(client: httpx.Client) -> None:
    body = {"manifest": make_bundle().text, "metadata": {}}
    assert error_of(client.post("/api/v1/releases", json=body)) == (400, "bad-bundle")
    assert error_of(client.post("/api/v1/releases", json={**body, "manifest": "{}"})) == (400, "bad-manifest")
    assert error_of(client.post("/api/v1/releases", content=b"x")) == (400, "bad-request")
    assert error_of(client.post("/api/v1/releases", content=bytes(RELEASE_BYTES + 1))) == (400, "bad-request")


def test_a_release_number_that_is_not_above_the_last_is_a_conflict(client: httpx.Client, publish: Publish) -> None:
    assert publish(make_bundle(release=2)).status_code == 201
    other = make_bundle(release=2, size=30_000)
    for name, data in other.blobs.items():
        client.put(f"/api/v1/blobs/{name}", content=data)
    answer = client.post("/api/v1/releases", json={"manifest": other.text, "metadata": {}})
    assert error_of(answer) == (409, "release-number")
    assert len(client.get("/api/v1/releases").json()) == 1


def test_the_same_publication_again_is_answered_as_the_first(client: httpx.Client, publish: Publish) -> None:
    bundle = make_bundle()
    first = publish(bundle)
    listed = client.get("/api/v1/releases").json()
    for metadata in ({}, {"1.m-eye.json": "signed for the first time"}):
        again = client.post("/api/v1/releases", json={"manifest": bundle.text, "metadata": metadata})
        assert (again.status_code, again.json()) == (201, first.json())
    spaced = {"manifest": bundle.text.replace(":", ": ", 1), "metadata": {}}
    assert error_of(client.post("/api/v1/releases", json=spaced)) == (400, "bad-manifest")
    assert client.get("/api/v1/releases").json() == listed


@pytest.mark.parametrize("release", [0, -1, 2**53, 2**63, 10**400])
def test_a_release_number_that_none_has_is_refused(client: httpx.Client, release: int) -> None:
    body = {"model": "eye", "release": release}
    assert error_of(client.post("/api/v1/rollouts", json=body)) == (400, "bad-request")


@pytest.mark.parametrize(
    "address",
    ["releases?model=../x", "rollouts?model=", "rollouts?model=Eye", "events?model=%00", "events?device=a%20b"],
)
def test_a_list_of_what_no_name_names_is_a_named_error(client: httpx.Client, address: str) -> None:
    assert error_of(client.get(f"/api/v1/{address}")) == (400, "bad-name")


def test_an_address_without_its_name_is_not_found(client: httpx.Client) -> None:
    assert error_of(client.get("/api/v1/devices/")) == (404, "not-found")
    assert client.get(f"/api/v1/events?device=&limit={2**70}").json() == []  # the server's own


def test_a_device_shows_all_that_is_known_of_it(client: httpx.Client, service: Service) -> None:
    enrol(client)
    bundle = make_bundle()
    alarms = (Alarm("too-hot", "Too hot", "critical", "92 degrees", "Cool it."), Alarm("warm", "Warm", "notice"))
    state = replace(reported("door", 3, eye=committed(bundle)), warnings=alarms[::-1])
    event = Event("e1", 1, "committed", "eye", 1, "well", {"answers": 100})
    messages = [("state", state.encode()), ("event", event.encode())]
    service.take([Received("door", kind, payload, 1, 1) for kind, payload in messages])
    device = client.get("/api/v1/devices/door").json()
    assert device["models"]["eye"]["release"] == 1
    assert device["models"]["eye"]["last"]["outcome"] == "committed"
    assert device["warnings"] == [asdict(alarm) for alarm in alarms]  # the worst first
    assert (device["generation"], device["engine"], device["desired"]) == (3, "litert", None)
    assert [one["kind"] for one in device["events"]] == ["committed", "enrolled"]
    assert client.get("/api/v1/events?device=door&model=eye").json() == [device["events"][0]]
    assert len(client.get("/api/v1/events?limit=1").json()) == 1
    assert error_of(client.get("/api/v1/events?limit=x")) == (400, "bad-request")
    assert error_of(client.get("/api/v1/devices/gate")) == (404, "not-found")


def test_the_last_judgement_on_each_model_is_shown_with_its_evidence(client: httpx.Client, service: Service) -> None:
    enrol(client)
    enrol(client, "gate")
    for name, outcome in (("door", "rolled-back"), ("gate", "committed")):
        event = Event("j1", 7, "judged", "eye", 2, "text", evidence(outcome))
        service.take([Received(name, "event", event.encode(), 1, 1)])
    [door] = client.get("/api/v1/devices/door/judgements").json()
    assert set(door) == {"device", "model", "release", "at", "received", "evidence"}
    assert (door["device"], door["model"], door["evidence"]) == ("door", "eye", evidence())
    assert client.get("/api/v1/devices/door").json()["judgements"] == [door]
    every = client.get("/api/v1/judgements").json()
    assert {one["device"]: one["evidence"]["outcome"] for one in every} == {"door": "rolled-back", "gate": "committed"}
    assert len(client.get("/api/v1/judgements?limit=1").json()) == 1
    assert error_of(client.get("/api/v1/devices/yard/judgements")) == (404, "not-found")
    assert error_of(client.get("/api/v1/judgements?limit=0")) == (400, "bad-request")


def test_an_unknown_address_and_a_failure_are_errors_of_the_same_form(
    client: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert error_of(client.get("/api/v1/nothing")) == (404, "not-found")
    assert error_of(client.delete("/api/v1/devices")) == (405, "bad-request")
    monkeypatch.setattr(service, "devices", lambda: 1 // 0)
    assert error_of(client.get("/api/v1/devices")) == (500, "internal")
    assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 404


def test_a_token_of_senseless_life_is_refused(client: httpx.Client) -> None:
    for life_s in (0, -1, 10**9):
        assert error_of(client.post("/api/v1/tokens", json={"life_s": life_s})) == (400, "bad-request")


def test_the_stream_tells_what_changed_while_it_is_followed(client: httpx.Client, service: Service) -> None:
    with client.stream("GET", "/api/v1/stream") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert next(lines) == ": here"
        eventually(lambda: service.changes._followers)
        service.note("published", "something")
        data = next(line for line in lines if line.startswith("data: "))
    assert json.loads(data.removeprefix("data: ")) == ["events", "status"]
    eventually(lambda: not service.changes._followers)  # who left is forgotten
