"""The power is cut in the middle of an upgrade: what was not synced is lost, and the device goes on serving."""

import time
from pathlib import Path

import pytest

from bench.device import packages
from tests.device.fleet import Device

MOMENTS = (
    ("Unpacking python3-littoral", 0.0),
    ("Preparing to unpack .*littoral-agent", 0.05),
    ("Unpacking littoral-agent", 0.0),
    ("Unpacking littoral-agent", 0.4),
    ("Setting up littoral-agent", 0.0),
    ("Setting up littoral-agent", 0.4),
)
"""What dpkg says, and seconds after it."""


@pytest.mark.parametrize(("said", "delay_s"), MOMENTS)
def test_after_a_power_cut_in_the_middle_of_an_upgrade_the_device_serves_and_the_upgrade_can_be_finished(
    device: Device, newer: dict[str, Path], said: str, delay_s: float
) -> None:
    machine = device.machine
    paths = [f"/root/{newer[name].name}" for name in packages.DEVICE]
    for name, path in zip(packages.DEVICE, paths, strict=True):
        machine.write(path, newer[name].read_bytes())
    machine.run("sync")
    with machine.start("sh", "-c", f"dpkg -i {' '.join(paths)} > /run/said 2>&1"):
        machine.run("sh", "-c", f"until grep -q '^{said}' /run/said; do sleep 0.01; done")
        time.sleep(delay_s)
        machine.power_cut()

    machine.boot()
    device.answered_by(1)
    machine.run("dpkg", "-i", *paths)
    assert machine.run("dpkg", "--audit") == ""
    shown = machine.run("dpkg-query", "--show", "--showformat=${db:Status-Abbrev}${Version} ", *packages.DEVICE)
    assert shown.split() == ["ii", "9.0", "ii", "9.0"]
    device.answered_by(1)
    assert device.camera()["lost"] == 0
