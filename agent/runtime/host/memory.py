"""Memory: what a process really takes, what all models together may take, and how a switch fits into that."""

import os
from contextlib import suppress
from enum import StrEnum
from pathlib import Path


class Switch(StrEnum):
    """How one release follows another."""

    OVERLAP = "overlap"  # both are loaded for a moment
    HANDOVER = "handover"  # the old one is unloaded first
    REFUSE = "refuse"  # the new one does not fit at all


def choose_switch(need_bytes: int, budget_bytes: int, old_bytes: int, others_bytes: int) -> Switch:
    """How a release that needs `need_bytes` can follow one that holds `old_bytes`, beside all other models."""
    free_bytes = budget_bytes - others_bytes
    if need_bytes + old_bytes <= free_bytes:
        return Switch.OVERLAP
    return Switch.HANDOVER if need_bytes <= free_bytes else Switch.REFUSE


def budget(configured_bytes: int) -> int:
    """runtime.memory_budget_bytes, but no more than the machine or its cgroup has; where it is 0, half of that."""
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    most_bytes = min(machine_bytes, cgroup_limit(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")))
    return min(configured_bytes, most_bytes) or most_bytes // 2


def cgroup_limit(root: Path, own: Path) -> int:
    """The least memory.max of this process's cgroup (version 2) and those above it; a huge number where none is set."""
    limit_bytes = 2**63
    try:
        path = next(line[3:] for line in own.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return limit_bytes
    group = root / path.strip("/")
    for folder in (group, *group.parents):
        with suppress(OSError, ValueError):  # no limit is the word max
            limit_bytes = min(limit_bytes, int((folder / "memory.max").read_text()))
        if folder == root:
            break
    return limit_bytes


def pss(pid: int) -> int:
    """Bytes of memory of a process, shared pages by their share. 0 where it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((_kib(line) for line in text.splitlines() if line.startswith("Pss:")), 0)


def status(field: str) -> int:
    """Bytes of a field of /proc/self/status: VmSize, VmPeak, VmRSS, VmHWM."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return _kib(line)
    return 0


def _kib(line: str) -> int:
    return int(line.split()[1]) * 1024
