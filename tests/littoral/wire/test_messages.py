"""Messages over MQTT: each is read as it was written, and what is malformed is a named refusal."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral import canonical
from littoral.errors import DesiredStateError
from littoral.wire import messages
from littoral.wire.messages import (
    SEVERITIES,
    Alarm,
    Desired,
    Ending,
    Event,
    Metrics,
    ModelState,
    Presence,
    Progress,
    ReleaseMetrics,
    Reported,
    SignedDesired,
    Want,
)

DIGEST = "ab" * 32
DESIRED = Desired("main", "cam-1", 7, "2026-11-22T10:00:00Z", {"person": Want(2, DIGEST, 3, True), "vehicle": None})
COMPARED = Want(2, DIGEST, 3, gate="advisory", shadow_s=86_400)
REPORTED = Reported(
    device="cam-1",
    boot="b-1",
    agent="0.1.0",
    architecture="aarch64",
    engine="litert 2.3.0",
    generation=7,
    tags={"site": "north"},
    models={
        "person": ModelState(
            release=2,
            bundle=DIGEST,
            version="2026.11",
            stage="trial",
            evidence="low",
            floor=1,
            update=Progress(3, DIGEST, 1, "fetch", "waits", "no-answer", 10, 20),
            last=Ending(2, DIGEST, 1, "committed", "", "", {"answers": 100}, 1_793_500_000),
        ),
        "vehicle": ModelState(),
    },
    warnings=(Alarm("hot", "The device is hot", "warning", "81 degrees", "Cool it."),),
)


def test_alarms_are_read_the_worst_first_and_texts_of_older_agents_are_warnings() -> None:
    value = json.loads(REPORTED.encode())
    notice = {"code": "warm", "title": "Warm", "severity": "notice", "moon": "full"}
    strange = {"code": "odd", "title": "Odd", "severity": "apocalyptic"}
    critical = {"code": "too-hot", "title": "Too hot", "severity": "critical"}
    value["warnings"] = ["degraded", notice, strange, critical]
    found = messages.parse_reported(json.dumps(value).encode()).warnings
    assert [(alarm.code, alarm.severity) for alarm in found] == [
        ("too-hot", "critical"),
        ("odd", "warning"),
        ("other", "warning"),
        ("warm", "notice"),
    ]
    assert found[2] == Alarm("other", "Warning", "warning", "degraded", "")
    assert tuple(dict.fromkeys(alarm.severity for alarm in found)) == SEVERITIES


# --- desired state -----------------------------------------------------------------------------------------


def test_a_desired_state_is_read_as_it_was_signed() -> None:
    signed = SignedDesired(DESIRED, "abcd", "aa")
    read = messages.parse_desired(signed.encode())
    assert read == signed
    assert read.signed_bytes == signed.signed_bytes == DESIRED.signed_bytes()
    assert read.encode() == signed.encode()


def test_a_wish_is_read_with_its_gate_and_its_time_in_the_shadow_and_without_them_too() -> None:
    signed = SignedDesired(Desired("main", "cam-1", 7, "now", {"person": COMPARED}), "abcd", "aa")
    assert messages.parse_desired(signed.encode()) == signed
    older = json.loads(signed.encode())
    for name in ("gate", "shadow_s"):
        del older["signed"]["models"]["person"][name]
    read = messages.parse_desired(json.dumps(older).encode()).desired.models["person"]
    assert read == Want(2, DIGEST, 3)


def test_the_signature_counts_for_fields_that_this_version_does_not_know() -> None:
    value = json.loads(SignedDesired(DESIRED, "abcd", "aa").encode())
    value["signed"]["moon"] = "full"
    value["signed"]["models"]["person"]["moon"] = 3
    read = messages.parse_desired(json.dumps(value).encode())
    assert read.desired == DESIRED
    assert read.signed_bytes == canonical.encode(value["signed"])
    assert read.encode() == canonical.encode(value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("signed", None),
        ("keyid", ...),
        ("signature", ...),
        ("signed.tenant", "Main"),
        ("signed.device", "../x"),
        ("signed.generation", 0),
        ("signed.generation", "7"),
        ("signed.generation", 7.5),
        ("signed.generation", True),
        ("signed.models", []),
        ("signed.models", {"Bad Name": None}),
        ("signed.models.person.release", 0),
        ("signed.models.person.bundle", "short"),
        ("signed.models.person.bundle", "zz" * 32),
        ("signed.models.person.attempt", -1),
        ("signed.models.person.gate", "open"),
        ("signed.models.person.gate", None),
        ("signed.models.person.gate", ["strict"]),
        ("signed.models.person.shadow_s", -1),
        ("signed.models.person.shadow_s", 2_592_001),
        ("signed.models.person.shadow_s", "60"),
        ("signed.models.person.shadow_s", True),
        ("signed.extra", 1.5),
    ],
)
def test_a_malformed_desired_state_is_refused(path: str, value: Any) -> None:
    whole = json.loads(SignedDesired(DESIRED, "abcd", "aa").encode())
    *outer, last = path.split(".")
    place = whole
    for key in outer:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    with pytest.raises(DesiredStateError):
        messages.parse_desired(json.dumps(whole).encode())


@pytest.mark.parametrize("data", [b"", b"7", b"[]", b"{}", b"\xff\xfe", b"[" * 9000, b'"' + b"x" * 70_000 + b'"'])
def test_bytes_that_are_no_desired_state_are_refused(data: bytes) -> None:
    with pytest.raises(DesiredStateError):
        messages.parse_desired(data)


@given(st.data())
def test_an_altered_desired_state_is_refused_or_has_other_signed_bytes(data: st.DataObject) -> None:
    encoded = bytearray(SignedDesired(DESIRED, "abcd", "aa").encode())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        read = messages.parse_desired(bytes(encoded))
    except DesiredStateError:
        return
    unchanged = (read.keyid, read.signature) == ("abcd", "aa")
    assert read.signed_bytes != DESIRED.signed_bytes() or not unchanged


# --- from a device -----------------------------------------------------------------------------------------


def test_a_reported_state_is_read_as_it_was_written() -> None:
    assert messages.parse_reported(REPORTED.encode()) == REPORTED


def test_a_newer_device_may_say_more_than_this_version_knows() -> None:
    value = json.loads(REPORTED.encode())
    value["colour"] = "blue"
    value["models"]["person"]["mood"] = "good"
    value["models"]["person"]["update"]["speed"] = 3
    value["models"]["person"]["last"]["by"] = "canary"
    assert messages.parse_reported(json.dumps(value).encode()) == REPORTED


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"models": []}',
        b'{"models": {"a": 1}}',
        b'{"warnings": 3}',
        b'{"warnings": [3]}',
        b'{"warnings": [{}]}',
    ],
)
def test_a_malformed_reported_state_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        messages.parse_reported(data)


def test_presence_is_read_as_it_was_written_and_offline_where_it_does_not_say() -> None:
    presence = Presence(True, "b-1", "0.1.0")
    assert messages.parse_presence(presence.encode()) == presence
    assert messages.parse_presence(b"{}") == Presence(False, "", "")
    with pytest.raises(ValueError):
        messages.parse_presence(b"online")


def test_an_event_is_read_as_it_was_written() -> None:
    event = Event("e-1", 1_793_500_000, "rolled-back", "person", 3, "constant output", {"inputs": 12})
    assert messages.parse_event(event.encode()) == event
    with pytest.raises(ValueError):
        messages.parse_event(b'{"id": "e-1"}')


def test_metrics_are_read_as_they_were_written() -> None:
    metrics = Metrics("b-1", 4, 1_793_500_000, 60, (ReleaseMetrics("person", 2, "trial", 600, 1, 90, 200, 5000),))
    assert messages.parse_metrics(metrics.encode()) == metrics
    for data in (b"{}", b'{"models": [1]}', b'{"models": 3}'):
        with pytest.raises(ValueError):
            messages.parse_metrics(data)


def test_names_are_read_as_they_were_written_in_order() -> None:
    assert messages.parse_names(messages.encode_names(["b", "a"])) == ["a", "b"]
    for data in (b"{}", b'{"names": "a"}', b'{"names": [1]}', b"[]"):
        with pytest.raises(ValueError):
            messages.parse_names(data)
