"""The demo leaves nothing running, however it ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from examples.demo.fleet import ROOT
from examples.demo.processes import Child, DemoError, find, run

SLEEPER = ("python", "-c", "import time; print('here', flush=True); time.sleep(600)")
PATIENCE_S = 60.0

KILLED_PARENT = f"""
import os, signal, sys
from pathlib import Path
from examples.demo.processes import Child
child = Child("sleeper", {SLEEPER!r}, Path(sys.argv[1]), dict(os.environ), Path("/"))
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def ends(descriptor: int) -> bool:
    """Whether the process of a pidfd ends in good time."""
    return bool(select.select([descriptor], [], [], PATIENCE_S)[0])


def test_a_child_goes_when_the_demo_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_PARENT, str(tmp_path / "log")]
    parent = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    try:
        child = os.pidfd_open(int(parent.stdout))
    except ProcessLookupError:
        return  # gone already
    try:
        assert ends(child)
    finally:
        os.close(child)


def test_a_child_is_out_of_the_reach_of_the_terminals_ctrl_c(tmp_path: Path) -> None:
    child = Child("sleeper", SLEEPER, tmp_path / "log", dict(os.environ), tmp_path)
    try:
        assert os.getsid(child.pid) == child.pid
    finally:
        child.kill()
    assert not child.running


def test_a_command_that_fails_says_why() -> None:
    failing = ("python", "-c", "import sys; sys.exit('the reason')")
    with pytest.raises(DemoError, match=r"status 1, not 0: the reason"):
        run(failing, dict(os.environ), Path("/"))
    assert run(failing, dict(os.environ), Path("/"), wanted=1) == ("", "the reason\n")


def test_a_command_that_is_not_installed_is_named() -> None:
    with pytest.raises(DemoError, match="littoral-nonesuch is not installed"):
        find(["littoral-nonesuch"])
