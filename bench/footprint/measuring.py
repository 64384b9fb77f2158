"""The order in which a device's footprint is measured: idle, a model on trial, serving, started, booted."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.device import packages
from bench.device.lab import Lab
from bench.device.machine import Machine
from bench.footprint import flash, site
from bench.footprint.processes import UNITS, Peak, held, told, total_mb
from bench.footprint.site import Site, probe
from bench.measures import Reading
from bench.models import Model
from tests.device.fleet import Device, wait

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
FOLDERS = ("/usr/lib/littoral", "/usr/lib/python3/dist-packages/littoral")
ARCHITECTURES = ("amd64", "arm64", "armhf")
SETTLED_S = 8.0  # from the connection: the start's pages were given back


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, and how often. rest_s: after which what a busy time needed is forgotten (agent/lean.py)."""

    rest_s: float = 70.0
    idle_s: float = 120.0
    questions: int = 200
    starts: int = 10
    large: bool = True


QUICK = Plan(rest_s=65.0, idle_s=15.0, questions=5, starts=3, large=False)


def measure(room: Lab, debs: dict[str, Path], camera: Model, large: Model, plan: Plan) -> dict[str, Reading]:
    """camera: 96 x 96; large: 224 x 224."""
    say(f"a server and a device are installed; load of the machine before: {os.getloadavg()[0]:.2f}")
    place = Site(room, debs)
    readings = sizes(debs)
    device = place.device("small")
    readings |= installed(device.machine)
    time.sleep(SETTLED_S)
    found = held(device.machine.name)
    readings |= {"pss-idle": Reading(total_mb(found), told(found))}
    without_us = alone(device.machine, plan)
    idle = flash.during(device.machine, lambda: time.sleep(plan.idle_s))
    readings |= {"flash-idle": flash_reading(idle, without_us)}
    say(f"{camera.source} is offered, tried and served")
    readings |= served(place, device, camera, plan, without_us)
    say("the runtime is started again and again, and the machine once")
    readings |= started(device.machine, camera, plan)
    if plan.large:
        say(f"{large.source} is served by another device")
        device.machine.poweroff()  # it would share the pages of its files with the other
        readings |= {"pss-224": at_rest(place, place.device("large"), large, plan)}
    return readings


def alone(machine: Machine, plan: Plan) -> flash.Window:
    """What the machine writes while our units are stopped."""
    machine.run("systemctl", "stop", *UNITS)
    try:
        return flash.during(machine, lambda: time.sleep(plan.idle_s))
    finally:
        machine.run("systemctl", "start", *UNITS)
        time.sleep(SETTLED_S)


def served(place: Site, device: Device, model: Model, plan: Plan, without_us: flash.Window) -> dict[str, Reading]:
    machine = device.machine
    with Peak(machine.name).watched() as peak:
        rests = at_rest(place, device, model, plan)
    asked = flash.during(machine, lambda: probe(machine, "ask", model.name, max(plan.questions, int(plan.idle_s))))
    return {
        "pss-trial": Reading(total_mb(peak.highest), told(peak.highest)),
        "pss-96": rests,
        "flash-serving": flash_reading(asked, without_us),
    }


def at_rest(place: Site, device: Device, model: Model, plan: Plan) -> Reading:
    """PSS of a device that took a model in, serves it, and was asked some time ago."""
    committed = place.offer(model, device)
    wait("the trial", lambda: answers(device.machine, model))
    wait("the commit", lambda: answers(device.machine, model) and committed())
    probe(device.machine, "ask", model.name, 3)
    time.sleep(plan.rest_s)
    found = held(device.machine.name)
    return Reading(total_mb(found), f"{model.source}: {told(found)}")


def answers(machine: Machine, model: Model) -> bool:
    return machine.attempt("python3", "/opt/probe.py", "ask", model.name, "1").status == 0


def started(machine: Machine, model: Model, plan: Plan) -> dict[str, Reading]:
    readings = {}
    for name in ("start", "activation"):
        found = sorted(probe(machine, name, model.name, plan.starts))
        readings[name] = Reading(statistics.median(found), f"{found[0]:.0f} to {found[-1]:.0f} ms, {len(found)} times")
    return readings | {"boot": Reading(site.boot_s(machine, model.name), "a machine without kernel and firmware")}


def sizes(debs: dict[str, Path], dist: Path = DIST) -> dict[str, Reading]:
    """Of the packages that were built here; of other architectures where `./dev deb` left them."""
    built = [debs[name] for name in packages.DEVICE]
    readings = {f"deb-{architecture}": deb(built) for architecture in ARCHITECTURES if fits(built[-1], architecture)}
    for architecture in ARCHITECTURES:
        found = [path for name in packages.DEVICE for path in dist.glob(f"{name}_*_*.deb") if fits(path, architecture)]
        if len(found) == len(packages.DEVICE) and f"deb-{architecture}" not in readings:
            readings[f"deb-{architecture}"] = deb(found)
    return readings


def fits(package: Path, architecture: str) -> bool:
    return package.stem.rpartition("_")[2] in (architecture, "all")


def deb(found: list[Path]) -> Reading:
    parts = ", ".join(f"{path.name.partition('_')[0]} {path.stat().st_size / 1e6:.2f}" for path in found)
    return Reading(sum(path.stat().st_size for path in found) / 1e6, parts)


def installed(machine: Machine) -> dict[str, Reading]:
    lines = machine.run("du", "-sk", *FOLDERS).splitlines()
    parts = {folder: int(size) * 1024 / 1e6 for size, folder in (line.split() for line in lines)}
    return {"installed": Reading(sum(parts.values()), ", ".join(f"{where} {mb:.1f}" for where, mb in parts.items()))}


def flash_reading(with_us: flash.Window, without_us: flash.Window) -> Reading:
    ours, theirs = (f"{each.written_bytes / 1e3:.0f} kB in {each.seconds:.0f} s" for each in (with_us, without_us))
    return Reading(flash.ours_mb(with_us, without_us), f"{ours}, without us {theirs}")


def say(text: str, write: Callable[[str], object] = sys.stderr.write) -> None:
    write(f"footprint: {text}\n")
    sys.stderr.flush()
