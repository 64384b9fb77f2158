"""The first boot of a device, with as little as it may have: no network, no clock, only /var writable.

A machine of the lab has the host's clock and cannot set it: a time namespace shifts the other clocks only. So it is the
two daemons, and the command that enrols, that live in 1970 here (libfaketime), while systemd does not. A real systemd
would set a clock of 1970 to the day it was built.
"""

from pathlib import Path

from bench.device.lab import Lab
from tests.device.fleet import Device, Server, wait

FAKETIME = (
    "LD_PRELOAD=/usr/$LIB/faketime/libfaketime.so.1",
    "FAKETIME=@1970-01-01 00:00:10",
    "DONT_FAKE_MONOTONIC=1",
    "FAKETIME_DISABLE_SHM=1",
)
IN_1970 = "[Service]\n" + "".join(f'Environment="{setting}"\n' for setting in FAKETIME)


def prepare_for_a_read_only_root(device: Device) -> None:
    """As docs/install.md says: systemd itself needs a /tmp that can be written."""
    device.machine.run("systemctl", "enable", "/usr/share/systemd/tmp.mount")
    device.machine.poweroff()


def set_to_1970(device: Device) -> None:
    """From its next boot on."""
    machine = device.machine
    said = machine.run("env", *FAKETIME, "python3", "-c", "import time; print(time.time())")
    assert float(said) < 60
    for unit in ("littoral-agent", "littoral-runtime"):
        machine.write(f"/etc/systemd/system/{unit}.service.d/clock.conf", IN_1970)


def test_with_no_network_no_clock_and_only_var_writable_an_enrolled_device_serves(room: Lab, device: Device) -> None:
    machine = device.machine
    set_to_1970(device)
    prepare_for_a_read_only_root(device)
    room.network.unplug(machine.address)
    assert machine.boot(read_only=True) == "running"
    device.answered_by(1)
    assert machine.shown("littoral-agent", "ActiveState") == "active"
    assert machine.attempt("touch", "/etc/here").status != 0

    # not only the first time
    machine.power_cut()
    machine.boot(read_only=True)
    device.answered_by(1)


def test_a_blank_image_that_can_write_only_var_joins_without_a_clock_and_takes_its_first_release(
    room: Lab, server: Server, debs: dict[str, Path]
) -> None:
    machine = room.machine("blank-image")
    device = Device(machine)
    machine.boot()
    device.install(debs)
    set_to_1970(device)
    prepare_for_a_read_only_root(device)

    assert machine.boot(read_only=True) == "running"
    device.enrol(server, environment=FAKETIME)
    wait("a first release", device.serving)
    reported = server.ask("devices")
    (online,) = [one["online"] for one in reported if one["id"] == machine.name]
    assert online
    assert machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend") == ""
    machine.poweroff()
