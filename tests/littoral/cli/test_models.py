"""`littoral models`, and what is common to all commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from littoral import cli, client
from littoral.client import Stage
from littoral.fake import FakeModel, FakeServer
from tests.agent.runtime import scripted
from tests.agent.runtime.device import Device
from tests.littoral.cli.commands import run


def test_models_are_listed_for_people_and_for_programs(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    device.record("empty", None, active="")
    device.record("m", device.add("m", 4, scripted.model()))
    device.start()
    device.client("m")
    status, out, _ = run(capsys, "models")
    assert status == 0
    assert "m  release 4 (v4), committed, scripted 1" in out
    assert "inputs: in uint8[4]" in out
    assert "empty  serves no release" in out
    status, out, _ = run(capsys, "models", "--json")
    assert status == 0
    assert [entry["model"] for entry in json.loads(out)] == ["empty", "m"]


def test_a_file_served_by_hand_and_a_model_that_sleeps_are_listed_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeping = {"model": "s", "release": 4, "version": "v4", "stage": "unloaded", "reason": "", "why": ""}
    gone = {"model": "g", "release": 0, "version": "", "stage": "none", "reason": "failed"}
    with FakeServer({"m": FakeModel(release=0, stage=Stage.LOCAL, sees=(0.5,))}) as server:
        [local] = client.models(server.socket)
    local |= {"why": "serving", "memory_bytes": 8_100_000}
    monkeypatch.setattr(client, "models", lambda _socket: [gone, local, sleeping])
    _, out, _ = run(capsys, "models")
    lines = out.splitlines()
    assert lines[0] == "g  serves no release: it cannot be loaded"
    assert lines[1] == "m  release 0 (v0), local, fake 1, 8.1 MB"
    assert lines[2] == "  loaded: serving"
    assert lines[-2:] == ["  detect: embedding", "s  release 4 (v4), unloaded"]


def test_without_a_runtime_the_status_is_1_and_the_error_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, "models", "--socket", tmp_path / "none.sock")
    assert (status, out) == (1, "")
    assert "littoral: unreachable:" in err


def test_it_ends_quietly_where_nobody_reads_on() -> None:
    with FakeServer({"m": FakeModel()}) as server:
        command = [sys.executable, "-m", "littoral.cli", "models", "--socket", str(server.socket)]
        reader, writer = os.pipe()
        os.close(reader)
        ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_ctrl_c_ends_it_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_socket: str | None) -> list[dict[str, Any]]:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "models", interrupted)
    assert cli.main(["models"]) == 130
    assert capsys.readouterr() == ("", "")
