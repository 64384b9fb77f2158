"""`littoral lease`: a command runs while the model is leased."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from littoral.fake import FakeModel, FakeServer
from tests.agent.runtime.device import PATIENCE_S, ROOT, until
from tests.littoral.cli.commands import run


def command(server: FakeServer, script: str) -> list[str]:
    """A shell's script under a lease."""
    return [
        sys.executable,
        "-m",
        "littoral.cli",
        "lease",
        "--socket",
        str(server.socket),
        "m",
        "--",
        "sh",
        "-c",
        script,
    ]


def test_the_command_runs_under_a_lease_and_gives_its_status(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with FakeServer({"m": FakeModel()}) as server:
        script = f"echo runs; until [ -e {go} ]; do sleep 0.01; done; exit 7"
        with subprocess.Popen(command(server, script), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "runs\n"
            assert server.leases("m") == 1
            go.touch()
        assert process.returncode == 7
        until(lambda: server.leases("m") == 0, "the lease to end")


def test_the_lease_stays_with_the_command_where_only_that_is_left(tmp_path: Path) -> None:
    with FakeServer({"m": FakeModel()}) as server:
        script = f"echo $$ > {tmp_path / 'pid'}; echo runs; exec sleep 600"
        with subprocess.Popen(command(server, script), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "runs\n"
            process.kill()
            process.wait(PATIENCE_S)
            assert server.leases("m") == 1
            subprocess.run(["kill", (tmp_path / "pid").read_text().strip()], check=True)
        until(lambda: server.leases("m") == 0, "the lease to end")


def test_ctrl_c_is_the_commands_to_take() -> None:
    with FakeServer({"m": FakeModel()}) as server:
        script = "trap 'sleep 0.05; exit 3' INT; echo runs; while :; do sleep 0.01; done"
        with subprocess.Popen(
            command(server, script), cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "runs\n"
            until(lambda: _ignores_interrupt(process.pid), "the parent to leave Ctrl-C to the command")
            subprocess.run(["kill", "-INT", "--", f"-{process.pid}"], check=True)
        assert process.returncode == 3


def _ignores_interrupt(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    ignored = next(line for line in lines if line.startswith("SigIgn:"))
    return bool(int(ignored.split()[1], 16) >> (signal.SIGINT - 1) & 1)


def test_a_lease_that_ends_before_the_command_is_said() -> None:
    with FakeServer({"m": FakeModel()}) as server:
        with subprocess.Popen(
            command(server, "echo runs; read line"),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "runs\n"
            server.expire_leases("m")
            _, said = process.communicate("go on\n", PATIENCE_S)
        assert process.returncode == 0
        assert "lease-expired" in said


def test_a_second_separator_is_the_commands_own(capfd: pytest.CaptureFixture[str]) -> None:
    with FakeServer({"m": FakeModel()}) as server:
        assert run(capfd, "lease", "--socket", server.socket, "m", "--", "echo", "--", "it") == (0, "-- it\n", "")


def test_a_signal_that_ends_the_command_shows_in_the_status(capfd: pytest.CaptureFixture[str]) -> None:
    with FakeServer({"m": FakeModel()}) as server:
        status, _, _ = run(capfd, "lease", "--socket", server.socket, "m", "--", "sh", "-c", "kill -TERM $$")
    assert status == 128 + signal.SIGTERM


@pytest.mark.parametrize("command", [(), ("--",), ("--", "/no/such/command")])
def test_what_cannot_be_run_is_a_named_error(capfd: pytest.CaptureFixture[str], command: tuple[str, ...]) -> None:
    with FakeServer({"m": FakeModel()}) as server:
        status, out, said = run(capfd, "lease", "--socket", server.socket, "m", *command)
        until(lambda: server.leases("m") == 0, "the lease to end")
    assert (status, out) == (1, "")
    assert "littoral: bad-config: " in said


def test_the_command_is_not_run_where_the_model_is_not_there(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with FakeServer({}) as server:
        status, _, said = run(capfd, "lease", "--socket", server.socket, "m", "--", "touch", tmp_path / "ran")
    assert status == 1
    assert "unknown-model" in said
    assert not (tmp_path / "ran").exists()
