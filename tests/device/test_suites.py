"""Debian 13 (trixie): the same packages, another Python and another systemd, which boots here with cgroup version 1."""

from pathlib import Path

from bench.device.lab import Lab
from tests.device.fleet import Device, Server, wait


def test_on_debian_13_a_device_installs_joins_and_answers_by_its_first_release(
    room: Lab, server: Server, debs: dict[str, Path]
) -> None:
    machine = room.machine("trixie", "trixie")
    device = Device(machine)
    assert machine.boot() == "running"
    device.install(debs)
    assert machine.run("python3", "--version").startswith("Python 3.13")
    device.enrol(server)
    wait("a first release", device.serving)
    device.start_camera()
    device.answered_by(device.serving())
    assert machine.reboot() == "running"
    device.answered_by(device.serving())
    assert machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend") == ""
    engine = machine.run("littoral-agent", "status")
    assert "engine litert" in engine
    machine.poweroff()
