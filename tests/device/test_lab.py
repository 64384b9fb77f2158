"""The lab itself: its machines are what they are taken for, and nothing of it remains."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.device import lab, namespace
from bench.device.lab import Lab
from bench.device.machine import Machine

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab.opened(tmp_path_factory.mktemp("lab")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pair(room: Lab) -> tuple[Machine, Machine]:
    machines = room.machine("one"), room.machine("two")
    for machine in machines:
        assert machine.boot() == "running"
    return machines


def test_limits_of_memory_and_processor_bite_in_a_machine(pair: tuple[Machine, Machine]) -> None:
    limited = ("systemd-run", "--quiet", "--wait", "--pipe", "--property")
    greedy = pair[0].attempt(*limited, "MemoryMax=30M", "python3", "-c", "bytearray(200 << 20); print('had it')")
    assert greedy.status != 0
    assert "had it" not in greedy.stdout

    busy = "import time\nwhile time.monotonic() < began + 1: pass\nprint(time.process_time())"
    used_s = pair[0].run(*limited, "CPUQuota=10%", "python3", "-c", f"import time\nbegan = time.monotonic()\n{busy}")
    assert float(used_s) < 0.5


def test_a_power_cut_loses_what_was_not_synced_and_keeps_the_rest(room: Lab) -> None:
    machine = room.machine("cut")
    machine.boot()
    machine.run("sh", "-c", "echo a > /root/kept && sync && echo b > /root/lost")
    machine.power_cut()
    assert machine.boot() == "running"
    assert machine.run("ls", "/root") == "kept\n"
    machine.poweroff()


def test_with_a_read_only_root_only_var_is_writable(room: Lab) -> None:
    machine = room.machine("read-only")
    assert machine.boot(read_only=True) == "running"
    machine.run("touch", "/var/lib/here")
    for place in ("/etc/here", "/usr/here", "/here"):
        assert "Read-only file system" in machine.attempt("touch", place).stderr
    machine.poweroff()


def test_machines_reach_each_other_and_not_the_host_until_they_are_parted(
    room: Lab, pair: tuple[Machine, Machine]
) -> None:
    one, two = pair
    two.run("systemd-run", "--unit=listening", "python3", "-m", "http.server", "8000")

    def reached(address: str) -> bool:
        dial = f"import socket; socket.create_connection(('{address}', 8000), 1)"
        return one.attempt("python3", "-c", dial).status == 0

    until = time.monotonic() + PATIENCE_S
    while not reached(two.address) and time.monotonic() < until:
        time.sleep(0.1)
    assert reached(two.address)
    room.network.part(one.address)
    assert not reached(two.address)
    room.network.heal(one.address)
    assert reached(two.address)
    assert "eth0" in one.read("/proc/net/dev")
    assert one.read("/proc/net/route").count("\n") == 2  # its own network, and no way out of it


HOLDING = """
import sys, time
from pathlib import Path
from bench.device import lab
with lab.opened(Path(sys.argv[1])) as room:
    room.machine("held").boot()
    print("booted", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_remains_of_a_lab_whose_process_was_ended(tmp_path: Path, number: signal.Signals) -> None:
    held = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        start_new_session=True,
    )
    with held:
        assert held.stdout is not None
        assert held.stdout.readline() == b"booted\n"
        assert traces(tmp_path)
        held.send_signal(number)
        held.wait(PATIENCE_S)
    until = time.monotonic() + PATIENCE_S
    while (left := traces(tmp_path)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left
    with namespace.opened():  # which sweeps the control groups of those that were killed
        pass
    groups = [folder for folder, _, _ in os.walk(namespace.CGROUPS) if f"{namespace.PREFIX}{held.pid}-" in folder]
    assert not groups


def traces(folder: Path) -> list[str]:
    """Processes, loop devices and mounts of a lab in `folder`."""
    found = subprocess.run(["losetup", "--list", "--noheadings"], capture_output=True, text=True).stdout.splitlines()
    found += Path("/proc/self/mounts").read_text().splitlines()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return [line for line in found if str(folder) in line and "pytest" not in line.split()[0]]
