"""The life of the packages on a device: installed, upgraded, downgraded, removed, purged, with a release on trial."""

from pathlib import Path

from bench.device import packages, tree
from bench.device.lab import Lab
from tests.device.conftest import Template
from tests.device.fleet import Device, wait

AWAY_MS = 2000
UNITS = (
    "littoral-runtime.socket",
    "littoral-runtime-control.socket",
    "littoral-runtime.service",
    "littoral-agent.service",
)


def active(device: Device) -> list[str]:
    shown = device.machine.attempt("systemctl", "is-active", *UNITS).stdout
    return [unit for unit, state in zip(UNITS, shown.split(), strict=True) if state == "active"]


def failed(device: Device) -> str:
    return device.machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend")


def version(device: Device) -> str:
    return device.machine.run("dpkg-query", "--show", "--showformat=${Version}", "littoral-agent")


def away_ms(device: Device) -> float:
    """The longest that the camera app waited for an answer."""
    return max(float(span[2]) for span in device.camera()["spans"])


def test_installed_and_not_enrolled_all_units_stay_quiet_and_nothing_fails(room: Lab, debs: dict[str, Path]) -> None:
    machine = room.machine("blank")
    machine.boot()
    device = Device(machine)
    device.install(debs)
    assert active(device) == []
    assert machine.reboot() == "running"
    assert active(device) == []
    assert failed(device) == ""
    said = machine.attempt("littoral-agent", "status")
    assert said.status == 1
    assert "enroll" in said.stderr
    machine.poweroff()


def test_an_enrolled_device_serves_after_a_reboot_without_a_server(device: Device) -> None:
    assert device.machine.reboot() == "running"
    device.answered_by(1)
    assert active(device) == list(UNITS)


def test_an_upgrade_and_a_downgrade_lose_no_question_and_a_release_on_trial_goes_on(
    device: Device, template: Template, debs: dict[str, Path], newer: dict[str, Path]
) -> None:
    machine = device.machine
    device.change("healthy_s = 5", "healthy_s = 15")
    device.insert(template.stick)
    machine.run("littoral-agent", "install", "/root/stick")
    device.answered_by(2)

    for wanted in (newer, debs):
        before = device.camera()["answers"]
        machine.install(*(wanted[name] for name in packages.DEVICE))
        assert version(device) == wanted["littoral-agent"].name.split("_")[1]
        device.answered_by(2)
        explained = device.explain()
        assert (explained["stage"], explained["blocked"]) == ("trial", [])
        assert device.camera()["answers"] > before

    wait("the commit", lambda: device.explain()["stage"] == "committed")
    # until the agent is back the runtime alone serves what was committed
    device.undisturbed(1, 2, 1, 2, 1, 2)
    assert away_ms(device) < AWAY_MS
    assert failed(device) == ""


def test_removed_it_ends_and_keeps_its_state_and_purged_nothing_is_left(device: Device, debs: dict[str, Path]) -> None:
    machine = device.machine
    machine.run("apt-get", "remove", "--yes", "littoral-agent")
    assert active(device) == []
    assert machine.attempt("pgrep", "-f", "littoral-(agent|runtime)").status != 0
    assert machine.attempt("test", "-e", "/run/littoral/query.sock").status != 0
    assert machine.run("ls", "/var/lib/littoral/identity")

    device.install(debs)
    device.answered_by(1)
    assert active(device) == list(UNITS)

    machine.run("apt-get", "purge", "--yes", "littoral-agent", "python3-littoral")
    left = machine.run(
        "find", "/", "-xdev", "-name", "*littoral*", "-not", "-path", "/proc/*", "-not", "-path", "/root/*"
    )
    assert left.split() == []
    assert machine.attempt("systemctl", "list-unit-files", "littoral*", "--no-legend").stdout == ""
    assert failed(device) == ""


def test_what_somebody_changed_in_etc_stays_through_an_upgrade(
    room: Lab, debs: dict[str, Path], newer: dict[str, Path]
) -> None:
    machine = room.machine("changed", packages=tree.SERVER)
    machine.boot()
    machine.install(*(debs[name] for name in packages.SERVER))
    options = 'OPTIONS="--listen 127.0.0.1:9000"\n'
    drop_in = "/etc/systemd/system/littoral-fleet.service.d/own.conf"
    machine.write("/etc/default/littoral-fleet", options)
    machine.write(drop_in, "[Service]\nNice=5\n")
    machine.install(*(newer[name] for name in packages.SERVER))
    assert machine.read("/etc/default/littoral-fleet") == options
    assert machine.shown("littoral-fleet", "Nice") == "5"
    machine.poweroff()
