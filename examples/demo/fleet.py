"""The demo's fleet: a server with its broker, three devices and a camera app, in one folder, on free loopback ports.

Everything is done by the commands an operator would use; what is read back comes from where an operator would look.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from examples.demo.processes import Child, DemoError, run
from examples.demo.terminal import Terminal
from littoral import client

MODEL = "classifier"
DEVICES = ("edge-1", "edge-2", "edge-3")
ROOT = Path(__file__).resolve().parents[2]
POLL_S = 0.15
PATIENCE_S = 60.0
"""For whatever takes a second or two on an idle machine."""

CHUNK_BYTES = 4096
SETTINGS = """
[updates]
jitter_s = 0
max_bytes_per_s = 50000
retry_first_s = 0.5

[probation]
healthy_s = 5
answers = 50
canary_s = 1

[reports]
metrics_s = 5
"""
"""Added to each agent.toml: small chunks and a slow link, so that a transfer can be watched, and a short probation."""

WITHOUT_RING = """
[rehearsal]
ring = false
"""
"""Added for the last device: it keeps no inputs, so no release is compared there before it answers."""

CARD = """
[[input]]
kind = "image"
colour = "rgb"
mean = "128"
scale = "0.0078125"

[[output]]
decoder = "classification"

[limits]
p95_us = 200000
memory_bytes = 67108864
"""

T = TypeVar("T")


@dataclass(slots=True)
class Device:
    """One device: a folder, and the two daemons that run on it."""

    name: str
    folder: Path
    runtime: Child
    agent: Child

    @property
    def socket(self) -> Path:
        return self.folder / "query.sock"

    def kept(self) -> int:
        """How many of the inputs it was asked are kept there."""
        (entry,) = client.models(self.socket)
        return int(entry["kept"])

    def stats(self) -> dict[str, Any]:
        """Counters of the worker that answers, from the runtime."""
        found = client.stats(self.socket)
        return found[MODEL]


class Fleet:
    """Everything that runs, in `folder`."""

    def __init__(self, folder: Path, terminal: Terminal) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.devices: dict[str, Device] = {}
        self.children: list[Child] = []
        self.terminal = terminal
        self._environment = dict(os.environ)
        self._server = ""
        self._token = ""

    @property
    def page(self) -> str:
        """The page's address, with the token that opens it."""
        return f"{self._server}/?token={self._token}"

    @property
    def access(self) -> str:
        """The options by which `littoral-fleet` asks this server."""
        return f"--server {self._server} --token {self._token}"

    # --- commands ---------------------------------------------------------------------------------------------

    def command(self, *words: str, wanted: int = 0, quiet: bool = False, quote: bool = False) -> str:
        """Runs a command in the demo's folder; its stdout. It is shown, and with `quote` all it prints, too."""
        if not quiet:
            self.terminal.command(words)
        stdout, stderr = run(words, self._environment, self.folder, wanted)
        if quote:
            self.terminal.quote(stdout + stderr)
        return stdout

    def ask(self, *words: str, wanted: int = 0) -> Any:
        """What a command with --json says."""
        return json.loads(self.command(*words, "--json", wanted=wanted, quiet=True))

    def found(self) -> None:
        """`init`: the fleet, and the operator's keys under a passphrase."""
        passphrase = self.folder / "passphrase"
        passphrase.touch(mode=0o600)
        passphrase.write_text(secrets.token_urlsafe(24) + "\n")
        self._environment["LITTORAL_PASSPHRASE_FILE"] = str(passphrase)
        self.command("littoral-fleet", "init", "data", "--keys", "keys")

    def serve(self, *options: str) -> str:
        """Starts the server and waits until it answers; the address of its page."""
        command = ["littoral-fleet", "serve", "--data", "data", "--listen", "127.0.0.1:0"]
        command += ["--broker-listen", "127.0.0.1:0", *options]
        self.terminal.command(command)
        server = self._start("server", command)
        self._token = (self.data / "admin-token").read_text().strip()
        whereabouts = self.data / "server.json"
        self.wait("the fleet server", whereabouts.exists, server)
        self._server = str(json.loads(whereabouts.read_text())["url"])
        self._environment.update(LITTORAL_SERVER=self._server, LITTORAL_TOKEN=self._token)
        self.wait("the fleet server's page", self._answers, server)
        return self.page

    def enrol(self, names: Sequence[str], settings: str = SETTINGS) -> None:
        """Lets devices join by a token each, and starts their daemons."""
        with ThreadPoolExecutor(len(names)) as pool:
            tokens = list(pool.map(lambda _: self._new_token(), names))
            self.terminal.command(["littoral-fleet", "token", "create"])
            enroll = ("littoral-agent", "enroll", "--server", self._server, "--token")
            self.terminal.command([*enroll, f"{tokens[0][:6]}...", "--state", names[0], "--name", names[0]])
            joining = [
                pool.submit(self.command, *enroll, token, "--state", name, "--name", name, quiet=True)
                for name, token in zip(names, tokens, strict=True)
            ]
            for done in joining:
                done.result()
        self.terminal.command(["littoral-runtime", "run", "--config", f"{names[0]}/agent.toml"])
        self.terminal.command(["littoral-agent", "run", "--config", f"{names[0]}/agent.toml"])
        for name in names:
            with (self.folder / name / "agent.toml").open("a") as file:
                file.write(settings + (WITHOUT_RING if name == names[-1] else ""))
            runtime, agent = (self._start_daemon(program, name) for program in ("runtime", "agent"))
            self.devices[name] = Device(name, self.folder / name, runtime, agent)

    def start_agent(self, device: Device) -> None:
        """Starts the agent of a device again."""
        self.children.remove(device.agent)
        device.agent = self._start_daemon("agent", device.name)

    def start_camera(self) -> None:
        sockets = [f"{device.name}={device.socket}" for device in self.devices.values()]
        command = ["python", "-m", "examples.demo.camera", "--model", MODEL]
        command += ["--status", str(self.folder / "camera.json"), *sockets]
        self.terminal.command([*command[:5], "--status", "camera.json", f"{DEVICES[0]}=.../query.sock ..."])
        camera = self._start("camera", command, ROOT)
        self.wait("the camera app", (self.folder / "camera.json").exists, camera)

    def _start_daemon(self, program: str, name: str) -> Child:
        command = [f"littoral-{program}", "run", "--config", f"{name}/agent.toml"]
        return self._start(f"{name} {program}", command)

    def _start(self, name: str, command: Sequence[str], cwd: Path | None = None) -> Child:
        log = self.folder / f"{name.replace(' ', '-')}.log"
        child = Child(name, command, log, self._environment, cwd or self.folder)
        self.children.append(child)
        return child

    def _new_token(self) -> str:
        return self.command("littoral-fleet", "token", "create", quiet=True).strip()

    # --- what can be seen -------------------------------------------------------------------------------------

    def get(self, path: str) -> Any:
        """The fleet server's answer at /api/v1/`path`."""
        headers = {"Authorization": f"Bearer {self._token}"}
        request = urllib.request.Request(f"{self._server}/api/v1/{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def rollout(self) -> dict[str, Any]:
        """The newest rollout of the demo's model."""
        newest: dict[str, Any] = self.get(f"rollouts?model={MODEL}")[0]
        return newest

    def events(self, kind: str, release: int) -> list[dict[str, Any]]:
        """What the server was told of this kind about this release, the oldest first."""
        found = self.get(f"events?model={MODEL}&limit=500")
        return [event for event in reversed(found) if (event["kind"], event["release"]) == (kind, release)]

    def camera(self) -> dict[str, Any]:
        """What the camera app has counted, by device."""
        counted: dict[str, Any] = json.loads((self.folder / "camera.json").read_text())
        return counted

    def explain(self, device: str) -> dict[str, Any]:
        """What a device says of the last update."""
        explained: dict[str, Any] = self.ask("littoral-agent", "explain", MODEL, "--config", f"{device}/agent.toml")
        return explained

    def kill_broker(self) -> None:
        """SIGKILL. The server has to notice and start another."""
        os.kill(self.broker_pid(), signal.SIGKILL)

    def broker_pid(self) -> int:
        return int(json.loads((self.data / "server.json").read_text())["broker"]["pid"])

    def wait(self, what: str, there: Callable[[], T | None], *needed: Child) -> T:
        """Waits until `there` gives something true, and gives it. Raises DemoError when it does not come."""
        until = time.monotonic() + PATIENCE_S
        while not (found := there()):
            self.check(needed)
            if time.monotonic() >= until:
                raise DemoError(f"{what} did not come within {PATIENCE_S:.0f} s")
            time.sleep(POLL_S)
        return found

    def check(self, children: Sequence[Child] = ()) -> None:
        """Raises DemoError where a process that should run does not."""
        for child in children or self.children:
            if not child.running:
                raise DemoError(f"{child.name} has ended by itself: {child.tail(1)}")

    def close(self) -> list[str]:
        """Ends every process that still runs; the names of those that did not end when they were asked to."""
        stubborn = []
        for kind in ("camera", "agent", "runtime", "server"):
            ending = [child for child in self.children if child.name.endswith(kind)]
            for child in ending:
                child.ask_to_end()
            stubborn += [child.name for child in ending if not child.end()]
        return stubborn

    def _answers(self) -> bool:
        try:
            self.get("devices")
        except urllib.error.URLError:
            return False
        return True
