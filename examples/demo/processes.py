"""The demo's processes: Littoral's real commands, each a child that ends when the demo does, however that ends."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

GRACE_S = 10.0
COMMAND_TIMEOUT_S = 120.0
PR_SET_PDEATHSIG = 1

_LIBC = ctypes.CDLL(None)


class DemoError(Exception):
    """A step of the demo did not hold, or could not be carried out."""


class Child:
    """A daemon that runs until `end`; what it prints goes to the file `log`."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: dict[str, str], cwd: Path) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            # Its own session: Ctrl-C reaches the demo alone, which then ends its children one after the other.
            self._process = subprocess.Popen(
                find(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=cwd,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, as a crash would end it: nothing of it can say goodbye."""
        self._process.kill()
        self._process.wait()

    def ask_to_end(self) -> None:
        """SIGTERM."""
        if self.running:
            self._process.terminate()

    def end(self) -> bool:
        """Waits for its end, once it was asked; after a grace SIGKILL. Whether it ended by itself."""
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def tail(self, lines: int) -> str:
        """The last lines it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def run(command: Sequence[str], environment: dict[str, str], cwd: Path, wanted: int = 0) -> tuple[str, str]:
    """What `command` printed to stdout and to stderr.

    Raises DemoError where it ends with another status than `wanted`, or not in time.
    """
    try:
        done = subprocess.run(
            find(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            cwd=cwd,
            timeout=COMMAND_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"`{' '.join(command)}` did not end within {COMMAND_TIMEOUT_S:.0f} s") from error
    if done.returncode != wanted:
        said = (done.stderr or done.stdout).strip()
        raise DemoError(f"`{' '.join(command)}` ended with status {done.returncode}, not {wanted}: {said}")
    return done.stdout, done.stderr


def find(command: Sequence[str]) -> list[str]:
    """The command with its full path: beside this Python, where pip puts scripts, else on the PATH."""
    if command[0] == "python":
        return [sys.executable, *command[1:]]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    program = shutil.which(command[0], path=path)
    if program is None:
        raise DemoError(f"{command[0]} is not installed; `./dev demo` sets everything up")
    return [program, *command[1:]]


def _die_with_parent() -> None:
    """In the child, before it becomes the program: the kernel ends it when the demo is gone."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
