"""agent/cli.py: what `littoral-agent status` and `explain` say."""

import fcntl
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from agent import alarms, cli, slots, status
from agent.health.device import Readings, Zone
from agent.slots import Blocked, Slot, SlotRecord, Update
from littoral import client
from littoral.client import info
from littoral.wire.messages import Ending


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "agent.toml").write_text('device = "farm-1"\n')
    path = slots.path_of(tmp_path, "cats")
    path.parent.mkdir(parents=True)
    record = SlotRecord(
        "cats",
        a=Slot(2, "a" * 64, "2.0", 1, "full"),
        active="a",
        stage="committed",
        floor=1,
        update=Update(4, "d" * 64, 1, 9, "fetch"),
        last=Ending(3, "c" * 64, 1, "rolled-back", "constant", "64 equal answers", {"run_inputs": 41}),
        blocked=(Blocked("c" * 64, 1, "constant"),),
    )
    slots.write(path, record)
    return str(tmp_path / "agent.toml")


def test_status_says_what_is_served_and_what_is_on_its_way(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--config", config]) == 0
    text = capsys.readouterr().out
    assert "release 2 (2.0) is served, committed with evidence full" in text
    assert "update to release 4, attempt 1: fetch" in text
    assert "the runtime does not answer" in text
    assert "the agent does not answer" in text


def test_explain_gives_the_reason_with_its_numbers(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "cats", "--config", config]) == 0
    text = capsys.readouterr().out
    assert "64 equal answers (constant)" in text
    assert "run_inputs: 41" in text
    assert "blocklisted" in text


def test_json_holds_the_same(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "cats", "--config", config, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["last"]["facts"] == {"run_inputs": 41}
    assert found["blocked"][0]["code"] == "constant"
    assert cli.main(["status", "--config", config, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"]["cats"]["stage"] == "committed"


def test_an_unknown_model_is_a_named_error(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "dogs", "--config", config]) == 1
    assert "this device has no model dogs" in capsys.readouterr().err


def test_a_missing_configuration_is_a_named_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--config", str(tmp_path / "none.toml")]) == 1
    assert "none.toml" in capsys.readouterr().err


def test_status_says_where_the_runtime_answers_otherwise(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "models", lambda socket: [{"model": "cats", "release": 0}])
    assert cli.main(["status", "--config", config]) == 0
    assert "but the runtime answers with no release now" in capsys.readouterr().out
    monkeypatch.setattr(client, "models", lambda socket: [{"model": "cats", "release": 2}])
    assert cli.main(["status", "--config", config]) == 0
    assert "but the runtime" not in capsys.readouterr().out


def test_a_second_agent_on_one_state_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "agent.toml").write_text('device = "farm-1"\n[broker]\nhost = "127.0.0.1"\ntls = false\n')
    with (tmp_path / "agent.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert cli.main(["run", "--config", str(tmp_path / "agent.toml")]) == 1
    assert "another agent runs on" in capsys.readouterr().err


def test_an_agent_that_is_not_enrolled_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "agent.toml").write_text("")
    assert cli.main(["run", "--config", str(tmp_path / "agent.toml")]) == 1
    assert "Enrol first" in capsys.readouterr().err


def test_status_names_the_engine_and_why_it_is_not_the_one_it_should_be(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"engine": "litert 2.3.0 (Interpreter: its self-test failed)", "degraded": "it is hot"}
    monkeypatch.setattr(info, "runtime", lambda socket: told)
    assert cli.main(["status", "--config", config]) == 0
    out = capsys.readouterr().out
    assert "engine litert 2.3.0 (Interpreter: its self-test failed); slower than it should be: it is hot" in out
    assert cli.main(["status", "--config", config, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runtime"] == told


def test_status_and_explain_say_what_only_the_agent_knows(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = {"detail": "waiting for the network", "code": "", "left_s": None, "fetched_bytes": 3, "total_bytes": 9}
    check = {"name": "lamp", "required": True, "state": "unknown", "text": "it is not executable"}
    checks = {"cats": [check, {**check, "name": "page", "state": "good"}]}
    hot = alarms.alarm(alarms.Symptom("hot", "it is at 81 degrees"))
    device = {"level": "troubled", **asdict(Readings((Zone("cpu", 81_300),), available_bytes=5 << 20))}
    told = {
        "connected": True,
        "warnings": [asdict(hot)],
        "device": device,
        "checks": checks,
        "models": {"cats": {**now, "watch": ""}},
    }
    told = json.loads(json.dumps(told))
    monkeypatch.setattr(status, "ask", lambda state: told)
    assert cli.main(["status", "--config", config]) == 0
    text = capsys.readouterr().out
    assert f"  warning: The device is hot (hot)\n    it is at 81 degrees\n    {hot.remedy}\n" in text
    assert "  device: cpu 81 °C, 5 MB of memory available, requests are answered at a lower rate\n" in text
    assert "    waiting for the network\n    3 of 9 bytes are here\n" in text
    assert "    the check lamp cannot tell: it is not executable\n" in text
    assert "page" not in text
    assert cli.main(["explain", "cats", "--config", config]) == 0
    assert "  waiting for the network\n  3 of 9 bytes are here\n" in capsys.readouterr().out
    assert cli.main(["status", "--config", config, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agent"] == told
    assert cli.main(["explain", "cats", "--config", config, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["now"]["fetched_bytes"] == 3
