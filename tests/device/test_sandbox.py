"""Each promise of the sandboxes, tried from inside: a probe in the daemon's place, in its own unit.

Whatever the runtime forks (a loader on trial, a worker) is in the same sandbox.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.device.lab import Lab
from tests.device.conftest import Template
from tests.device.fleet import Device

PROBE = Path(__file__).with_name("probe.py")
PORT = 8080
INSTEAD = """
[Unit]
OnFailure=
[Service]
Type=oneshot
ExecStart=
ExecStart=/usr/bin/python3 -I /opt/probe.py {address} {port}
StandardOutput=truncate:/run/found.json
Restart=no
WatchdogSec=0
"""
FORBIDDEN = (
    "connect to the server",
    "connect to this machine",
    "speak to the kernel's network",
    "see packets",
    "list the keys",
    "read the key",
    "command the agent",
    "read who logs in",
    "read a home",
    "change the slot record",
    "make executable memory",
    "make a namespace",
    "become root",
    "make a device",
    "set the clock",
    "mount",
    "signal the first process",
    "read the kernel's log",
)
OF_THE_AGENT = (
    "connect to the server",
    "connect to this machine",
    "list the keys",
    "read the key",
    "command the agent",
    "change the slot record",
)
"""What the agent is for."""


@pytest.fixture(scope="module")
def probed(room: Lab, template: Template) -> Iterator[Device]:
    """A device on which somebody listens and the agent runs while the runtime's place is taken."""
    machine = room.machine("probed", disk=template.disk)
    machine.boot()
    machine.run("systemctl", "disable", "--now", "camera")
    machine.write("/opt/probe.py", PROBE.read_bytes())
    machine.run("systemd-run", "--unit=listening", "python3", "-m", "http.server", str(PORT))
    yield Device(machine)
    machine.power_cut()


def found(device: Device, unit: str, settings: str = "") -> dict[str, Any]:
    """What a probe found in the place of this unit's program."""
    machine = device.machine
    instead = INSTEAD.format(address=machine.address, port=PORT)
    folder = f"/etc/systemd/system/{unit}.service.d"
    machine.write(f"{folder}/probe.conf", f"{instead}{settings}\n")
    machine.run("systemctl", "daemon-reload")
    try:
        machine.run("systemctl", "stop", f"{unit}.service")
        machine.run("systemctl", "start", f"{unit}.service")
        seen: dict[str, Any] = json.loads(machine.read("/run/found.json"))
    finally:
        machine.run("rm", "-r", folder)
        machine.run("systemctl", "daemon-reload")
        machine.attempt("systemctl", "restart", unit)
    return seen


@pytest.fixture(scope="module")
def runtime(probed: Device) -> dict[str, Any]:
    return found(probed, "littoral-runtime")


@pytest.fixture(scope="module")
def agent(probed: Device) -> dict[str, Any]:
    return found(probed, "littoral-agent")


def exposure(device: Device, unit: str) -> float:
    shown = device.machine.attempt("systemd-analyze", "security", "--no-pager", unit).stdout
    (line,) = (line for line in shown.splitlines() if "Overall exposure level" in line)
    return float(line.split(":")[1].split()[0])


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_runtime_cannot(runtime: dict[str, Any], what: str) -> None:
    assert runtime["tried"][what] != ""


@pytest.mark.parametrize("what", [what for what in FORBIDDEN if what not in OF_THE_AGENT])
def test_the_agent_cannot(agent: dict[str, Any], what: str) -> None:
    assert agent["tried"][what] != ""


def test_the_runtime_writes_nothing_that_lasts(runtime: dict[str, Any]) -> None:
    assert runtime["writable"] == []


def test_the_agent_writes_only_into_its_own_folder_and_temporary_ones(agent: dict[str, Any]) -> None:
    folders = {"/".join(folder.split("/")[:4]) for folder in agent["writable"]}
    assert folders <= {"/tmp", "/var/tmp", "/var/lib/littoral"}


def test_neither_daemon_sees_processes_of_others_or_disks(runtime: dict[str, Any], agent: dict[str, Any]) -> None:
    for seen in (runtime, agent):
        assert seen["others"] == []
        assert seen["devices"] == []
    assert runtime["interfaces"] == ["lo"]


def test_what_the_engine_needs_for_speed_is_readable(runtime: dict[str, Any]) -> None:
    assert runtime["tried"]["read /proc/cpuinfo"] == ""
    assert runtime["tried"]["read /sys/devices/system/cpu"] == ""


def test_limits_of_tasks_memory_and_processor_bite(
    probed: Device, runtime: dict[str, Any], agent: dict[str, Any]
) -> None:
    assert runtime["tasks"] < 512
    assert agent["tasks"] < 256
    assert agent["memory_mb"] < 384
    assert agent["processors"] < 1.2
    total = 1024 * int(probed.machine.run("sh", "-c", "awk '/MemTotal/ {print $2}' /proc/meminfo"))
    assert int(probed.machine.shown("littoral-runtime", "MemoryMax")) == pytest.approx(0.75 * total, rel=0.01)
    # the same limit, as on a smaller machine
    assert found(probed, "littoral-runtime", "MemoryMax=400M")["memory_mb"] < 400


def test_the_exposure_of_the_units_is_what_was_promised(probed: Device) -> None:
    machine = probed.machine
    assert exposure(probed, "littoral-runtime.service") <= 1.5
    assert exposure(probed, "littoral-agent.service") <= 1.5
    drop_in = "/etc/systemd/system/littoral-runtime.service.d/no-devices.conf"
    machine.run("install", "-D", "-m644", "/usr/share/doc/littoral-agent/no-devices.conf", drop_in)
    machine.run("systemctl", "daemon-reload")
    assert exposure(probed, "littoral-runtime.service") <= 1.2
    machine.run("systemctl", "restart", "littoral-runtime")
    assert probed.serving() == 1
    machine.run("rm", drop_in)
    machine.run("systemctl", "daemon-reload")
