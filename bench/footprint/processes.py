"""What the processes of a machine's units hold in memory, seen from outside the machine: looking costs it nothing and
shares no page with it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

UNITS = ("littoral-agent.service", "littoral-runtime.service")
SAMPLE_S = 0.03


@dataclass(frozen=True, slots=True)
class Held:
    """Memory of one process, bytes. private: what would be free without it."""

    unit: str
    pid: int
    command: str
    pss: int
    private: int

    def __str__(self) -> str:
        return f"{self.command} {self.pss / 1e6:.1f} ({self.private / 1e6:.1f} own)"


def unit_of(cgroup: str, machine: str) -> str:
    """Which of UNITS of this machine a process belongs to, from its /proc/<pid>/cgroup; empty for no one."""
    for line in cgroup.splitlines():
        path = line.split(":", 2)[-1].split("/")
        if machine in path:
            for unit in UNITS:
                if unit in path:
                    return unit
    return ""


def rollup(text: str) -> dict[str, int]:
    """Bytes by what they count as, of a smaps_rollup."""
    _, *lines = text.splitlines()
    return {name.rstrip(":"): int(size) * 1024 for name, size, _ in (line.split() for line in lines)}


def held(machine: str, proc: Path = Path("/proc")) -> list[Held]:
    """Every process of UNITS, the parents first."""
    found = []
    for folder in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
        with suppress(OSError, ValueError):  # it has ended meanwhile
            unit = unit_of((folder / "cgroup").read_text(), machine)
            if not unit:
                continue
            memory = rollup((folder / "smaps_rollup").read_text())
            private = memory["Private_Clean"] + memory["Private_Dirty"]
            found.append(Held(unit, int(folder.name), _command(folder), memory["Pss"], private))
    return named(found)


def named(found: Iterable[Held]) -> list[Held]:
    """The first process of a unit is its daemon; what it forked is called a child of it."""
    result: list[Held] = []
    for each in found:
        first = not any(other.unit == each.unit for other in result)
        name = each.unit.removeprefix("littoral-").removesuffix(".service")
        if not first:
            name = each.command if each.command.startswith("agent.") else f"{name}'s child"
        result.append(Held(each.unit, each.pid, name, each.pss, each.private))
    return result


def total_mb(found: Iterable[Held]) -> float:
    return sum(each.pss for each in found) / 1e6


def told(found: Iterable[Held]) -> str:
    return ", ".join(map(str, found))


class Peak:
    """The most that all of them held at one time."""

    def __init__(self, machine: str) -> None:
        self.highest: list[Held] = []
        self._machine = machine
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @contextmanager
    def watched(self) -> Iterator[Peak]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(SAMPLE_S):
            found = held(self._machine)
            if total_mb(found) > total_mb(self.highest):
                self.highest = found


def _command(folder: Path) -> str:
    """The module that a child was started as; empty for a daemon or what it forked."""
    words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    return words[words.index("-m") + 1] if "-m" in words[:-1] else ""
