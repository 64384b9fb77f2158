from __future__ import annotations

import os

import pytest

from agent.runtime import memory
from agent.runtime.memory import Switch, choose_switch

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
