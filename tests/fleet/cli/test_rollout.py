from typing import Any

import pytest

from fleet import cli
from fleet.cli.rollout import hours, shape, table, verdict


def rollout(state: str, *devices: str, model: str = "eye", **said: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "model": model,
        "release": 2,
        "to": "all",
        "window": "",
        "urgent": False,
        "gate": "",
        "shadow_s": 0,
        "fault": None,
        **said,
        "state": state,
        "reason": "why" if state == "halted" else "",
        "devices": [
            {
                "id": f"d{n}",
                "state": outcome,
                "release": 1,
                "evidence": "full",
                "reason": "because",
                "code": "constant",
                "facts": {},
                "fetched_bytes": 50,
                "total_bytes": 200,
            }
            for n, outcome in enumerate(devices)
        ],
    }


@pytest.mark.parametrize(
    ("rollouts", "status"),
    [
        ([rollout("done", "committed", "committed")], 0),
        ([rollout("done", "committed"), rollout("done", "committed", model="ear")], 0),
        ([rollout("running", "committed", "fetching")], None),
        ([rollout("running")], None),
        ([rollout("done", "committed"), rollout("running", "trial", model="ear")], None),
        ([rollout("halted", "committed", "rolled-back")], 1),
        ([rollout("running", "rolled-back")], 1),
        ([rollout("running", "failed", "offered")], 1),
        ([rollout("running", "stuck")], 1),
        ([rollout("running", "committed", "blocked")], 1),
        ([rollout("done", "committed"), rollout("halted", model="ear")], 1),
        ([rollout("aborted", "committed")], 1),
    ],
)
def test_waiting_ends_when_all_committed_or_one_went_back(rollouts: list[dict[str, Any]], status: int | None) -> None:
    assert verdict(rollouts) == status


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1", "soon", ""])
def test_a_senseless_time_out_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["rollout", "status", "--wait", f"--timeout-s={text}"])
    assert ended.value.code == 2
    assert "--timeout-s" in capsys.readouterr().err


def test_json_has_the_promised_fields_and_no_others() -> None:
    device = {"id": "d0", "state": "trial", "release": 1, "evidence": "full", "reason": "because"}
    assert shape(rollout("running", "trial")) == {"model": "eye", "release": 2, "state": "running", "devices": [device]}


def test_people_are_shown_progress_and_reasons() -> None:
    text = table([rollout("halted", "rolled-back", "fetching")])
    assert text.splitlines()[0] == "eye release 2 to all: halted, why"
    assert "fetching 25%" in text
    assert "because" in text
    assert table([]) == "no rollout yet"
    assert "no device matches yet" in table([rollout("running")])


def test_people_are_shown_when_a_rollout_may_be_activated() -> None:
    in_window = table([rollout("running", window="sat,sun 02:00-05:00")])
    assert in_window.splitlines()[0] == "eye release 2 to all, sat,sun 02:00-05:00: running"
    assert table([rollout("running", urgent=True)]).splitlines()[0] == "eye release 2 to all, urgent: running"


def test_people_are_shown_how_a_rollout_is_compared() -> None:
    compared = table([rollout("running", window="sun 02:00-05:00", gate="strict", shadow_s=129_600)])
    expected = "eye release 2 to all, sun 02:00-05:00, gate strict, 36 h in the shadow: running"
    assert compared.splitlines()[0] == expected


@pytest.mark.parametrize(("text", "seconds"), [("48", 172_800), ("0.5", 1800), ("0", 0)])
def test_time_in_the_shadow_is_said_in_hours(text: str, seconds: int) -> None:
    assert hours(text) == seconds


@pytest.mark.parametrize("options", [["--shadow=-1"], ["--shadow", "nan"], ["--shadow", "long"], ["--gate", "open"]])
def test_a_senseless_policy_is_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["rollout", "start", "eye", "--release", "2", *options])
    assert ended.value.code == 2
    assert options[0].partition("=")[0] in capsys.readouterr().err


def test_people_are_shown_what_most_devices_found() -> None:
    fault = {"code": "misread", "reason": "it sees red and blue exchanged\x1b", "devices": 3, "of": 4}
    lines = table([rollout("halted", "rolled-back", fault=fault)]).splitlines()
    assert lines[1] == "most often, on 3 of 4 devices, misread: it sees red and blue exchanged?"
    alone = {**fault, "devices": 1, "of": 1}
    assert "most often" not in table([rollout("halted", "rolled-back", fault=alone)])
