"""Daemons that are killed, hang or are stopped: what was committed is served, and nothing stays down for good."""

import time

import pytest

from tests.device.conftest import Template
from tests.device.fleet import Device, wait

SOON = "/etc/systemd/system/littoral-retry@.timer.d/soon.conf"


@pytest.fixture
def on_trial(device: Device, template: Template) -> Device:
    """A device whose release 2 is on trial for a long time; a unit that reached its limit rests for seconds only."""
    device.machine.write(SOON, "[Timer]\nOnActiveSec=\nOnActiveSec=5\n")
    device.machine.run("systemctl", "daemon-reload")
    device.change("healthy_s = 5", "healthy_s = 600")
    device.insert(template.stick)
    device.machine.run("littoral-agent", "install", "/root/stick")
    device.answered_by(2)
    return device


def pid(device: Device, unit: str) -> int:
    return int(device.machine.shown(unit, "MainPID"))


def send(device: Device, number: str, process: int) -> bool:
    """Whether the signal could be sent."""
    return device.machine.attempt("sh", "-c", f"kill -{number} {process}").status == 0


def kill_until_it_is_given_up(device: Device, unit: str) -> int:
    """SIGKILL whenever it has started, until the service manager starts it no more; how often that was."""
    killed, until = 0, time.monotonic() + 90
    while (state := device.machine.shown(unit, "ActiveState")) != "failed":
        assert time.monotonic() < until, "it never reached its limit"
        if state == "active":
            time.sleep(0.3)  # it has something on trial to answer with
            killed += send(device, "KILL", pid(device, unit))
        time.sleep(0.05)
    return killed


def everything_runs(device: Device) -> bool:
    units = ("littoral-runtime.service", "littoral-agent.service", "littoral-runtime.socket")
    active = device.machine.attempt("systemctl", "is-active", *units).stdout.split() == ["active"] * len(units)
    return active and device.machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend") == ""


@pytest.mark.parametrize("unit", ["littoral-agent.service", "littoral-runtime.service"])
def test_after_a_loop_of_crashes_the_baseline_is_served_and_nothing_is_left_failed(on_trial: Device, unit: str) -> None:
    assert kill_until_it_is_given_up(on_trial, unit) >= 5
    wait("all units", lambda: everything_runs(on_trial))
    on_trial.answered_by(1)
    explained = on_trial.explain()
    # it proves nothing about the release
    assert (explained["stage"], explained["last"]["outcome"], explained["blocked"]) == ("committed", "refused", [])
    assert {span[0] for span in on_trial.camera()["spans"]} == {1, 2}


def test_what_somebody_disabled_while_it_rests_stays_down(on_trial: Device) -> None:
    machine, unit = on_trial.machine, "littoral-agent.service"
    kill_until_it_is_given_up(on_trial, unit)
    machine.run("systemctl", "disable", unit)
    wait(
        "the retry",
        lambda: machine.shown("littoral-retry@littoral-agent.service", "ConditionTimestampMonotonic") != "0",
    )
    wait("its end", lambda: machine.shown("littoral-retry@littoral-agent.service", "ActiveState") == "inactive")
    assert machine.shown(unit, "ActiveState") == "failed"
    on_trial.answered_by(1)


@pytest.mark.parametrize("unit", ["littoral-agent.service", "littoral-runtime.service"])
def test_a_daemon_that_hangs_is_ended_by_the_watchdog_and_started_again(device: Device, unit: str) -> None:
    machine = device.machine
    machine.write(f"/etc/systemd/system/{unit}.d/watchdog.conf", "[Service]\nWatchdogSec=2\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", unit)
    hanging = pid(device, unit)
    assert send(device, "STOP", hanging)
    wait("another process", lambda: pid(device, unit) not in (0, hanging))
    assert "Watchdog timeout" in machine.journal(unit)
    wait("all units", lambda: everything_runs(device))
    device.answered_by(1)
    device.undisturbed(1)


def test_a_runtime_that_was_stopped_is_started_by_who_asks(device: Device) -> None:
    before = pid(device, "littoral-runtime.service")
    device.machine.run("systemctl", "stop", "littoral-agent.service", "littoral-runtime.service")
    device.answered_by(1)
    assert pid(device, "littoral-runtime.service") not in (0, before)
    device.undisturbed(1)


def test_a_worker_that_is_killed_is_replaced(device: Device) -> None:
    stats = device.machine.run("sh", "-c", "cat /sys/fs/cgroup/*/system.slice/littoral-runtime.service/cgroup.procs")
    (worker,) = set(map(int, stats.split())) - {pid(device, "littoral-runtime.service")}
    assert send(device, "KILL", worker)
    device.answered_by(1)
    assert everything_runs(device)


def test_purged_while_a_unit_rests_nothing_is_left_failed_and_nothing_comes_back(on_trial: Device) -> None:
    machine = on_trial.machine
    machine.run("rm", SOON)
    machine.run("systemctl", "daemon-reload")
    kill_until_it_is_given_up(on_trial, "littoral-runtime.service")
    machine.run("apt-get", "purge", "--yes", "littoral-agent")
    assert machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "littoral*") == ""
