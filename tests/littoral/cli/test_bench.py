"""`littoral bench` of a served model, and `littoral run` and `bench` of a file, which become the runtime."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from littoral.cli import run as run_command
from littoral.fake import FakeModel, FakeServer
from tests.littoral.cli.commands import run


def test_one_two_and_four_clients_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer({"m": FakeModel()}) as server:
        words = ["bench", "m", "--seconds", "0.05", "--socket", str(server.socket)]
        status, out, _ = run(capsys, *words, "--json")
        rows = json.loads(out)
        assert (status, [row["clients"] for row in rows]) == (0, [1, 2, 4])
        assert all(row["per_s"] > 0 and row["p50_us"] <= row["p95_us"] for row in rows)
        status, out, _ = run(capsys, *words)
        assert (status, [line.split()[0] for line in out.splitlines()]) == (0, ["CLIENTS", "1", "2", "4"])


def test_an_error_in_a_clients_process_is_named_here(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer({}) as server:
        status, _, err = run(capsys, "bench", "m", "--socket", str(server.socket))
    assert (status, "littoral: unknown-model:" in err) == (1, True)
    assert err.count("lists what this device serves") == 1


@pytest.mark.parametrize(
    "words",
    [
        *(["bench", "m", "--seconds", "0"], ["top", "--interval", "-1"], ["top", "--interval", "inf"]),
        *(["subscribe", "m", "--count", "0"], ["subscribe", "m", "--count", "x"]),
    ],
)
def test_a_number_that_makes_no_sense_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(capsys, *words)
    assert ended.value.code == 2


# --- files ------------------------------------------------------------------------------------------------------


class BecameError(Exception):
    """In place of another program."""


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What this process would have become."""
    made: list[list[str]] = []

    def execv(program: str, words: list[str]) -> None:
        assert program == sys.executable
        made.append(words[1:])
        raise BecameError

    monkeypatch.setattr(os, "execv", execv)
    return made


def test_run_becomes_the_runtime_that_serves_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], became: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.tflite"
    file.write_bytes(b"")
    monkeypatch.delenv("LITTORAL_SOCKET", raising=False)
    with pytest.raises(BecameError):
        run(capsys, "run", file)
    with pytest.raises(BecameError):
        run(capsys, "run", file, "--labels", "L", "--card", "C", "--name", "n", "--socket", "S")
    monkeypatch.setenv("LITTORAL_SOCKET", "E")
    with pytest.raises(BecameError):
        run(capsys, "run", file)
    options = ["--labels", "L", "--card", "C", "--name", "n", "--socket", "S"]
    assert became == [
        ["-m", "agent.runtime.cli", "serve", str(file)],
        ["-m", "agent.runtime.cli", "serve", str(file), *options],
        ["-m", "agent.runtime.cli", "serve", str(file), "--socket", "E"],
    ]


def test_bench_of_a_file_becomes_the_runtimes_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], became: list[list[str]]
) -> None:
    file = tmp_path / "m.tflite"
    file.write_bytes(b"")
    with pytest.raises(BecameError):
        run(capsys, "bench", file, "--seconds", "0.5", "--json")
    assert became == [["-m", "agent.runtime.cli", "bench", str(file), "--seconds", "0.5", "--json"]]


def test_a_file_that_is_not_there_is_a_named_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("run", "none.tflite"), ("bench", "none.tflite"), ("bench", "none")):
        status, _, err = run(capsys, words[0], tmp_path / words[1])
        assert (status, "littoral: bad-config:" in err) == (1, True)


@pytest.mark.parametrize("name", ["nothing_of_this_name.runtime.cli", "littoral.nothing_of_this_name"])
def test_without_the_agent_the_error_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(run_command, "RUNTIME", name)
    file = tmp_path / "m.tflite"
    file.write_bytes(b"")
    status, _, err = run(capsys, "run", file)
    assert (status, "[agent]" in err) == (1, True)
