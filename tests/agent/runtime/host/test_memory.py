from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.runtime.host import memory
from agent.runtime.host.memory import Switch, choose_switch

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("need", "old", "others", "switch"),
    [
        (40, 30, 30, Switch.OVERLAP),
        (41, 30, 30, Switch.HANDOVER),
        (70, 100, 30, Switch.HANDOVER),
        (71, 0, 30, Switch.REFUSE),
        (0, 0, 200, Switch.REFUSE),
    ],
)
def test_a_switch_follows_from_a_budget_of_100(need: int, old: int, others: int, switch: Switch) -> None:
    assert choose_switch(need, 100, old, others) is switch


def test_the_budget_is_half_of_the_machine_unless_set() -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory.budget(0) == total // 2
    assert memory.budget(5) == 5
    assert memory.budget(2 * total) == total


def test_memory_that_a_process_takes_is_measured() -> None:
    before = memory.pss(os.getpid())
    taken = bytearray(os.urandom(32 * MIB))
    assert memory.pss(os.getpid()) - before > 24 * MIB
    assert len(taken) == 32 * MIB
    assert memory.status("VmHWM") >= memory.status("VmRSS") > 32 * MIB


def test_a_process_that_is_gone_takes_nothing() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert memory.pss(pid) == 0


def test_a_cgroups_limit_is_the_least_of_its_own_and_those_above_it(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("4:memory:/old\n0::/device/runtime\n")
    root = tmp_path / "fs"
    (root / "device/runtime").mkdir(parents=True)
    assert memory.cgroup_limit(root, own) == 2**63
    (root / "device/runtime/memory.max").write_text("max\n")
    (root / "device/memory.max").write_text("268435456\n")
    (root / "memory.max").write_text("536870912\n")
    assert memory.cgroup_limit(root, own) == 268_435_456


def test_without_cgroups_there_is_no_limit(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("1:name=systemd:/\n")
    assert (
        memory.cgroup_limit(tmp_path, tmp_path / "cgroup") == memory.cgroup_limit(tmp_path, tmp_path / "none") == 2**63
    )
