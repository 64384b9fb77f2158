"""Which processes of a machine count, by what the kernel says of them."""

from __future__ import annotations

from pathlib import Path

from bench.footprint.processes import Held, held, named, rollup, total_mb, unit_of

ROLLUP = """55d0c0a00000-7ffc8b5f2000 ---p 00000000 00:00 0                          [rollup]
Rss:               20000 kB
Pss:               {pss} kB
Private_Clean:      1000 kB
Private_Dirty:     {dirty} kB
"""


def process(proc: Path, pid: int, cgroup: str, pss: int, dirty: int = 0, command: str = "/usr/bin/python3\0") -> None:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "cgroup").write_text(f"0::{cgroup}\n")
    (folder / "smaps_rollup").write_text(ROLLUP.format(pss=pss, dirty=dirty))
    (folder / "cmdline").write_bytes(command.encode())


def test_a_process_belongs_to_the_unit_and_the_machine_in_its_control_group() -> None:
    both = "12:cpu:/lab-1-1/edge\n1:name=systemd:/lab-1-1/edge/system.slice/littoral-agent.service\n"
    assert unit_of(both, "edge") == "littoral-agent.service"
    assert unit_of(both, "edge-2") == ""
    assert unit_of("0::/lab-1-1/edge/system.slice/dbus.service\n", "edge") == ""


def test_only_processes_of_our_units_in_this_machine_count_and_children_are_named_after_what_they_run(
    tmp_path: Path,
) -> None:
    ours = "/lab/edge/system.slice/littoral-{}.service"
    process(tmp_path, 20, ours.format("runtime"), 9_000, 4_000)
    process(tmp_path, 100, ours.format("runtime"), 8_000)
    process(tmp_path, 30, ours.format("agent"), 16_000, 14_000)
    process(tmp_path, 31, ours.format("agent"), 20_000, command="/usr/bin/python3\0-m\0agent.updater.child\0007\0")
    process(tmp_path, 40, ours.format("agent").replace("edge", "other"), 16_000)
    process(tmp_path, 50, "/user.slice", 1_000)
    (tmp_path / "60").mkdir()  # ends while it is looked at
    found = held("edge", tmp_path)
    assert [each.command for each in found] == ["runtime", "agent", "agent.updater.child", "runtime's child"]
    assert [each.pid for each in found] == [20, 30, 31, 100]
    assert total_mb(found) == (9_000 + 8_000 + 16_000 + 20_000) * 1024 / 1e6
    assert str(found[1]) == "agent 16.4 (15.4 own)"


def test_a_rollup_is_read_in_bytes() -> None:
    assert rollup(ROLLUP.format(pss=3, dirty=2))["Pss"] == 3 * 1024


def test_the_first_process_of_each_unit_is_its_daemon() -> None:
    unit = "littoral-runtime.service"
    assert [each.command for each in named([Held(unit, 1, "", 0, 0), Held(unit, 2, "", 0, 0)])] == [
        "runtime",
        "runtime's child",
    ]
