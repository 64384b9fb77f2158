"""One machine: a Debian system with systemd as PID 1, booted by systemd-nspawn from a tree and a disk of its own.

The disk is an ext4 file system in a file on a loop device; all that the machine writes goes there (an overlay on the
tree). So a power cut is a real one: what was not synced is lost. It has its kernel, its clock and its processors from
the host, and cannot set the clock.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.device.namespace import Namespace, children, entering

DISK_BYTES = 4 << 30  # a sparse file
SECTOR_BYTES = 512
PATIENCE_S = 60.0
POLL_S = 0.05
COMMAND_TIMEOUT_S = 120.0

# systemd-nspawn mounts the controllers of cgroup version 1 read-only, and limits are then silently not enforced.
# systemd 257 wants to be told that version 1 is meant; 252 does not look at it.
INIT = """#!/bin/sh
for group in /sys/fs/cgroup/*/; do mount -o remount,rw,bind "$group" 2>/dev/null; done
mount -o remount,rw,bind /var 2>/dev/null  # where the root is read-only, /var is a mount of its own
exec /lib/systemd/systemd SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1
"""
ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root")

T = TypeVar("T")

_EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), see Linux fs/ext4/ext4.h
_NO_LOG_FLUSH = 2  # not even the journal is written any more


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    status: int
    output: bytes
    stderr: str

    @property
    def stdout(self) -> str:
        return self.output.decode(errors="replace")


class MachineError(Exception):
    """A machine does not boot, or a command in it failed."""


class Machine:
    """Made by `Lab.machine`. Off at first."""

    def __init__(
        self, name: str, address: str, tree: Path, folder: Path, namespace: Namespace, disk: Path | None = None
    ) -> None:
        self.name = name
        self.address = address
        self._tree = tree
        self._folder = folder
        self._namespace = namespace
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._pid = 0
        for part in ("disk", "root"):
            (folder / part).mkdir(parents=True)
        if disk is not None:
            namespace.run("cp", "--sparse=always", disk, self.image)
            return
        with self.image.open("wb") as file:
            file.truncate(DISK_BYTES)
        namespace.run("mkfs.ext4", "-q", self.image)

    # --- power ------------------------------------------------------------------------------------------------

    def boot(self, read_only: bool = False) -> str:
        """Boots, and waits until systemd has started what is enabled; what it says of itself (running, degraded).

        `read_only`: the root is mounted read-only, and only /var is writable. Raises MachineError.
        """
        self._mount()
        # /tmp as the system itself has it: on the disk in Debian 12
        command = [
            "env",
            "SYSTEMD_NSPAWN_TMPFS_TMP=0",
            "systemd-nspawn",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--console=pipe",
        ]
        command += [f"--directory={self._root}", f"--machine={self.name}", "--resolv-conf=off"]
        command += ["--capability=CAP_NET_ADMIN", "--link-journal=no", "--kill-signal=SIGRTMIN+3"]
        command += [f"--network-namespace-path=/run/netns/{self.name}"]
        if read_only:
            command += ["--read-only", f"--bind={self._root}/var:/var"]
        with self.console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                entering(
                    self._namespace.make_groups(self.name), self._namespace.command(*command, "/usr/sbin/device-init")
                ),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self._pid = self._wait("its first process", lambda: _first_of(self._nspawn.pid if self._nspawn else 0))
        return self._wait("systemd's answer", self._state)

    def poweroff(self) -> None:
        """Ends everything in order."""
        self.run("systemctl", "poweroff", "--no-block")
        self._ended()

    def power_cut(self) -> None:
        """Nothing ends in order: the disk takes no write from now on, and what it was not told to keep is lost."""
        descriptor = os.open(self._namespace.root / self._disk.relative_to("/"), os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)
        os.kill(self._pid, signal.SIGKILL)
        self._ended()

    def reboot(self) -> str:
        """Ends everything in order and boots again."""
        self.poweroff()
        return self.boot()

    def discard(self) -> None:
        """Its disk is gone, and it cannot be booted again. Only while it is off, or its namespace has ended."""
        if self._nspawn is not None:
            self._nspawn.wait(PATIENCE_S)
        self.image.unlink(missing_ok=True)

    @property
    def is_on(self) -> bool:
        return self._nspawn is not None

    # --- what is done in it -----------------------------------------------------------------------------------

    def command(self, *words: str, user: str = "root") -> list[str]:
        """These words, to be run in the machine by this user with all his groups."""
        enter = ["nsenter", f"--target={self._pid}", "--all", "--"]
        become = ["runuser", "-u", user, "--"] if user != "root" else []
        return [*enter, "env", "-i", *ENVIRONMENT, *become, *words]

    def attempt(
        self, *words: str, user: str = "root", stdin: bytes = b"", timeout_s: float = COMMAND_TIMEOUT_S
    ) -> Done:
        """Runs a command in the machine; how it ended. It is not in any control group of the machine's units."""
        process = self.start(*words, user=user)
        try:
            stdout, stderr = process.communicate(stdin, timeout_s)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return Done(process.returncode, stdout, stderr.decode(errors="replace"))

    def start(self, *words: str, user: str = "root") -> subprocess.Popen[bytes]:
        """A command in the machine that goes on; it is in a process group of its own."""
        return subprocess.Popen(
            self.command(*words, user=user),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, *words: str, user: str = "root", stdin: bytes = b"", timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """What a command in the machine prints. Raises MachineError where it fails."""
        done = self.attempt(*words, user=user, stdin=stdin, timeout_s=timeout_s)
        if done.status:
            said = f"{done.stdout}{done.stderr}".strip()
            raise MachineError(f"{self.name}: `{' '.join(words)}` ended with status {done.status}: {said}")
        return done.stdout

    def install(self, *packages: Path) -> str:
        """`apt install ./a.deb ./b.deb`, as a person does; what it said. Nothing is fetched."""
        for package in packages:
            self.write(f"/root/{package.name}", package.read_bytes())
        apt = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "-q", "--allow-downgrades")
        return self.run(*apt, *(f"/root/{package.name}" for package in packages))

    def write(self, path: str, content: bytes | str, mode: int = 0o644) -> None:
        """Makes a file, and its folders."""
        data = content.encode() if isinstance(content, str) else content
        self.run("install", "-D", f"-m{mode:o}", "/dev/stdin", path, stdin=data)

    def read(self, path: str) -> str:
        return self.run("cat", path)

    def journal(self, unit: str = "", *options: str) -> str:
        """What the journal holds of this boot."""
        chosen = [f"--unit={unit}"] if unit else []
        return self.run("journalctl", "--boot", "--no-pager", "--quiet", *chosen, *options)

    def shown(self, unit: str, name: str) -> str:
        """A property of a unit, as `systemctl show` has it."""
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).strip()

    def written_bytes(self) -> int:
        """What was written to its disk since it was booted."""
        source = self._namespace.run("findmnt", "--noheadings", "--output=SOURCE", "--mountpoint", self._disk).strip()
        fields = (Path("/sys/block") / Path(source).name / "stat").read_text().split()
        return int(fields[6]) * SECTOR_BYTES  # Linux Documentation/block/stat

    @property
    def console(self) -> Path:
        """What systemd said on the console, of all boots."""
        return self._folder / "console.log"

    @property
    def image(self) -> Path:
        """Its disk, ext4; whole only while the machine is off."""
        return self._folder / "disk.ext4"

    # --- within -----------------------------------------------------------------------------------------------

    @property
    def _disk(self) -> Path:
        return self._folder / "disk"

    @property
    def _root(self) -> Path:
        return self._folder / "root"

    def _mount(self) -> None:
        run, disk = self._namespace.run, self._disk
        run("mount", "-o", "loop", self.image, disk)  # which replays its journal
        run("mkdir", "-p", disk / "upper/usr/sbin", disk / "work")
        layers = f"lowerdir={self._tree},upperdir={disk / 'upper'},workdir={disk / 'work'}"
        run("mount", "-t", "overlay", "-o", layers, "overlay", self._root)
        root = self._namespace.root / self._root.relative_to("/")
        (root / "usr/sbin/device-init").write_text(INIT)
        (root / "usr/sbin/device-init").chmod(0o755)
        (root / "etc/hostname").write_text(f"{self.name}\n")

    def _ended(self) -> None:
        assert self._nspawn is not None
        self._nspawn.wait(PATIENCE_S)
        self._nspawn = None
        for folder in (self._root, self._disk):
            self._namespace.run("umount", folder)
        until = time.monotonic() + PATIENCE_S
        # As long as it is, mounting it again would give the file system that the power cut shut.
        while self._namespace.run("losetup", "--associated", self.image):
            if time.monotonic() >= until:
                raise MachineError(f"{self.name}: its disk is still in use")
            time.sleep(POLL_S)

    def _state(self) -> str | None:
        state = self.attempt("systemctl", "is-system-running", "--wait").stdout.strip()
        return state if state in ("running", "degraded") else None

    def _wait(self, what: str, there: Callable[[], T | None]) -> T:
        until = time.monotonic() + PATIENCE_S
        while not (found := there()):
            ended = self._nspawn is None or self._nspawn.poll() is not None
            if ended or time.monotonic() >= until:
                said = self.console.read_text(errors="replace")[-2000:]
                raise MachineError(f"{self.name}: {what} did not come; the console says: {said}")
            time.sleep(POLL_S)
        return found


def _first_of(pid: int) -> int | None:
    """The first process of the innermost PID namespace below this process, once it has become systemd."""
    for child in children(pid):
        if found := _first_of(child):
            return found
    with suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{pid}/status").read_text()
        (numbers,) = (line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
        if numbers[-1] == "1" and status.startswith("Name:\tsystemd\n"):
            return pid
    return None
