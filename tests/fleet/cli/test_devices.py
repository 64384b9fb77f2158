from typing import Any

from fleet.cli.devices import shape, table, text

MODEL = {
    "release": 2,
    "bundle": "b" * 64,
    "version": "1.2",
    "stage": "trial",
    "evidence": "",
    "floor": 0,
    "update": None,
    "last": {"release": 3, "outcome": "rolled-back", "reason": "64 equal answers\x1b[2J"},
}
DEVICE: dict[str, Any] = {
    "id": "door",
    "online": True,
    "tags": {"site": "north"},
    "architecture": "aarch64",
    "engine": "litert",
    "agent": "0.1",
    "enrolled": 1,
    "seen": 0,
    "generation": 4,
    "desired_generation": 5,
    "warnings": [
        {
            "code": "hot",
            "title": "The device is hot",
            "severity": "warning",
            "text": "81 degrees\x1b[2J",
            "remedy": "Cool it.",
        }
    ],
    "models": {"eye": MODEL},
    "judgements": [],
    "events": [{"received": 9, "kind": "rolled-back", "text": "it went back"}],
}


def test_json_has_the_promised_fields_and_no_others() -> None:
    model = {"release": 2, "stage": "trial", "evidence": ""}
    assert shape(DEVICE) == {"id": "door", "online": True, "tags": {"site": "north"}, "models": {"eye": model}}


def test_people_are_shown_what_counts() -> None:
    shown = text(DEVICE)
    for part in (
        "aarch64",
        "site=north",
        "The device is hot (hot)",
        "81 degrees?[2J",
        "Cool it.",
        "4 (wanted: 5)",
        "rolled-back",
        "it went back",
        "never",
    ):
        assert part in shown


def test_people_are_shown_what_an_update_waits_for() -> None:
    update = {"release": 4, "state": "fetch", "detail": "", "fetched_bytes": 50, "total_bytes": 200}
    held = {"release": 5, "state": "ready", "detail": "it waits for 02:00", "fetched_bytes": 9, "total_bytes": 9}
    models = {"eye": {**MODEL, "update": update}, "ear": {**MODEL, "update": held}}
    listed = table([{**DEVICE, "models": models}, {**DEVICE, "id": "gate"}]).splitlines()
    assert "ear release 5: ready, it waits for 02:00; eye release 4: fetch 25%" in listed[1]
    assert listed[2].endswith("eye 2 (trial)")
    assert "release 4: fetch 25%" in text({**DEVICE, "models": models})
    assert table([]) == "no device is enrolled yet"


def test_a_device_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in text(DEVICE)
    assert "64 equal answers?[2J" in text(DEVICE)
