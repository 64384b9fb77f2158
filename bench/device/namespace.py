"""A mount, PID and network namespace, in which all machines run, and their places in the control groups.

When it ends nothing remains, however it ends: its first process ends when a pipe from this process closes, even by
SIGKILL, and with it every process in it; with the last one its mounts, loop devices and networks.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PREFIX = "littoral-lab-"
PATIENCE_S = 30.0
_numbers = itertools.count(1)

_UNSHARE = ("unshare", "--fork", "--pid", "--mount", "--net", "--mount-proc", "--propagation", "private")
# What is unmounted within goes from the namespaces of all machines. /run is of its own, for the names of networks and
# the locks of systemd-nspawn. `cat` ends when the pipe closes.
_HOLD = "mount --make-rshared / && mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up && echo ready && exec cat"


class Namespace:
    """Use `opened`. `pid` is its first process; `root` its files, as seen from here."""

    def __init__(self) -> None:
        self._groups = f"{PREFIX}{os.getpid()}-{next(_numbers)}"
        self._holder = subprocess.Popen(
            [*_UNSHARE, "sh", "-c", _HOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            self._holder.wait()
            raise RuntimeError("no namespace can be made here")
        (self.pid,) = children(self._holder.pid)
        self.root = Path(f"/proc/{self.pid}/root")

    def command(self, *words: str | Path) -> list[str]:
        """These words, to be run within."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--", *map(str, words)]

    def run(self, *words: str | Path) -> str:
        """What a command prints that is run within. Raises RuntimeError with what it said where it fails."""
        done = subprocess.run(self.command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"`{' '.join(map(str, words))}`: {done.stderr.strip()}")
        return done.stdout

    def make_groups(self, name: str) -> list[Path]:
        """A control group of this name in every hierarchy, below that of this process."""
        groups = []
        for hierarchy in _hierarchies():
            parent = hierarchy / self._groups
            for group in (parent, parent / name):
                group.mkdir(exist_ok=True)
                _hand_down_controllers(group.parent)
                if (group / "cpuset.mems").exists() and (group / "cgroup.clone_children").exists():
                    # A new group of version 1 has no processors, and takes no process before it has some.
                    for setting in ("cpuset.cpus", "cpuset.mems"):
                        (group / setting).write_text((group.parent / setting).read_text())
                    (group / "cgroup.clone_children").write_text("1")
            groups.append(parent / name)
        return groups

    def close(self) -> None:
        """Ends everything within, and waits for it."""
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.wait(PATIENCE_S)
        self._holder.stdout.close()
        _remove_groups(self._groups)


@contextmanager
def opened() -> Iterator[Namespace]:
    """A namespace that is gone afterwards. Raises RuntimeError where none can be made."""
    for group in _hierarchies():  # what a killed process could not remove
        for left in group.glob(f"{PREFIX}*"):
            if not Path("/proc", left.name.removeprefix(PREFIX).split("-")[0]).exists():
                _remove_groups(left.name)
    namespace = Namespace()
    try:
        yield namespace
    finally:
        namespace.close()


def children(pid: int) -> list[int]:
    with suppress(FileNotFoundError, ProcessLookupError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def entering(groups: Sequence[Path], command: Sequence[str]) -> list[str]:
    """`command`, to be run in these control groups."""
    script = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit; shift; done; shift; exec "$@"'
    return ["sh", "-c", script, "sh", *map(str, groups), "--", *command]


def _hierarchies() -> list[Path]:
    """The folder of this process's control group in each hierarchy that is mounted."""
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers:
            mounted = CGROUPS / controllers.removeprefix("name=") / path.lstrip("/")
        elif (CGROUPS / "cgroup.controllers").exists():
            mounted = CGROUPS  # version 2 alone: a group with processes has no controllers for groups below it
        else:
            mounted = CGROUPS / "unified" / path.lstrip("/")
        if mounted.is_dir():
            found.append(mounted)
    return found


def _hand_down_controllers(group: Path) -> None:
    """Version 2: groups below this one have every controller that it has."""
    control = group / "cgroup.subtree_control"
    if control.exists() and (controllers := (group / "cgroup.controllers").read_text().split()):
        control.write_text(" ".join(f"+{name}" for name in controllers))


def _remove_groups(name: str) -> None:
    """Removes the control groups `name` and all below, which lose their processes some time after these were killed."""
    for hierarchy in _hierarchies():
        until = time.monotonic() + PATIENCE_S
        while (hierarchy / name).exists():
            try:
                for folder, _, _ in os.walk(hierarchy / name, topdown=False):
                    Path(folder).rmdir()
            except OSError:
                if time.monotonic() >= until:
                    raise
                time.sleep(0.05)
