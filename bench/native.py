"""The C programs of the bench: made once, started, and what the load generator saw. bench/native/ holds them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).resolve().parent / "native"
PROGRAMS = {"echo": ("echo.c",), "load": ("load.c", "client.c")}
COMPILER = ("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread")


def compile_programs(cache: Path) -> Path:
    """The folder with the programs, made from the sources as they are now."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SOURCES.iterdir()))).hexdigest()
    folder = cache / digest[:16]
    if not folder.is_dir():
        making = cache / f"{digest[:16]}.{os.getpid()}"
        making.mkdir(parents=True)
        for name, sources in PROGRAMS.items():
            subprocess.run([*COMPILER, "-o", making / name, *(SOURCES / source for source in sources)], check=True)
        making.replace(folder)
    return folder


@dataclass(frozen=True, slots=True)
class Spread:
    """Microseconds."""

    p50: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Load:
    """What clients saw. added: round trip less invoke; gap: from one answer of a client to its next.

    releases: bit r is set where release r answered. reconnects: when each first answer on a new connection came,
    monotonic nanoseconds.
    """

    seconds: float
    asked: int
    answered: int
    wrong: int
    problem: str
    releases: int
    added_us: Spread
    invoked_us: Spread
    gap_us: Spread
    reconnects: tuple[int, ...]

    @property
    def per_s(self) -> float:
        return self.answered / self.seconds

    @classmethod
    def parse(cls, text: str) -> Load:
        fields: dict[str, Any] = json.loads(text)
        for name in ("added_us", "invoked_us", "gap_us"):
            fields[name] = Spread(**fields[name])
        fields["reconnects"] = tuple(fields["reconnects"])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Running:
    """Clients at work, all connected."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, command: list[str]) -> Running:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()  # "ready"; nothing where it failed, which `wait` tells
        return cls(process)

    def wait(self) -> Load:
        """Until they end by themselves."""
        output, _ = self.process.communicate()
        if self.process.returncode:
            raise RuntimeError("the load generator failed; it said why above")
        return Load.parse(output)

    def stop(self) -> Load:
        """Lets them finish what they asked."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()


def cpus() -> tuple[int, int]:
    """The CPU for servers, and one for clients elsewhere; the same where there is only one."""
    found = os.sched_getaffinity(0)
    return min(found), max(found)


def pin(pid: int, cpu: int) -> None:
    """Keeps a process, with all its threads, on one CPU."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {cpu})


def cpu_ns(pid: int) -> int:
    """CPU time of a process, all threads, as the kernel's own clock of that process tells it."""
    return time.clock_gettime_ns(
        (~pid << 3) | 2
    )  # CLOCK_PROCESS_CPUTIME_ID of another process, see clock_getcpuclockid
