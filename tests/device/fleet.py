"""A fleet on installed packages: a server and devices, each a machine of a lab, used by the documented commands."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bench.device import packages, tree
from bench.device.lab import Lab
from bench.device.machine import Machine
from examples.demo import assets
from examples.demo.fleet import CARD, MODEL
from examples.demo.stage import GOLDEN_SUBJECTS

PATIENCE_S = 90.0
POLL_S = 0.2
CONFIG = "/var/lib/littoral/agent.toml"
PASSPHRASE = "/root/passphrase"
KEYS = "/root/littoral-keys"
DATA = "/var/lib/littoral-fleet"
CAMERA = Path(__file__).with_name("camera.py")
SETTINGS = """
[updates]
jitter_s = 0
retry_first_s = 0.5

[probation]
healthy_s = 5
answers = 50
canary_s = 1
"""
"""Added to each agent.toml: a short probation."""

T = TypeVar("T")


def wait(what: str, there: Callable[[], T | None], patience_s: float = PATIENCE_S) -> T:
    """What `there` gives, once it is something true. An AssertionError where that does not come."""
    until = time.monotonic() + patience_s
    while not (found := there()):
        assert time.monotonic() < until, f"{what} did not come within {patience_s:.0f} s"
        time.sleep(POLL_S)
    return found


@dataclass(frozen=True, slots=True)
class Server:
    """A fleet server, and the operator's commands on the same machine."""

    machine: Machine

    def install(self, debs: dict[str, Path]) -> None:
        """As docs/install.md says."""
        machine = self.machine
        machine.install(*(debs[name] for name in packages.SERVER))
        machine.write(PASSPHRASE, "correct horse battery staple\n", 0o600)
        self._operate("littoral-fleet", "init", DATA, "--keys", KEYS)
        listen = f"--listen 0.0.0.0:8080 --broker-listen 0.0.0.0:8883 --public-host {machine.address}"
        machine.write("/etc/default/littoral-fleet", f'OPTIONS="{listen}"\n')
        machine.run("systemctl", "restart", "littoral-fleet")

    @property
    def url(self) -> str:
        return f"http://{self.machine.address}:8080"

    def command(self, *words: str) -> str:
        """A command of the operator; what it prints."""
        token = self.machine.read(f"{DATA}/admin-token").strip()
        return self._operate("env", f"LITTORAL_SERVER={self.url}", f"LITTORAL_TOKEN={token}", "littoral-fleet", *words)

    def ask(self, *words: str) -> Any:
        return json.loads(self.command(*words, "--json"))

    def prepare(self) -> None:
        """Card, labels and inputs for golden vectors, as `bundle build` takes them."""
        found = assets.ensure()
        side = assets.SIDE_PX
        pictures = [picture for subject, picture in assets.frames(found) if subject in GOLDEN_SUBJECTS]
        golden = io.BytesIO()
        np.savez(golden, np.stack([np.frombuffer(one, np.int8).reshape(side, side, 3) for one in pictures[:8]]))
        self.machine.write("/root/card.toml", CARD)
        self.machine.write("/root/labels.txt", "".join(f"{label}\n" for label in found.labels))
        self.machine.write("/root/golden-inputs.npz", golden.getvalue())

    def publish(self, release: int, model: bytes, golden: bool = True) -> None:
        self.machine.write(f"/root/{release}.tflite", model)
        build = ["bundle", "build", "--model", f"/root/{release}.tflite", "--name", MODEL, "--release", str(release)]
        build += ["--version", f"1.{release}", "--card", "/root/card.toml", "--labels", "/root/labels.txt"]
        build += ["--golden-inputs", "/root/golden-inputs.npz"] if golden else []
        self.command(*build, "--no-delta", "--out", f"/root/bundle-{release}")
        self.command("publish", f"/root/bundle-{release}", "--keys", KEYS)

    def roll_out(self, release: int) -> None:
        self.command("rollout", "start", MODEL, "--release", str(release), "--to", "all")

    def states(self) -> dict[str, str]:
        """How each device stands in the newest rollout."""
        (rollout,) = self.ask("rollout", "status", MODEL)
        return {device["id"]: device["state"] for device in rollout["devices"]}

    def follow(self, ends: dict[str, str]) -> None:
        """Waits until each device of the newest rollout stands at its end."""
        wait(f"{ends}", lambda: self.states() == ends)

    def export(self, release: int, folder: Path) -> Path:
        """A folder from which a device takes this release with no network, as a tar file in `folder`."""
        stick = f"/root/stick-{release}"
        self.command("export", stick, "--model", MODEL, "--release", str(release))
        (folder / f"stick-{release}.tar").write_bytes(self.machine.attempt("tar", "-C", stick, "-cf", "-", ".").output)
        return folder / f"stick-{release}.tar"

    def _operate(self, *words: str) -> str:
        return self.machine.run("env", f"LITTORAL_PASSPHRASE_FILE={PASSPHRASE}", *words)


@dataclass(frozen=True, slots=True)
class Device:
    """A device, and a camera app on it."""

    machine: Machine

    def install(self, debs: dict[str, Path]) -> None:
        self.machine.install(*(debs[name] for name in packages.DEVICE))

    def enrol(self, server: Server, settings: str = SETTINGS, environment: Sequence[str] = ()) -> None:
        token = server.command("token", "create").strip()
        enroll = ("env", *environment, "littoral-agent", "enroll", "--server", server.url, "--token", token)
        self.machine.run(*enroll, "--name", self.machine.name, "--tag", "site=north")
        self.machine.run("tee", "-a", CONFIG, stdin=settings.encode())
        self.machine.run("systemctl", "restart", "littoral-agent")

    def change(self, setting: str, other: str) -> None:
        """Changes a line of its settings, and has the agent read them."""
        self.machine.run("sed", "-i", f"s/^{setting}$/{other}/", CONFIG)
        assert other in self.machine.read(CONFIG)
        self.machine.run("systemctl", "restart", "littoral-agent")

    def insert(self, stick: Path) -> None:
        """A folder with releases is at /root/stick."""
        self.machine.run("mkdir", "/root/stick")
        self.machine.run("tar", "-C", "/root/stick", "-xf", "-", stdin=stick.read_bytes())

    def start_camera(self) -> None:
        """A camera app begins to ask, as a user of its own in the group `littoral`."""
        machine = self.machine
        machine.run("systemd-sysusers", "--inline", "u camera - -", "m camera littoral")
        machine.write("/opt/camera.py", CAMERA.read_bytes())
        machine.write("/opt/pictures", b"".join(picture for _, picture in assets.frames(assets.ensure())))
        machine.write("/etc/systemd/system/camera.service", CAMERA_UNIT)
        machine.run("systemctl", "enable", "--now", "camera")

    def camera(self) -> dict[str, Any]:
        """What the camera app has counted since it began."""
        counted: dict[str, Any] = json.loads(self.machine.read("/run/camera/status"))
        return counted

    def undisturbed(self, *order: int) -> None:
        """Every question of the camera app was answered, by these releases in this order."""
        counted = self.camera()
        assert counted["lost"] == 0, counted
        assert [span[0] for span in counted["spans"]] == list(order), counted

    def answered_by(self, release: int) -> None:
        """Waits until the camera app has an answer of this release, and no other since, after now."""

        def there() -> bool:
            done = self.machine.attempt("cat", "/run/camera/status")
            if done.status:
                return False
            counted = json.loads(done.stdout)
            return bool(counted["answers"] > before and counted["spans"] and counted["spans"][-1][0] == release)

        before = self._answers()
        wait(f"an answer of release {release}", there)

    def explain(self) -> dict[str, Any]:
        explained: dict[str, Any] = json.loads(self.machine.run("littoral-agent", "explain", MODEL, "--json"))
        return explained

    def serving(self) -> int:
        """The release of the model that the runtime serves; 0 where it serves none."""
        models = json.loads(self.machine.run("littoral", "models", "--json"))
        return next((int(entry["release"]) for entry in models if entry["model"] == MODEL), 0)

    def _answers(self) -> int:
        done = self.machine.attempt("cat", "/run/camera/status")
        return int(json.loads(done.stdout)["answers"]) if done.status == 0 else 0


CAMERA_UNIT = f"""
[Service]
ExecStart=/usr/bin/python3 /opt/camera.py {MODEL} /opt/pictures /run/camera/status
User=camera
RuntimeDirectory=camera
[Install]
WantedBy=multi-user.target
"""


def server(room: Lab, name: str, debs: dict[str, Path]) -> Server:
    """A server that runs, has keys and a fleet, and no device."""
    machine = room.machine(name, packages=tree.SERVER)
    machine.boot()
    made = Server(machine)
    made.install(debs)
    made.prepare()
    return made
