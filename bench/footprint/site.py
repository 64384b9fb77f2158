"""What is measured: a fleet server and devices on installed packages, each a machine of its own (bench/device)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.device import tree
from bench.device.lab import Lab
from bench.device.machine import Machine
from bench.models import Model
from tests.device.fleet import CONFIG, KEYS, Device, Server, wait

SETTINGS = """
[updates]
jitter_s = 0

[probation]
healthy_s = 5
answers = 5
"""
"""Added to each agent.toml: a short probation. All that is measured at rest is as it comes."""

PROBE = Path(__file__).with_name("probe.py")
BOOT_UNIT = """
[Service]
ExecStart=/bin/sh -c 'python3 /opt/probe.py boot {model} 1 >/run/first.new && mv /run/first.new /run/first-answer'
[Install]
WantedBy=multi-user.target
"""


class Site:
    """One server; devices are added."""

    def __init__(self, room: Lab, debs: dict[str, Path]) -> None:
        self._room = room
        self._debs = debs
        machine = room.machine("server", packages=tree.SERVER)
        machine.boot()
        self.server = Server(machine)
        self.server.install(debs)

    def device(self, name: str) -> Device:
        """An enrolled device that is connected."""
        device = Device(self._room.machine(name))
        device.machine.boot()
        device.install(self._debs)
        device.machine.write("/opt/probe.py", PROBE.read_bytes())
        device.enrol(self.server, SETTINGS)
        wait("the connection to the broker", lambda: status(device.machine).get("connected"))
        return device

    def offer(self, model: Model, device: Device) -> Callable[[], bool]:
        """Publishes a model under its own name, and offers it to one device; what says whether it is committed."""
        server, name = self.server, model.name
        server.machine.write(f"/root/{name}.tflite", model.content)
        build = ("bundle", "build", "--model", f"/root/{name}.tflite", "--name", name, "--release", "1")
        server.command(*build, "--version", "1.0", "--no-delta", "--out", f"/root/{name}")
        server.command("publish", f"/root/{name}", "--keys", KEYS)
        server.command("rollout", "start", name, "--release", "1", "--to", device.machine.name)
        return lambda: _stage(device.machine, name) == "committed"


def status(machine: Machine) -> dict[str, Any]:
    """What the agent says of itself."""
    return dict(_told(machine)["agent"] or {})


def probe(machine: Machine, command: str, model: str, times: int) -> Any:
    return json.loads(machine.run("python3", "/opt/probe.py", command, model, str(times), timeout_s=600.0))


def boot_s(machine: Machine, model: str) -> float:
    """Boots again; seconds from the start of its first process to the first answer."""
    machine.write("/etc/systemd/system/first-answer.service", BOOT_UNIT.format(model=model))
    machine.run("systemctl", "enable", "first-answer")
    machine.poweroff()
    began = time.time()
    machine.boot()
    found = wait("the first answer", lambda: machine.attempt("cat", "/run/first-answer").stdout)
    machine.run("systemctl", "disable", "first-answer")
    return float(found) - began


def _stage(machine: Machine, model: str) -> str:
    found: str = _told(machine)["models"].get(model, {}).get("stage", "")
    return found


def _told(machine: Machine) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(machine.run("littoral-agent", "status", "--json", "--config", CONFIG))
    return told
