"""A Debian system on disk, entered by chroot: to install packages and run what they bring, without booting it.

Each command has mounts, processes and a network of its own that end with it (nothing outside can be reached); what it
writes stays in a layer over the tree; /srv is a folder that is shared with outside. Needs root.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("unshare", "mount", "ip", "chroot")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}

_ENTER = """
set -e
root="$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t tmpfs tmpfs "$root/run"
mount --bind "$2/srv" "$root/srv"
if [ -e "$2/cpuinfo" ]; then mount --bind "$2/cpuinfo" "$root/proc/cpuinfo"; fi
ip link set lo up
shift 2
exec chroot "$root" "$@"
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended; `output` has what it wrote on both streams."""

    status: int
    output: str


class System:
    """Made over a tree that stays as it is. cpuinfo: what /proc/cpuinfo says there, if not this machine's."""

    def __init__(self, tree: Path, folder: Path, cpuinfo: str = "") -> None:
        self.tree = tree
        self._folder = folder
        for part in ("upper", "work", "root", "srv"):
            (folder / part).mkdir(parents=True)
        for part in ("proc", "sys", "run", "srv", "dev/shm"):
            (self.layer / part).mkdir(parents=True)
        if cpuinfo:
            (folder / "cpuinfo").write_text(cpuinfo)

    @property
    def layer(self) -> Path:
        """What was written here: put files into it while nothing runs."""
        return self._folder / "upper"

    def file(self, path: str) -> Path:
        """Where a file of the system is to be read from outside while nothing runs."""
        written = self.layer / path.lstrip("/")
        return written if written.exists() else self.tree / path.lstrip("/")

    @property
    def shared(self) -> Path:
        return self._folder / "srv"

    def attempt(self, *command: str, timeout_s: float = 300, variables: Mapping[str, str] | None = None) -> Ended:
        ended = subprocess.run(
            self._entered(command),
            env={**ENVIRONMENT, **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout.decode(errors="replace"))

    @contextmanager
    def running(self, *command: str, log: Path) -> Iterator[None]:
        """While the command runs; it and all that it started are ended."""
        with (
            log.open("wb") as written,
            subprocess.Popen(
                self._entered(command),
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                yield
            finally:
                process.kill()

    def _entered(self, command: tuple[str, ...]) -> list[str]:
        return [
            *("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"),
            *("sh", "-c", _ENTER, "enter", str(self.tree), str(self._folder), *command),
        ]

    def run(self, *command: str, timeout_s: float = 300) -> str:
        """What the command wrote; it has to succeed."""
        ended = self.attempt(*command, timeout_s=timeout_s)
        assert ended.status == 0, f"{' '.join(command)}: status {ended.status}\n{ended.output}"
        return ended.output

    def install(self, *packages: Path) -> str:
        """As a person would: apt takes what they depend on from this system, or refuses."""
        folder = self.layer / "packages"
        folder.mkdir(exist_ok=True)
        for package in packages:
            shutil.copy(package, folder)
        names = [f"/packages/{package.name}" for package in packages]
        return self.run("apt-get", "install", "-q", "-y", "--no-install-recommends", "--allow-downgrades", *names)


def lacking() -> str:
    """Why no system can be entered here; empty where one can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [name for name in PROGRAMS if shutil.which(name, path=ENVIRONMENT["PATH"]) is None]
    return f"needs {' and '.join(missing)}" if missing else ""
