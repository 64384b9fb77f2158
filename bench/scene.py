"""What every group of measures stands on: the models, a folder, and whatever has to run, which ends with the group."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.models import Model, Models
from bench.native import Load, Running
from bench.runtime import ROOT, Runtime
from tests.agent.runtime.device import until

T = TypeVar("T")

QUESTIONS = 8  # distinct inputs that clients ask


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int = 7
    run_s: float = 0.5
    long_run_s: float = 1.5  # of models whose invoke takes milliseconds
    switches: int = 1_000
    spaced_switches: int = 100
    grown_switches: int = 500
    starts: int = 30
    kills: int = 10
    fetched_bytes: int = 50_000_000
    rolled_out_bytes: int = 5_000_000
    fleets: tuple[int, ...] = (1, 50, 200)
    link_rounds: int = 5
    release_bytes: tuple[int, ...] = (8_000_000, 64_000_000)


QUICK = Plan(
    rounds=1,
    run_s=0.1,
    long_run_s=0.2,
    switches=6,
    spaced_switches=3,
    grown_switches=12,
    starts=2,
    kills=1,
    fetched_bytes=1_000_000,
    rolled_out_bytes=200_000,
    fleets=(1, 3),
    link_rounds=1,
    release_bytes=(200_000, 400_000),
)


@dataclass(frozen=True, slots=True)
class Server:
    """Where clients ask, and which process answers. address: a socket's path; with http a port of this machine."""

    address: str
    pid: int
    model: str = "m"
    http: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """folder: for sockets and files, with a short path; it goes with the bench. python: of the peers' environment."""

    models: Models
    plan: Plan
    folder: Path
    programs: Path
    python: Path

    def say(self, text: str) -> None:
        print(f"bench: {text}", file=sys.stderr, flush=True)

    # --- servers ----------------------------------------------------------------------------------------------

    @contextmanager
    def runtime(self, name: str, *, watched: bool = False, **settings: object) -> Iterator[Runtime]:
        """A host that serves nothing yet."""
        runtime = Runtime(self.folder / name, settings, watched=watched)
        runtime.start()
        try:
            yield runtime
        finally:
            runtime.stop()

    @contextmanager
    def echo(self, model: Model, walk_us: float = 0) -> Iterator[Server]:
        """The C echo server with the model's sizes; it walks 7 MB for so long in place of an invoke."""
        sizes = [str(model.interface.input_bytes), str(model.interface.output_bytes)]
        walk = [str(7_000_000), str(round(walk_us))] if walk_us else []
        with self._server(f"echo-{model.name}-{round(walk_us)}", [self.programs / "echo"], [*sizes, *walk]) as server:
            yield server

    @contextmanager
    def peer(self, module: str, model: Model) -> Iterator[Server]:
        """Another server of the same model: bench.peers.<module>."""
        command: list[str | Path] = [self.python, "-m", f"bench.peers.{module}"]
        with self._server(f"{module}-{model.name}", command, [self.file(model)], http=module == "web") as server:
            yield server

    @contextmanager
    def _server(
        self, name: str, command: list[str | Path], arguments: list[str | Path], http: bool = False
    ) -> Iterator[Server]:
        address = str(free_port()) if http else str(self.folder / f"{name}.sock")
        log = self.folder / f"{name}.log"
        with log.open("wb") as said:
            process = subprocess.Popen([*command, address, *arguments], cwd=ROOT, stderr=said)
        try:
            until(lambda: process.poll() is not None or listens(address, http), f"{name} to listen")
            if process.returncode is not None:
                raise RuntimeError(f"{name} ended with status {process.returncode}: {log.read_text()}")
            yield Server(address, process.pid, http=http)
        finally:
            process.terminate()
            process.wait()
            Path(address).unlink(missing_ok=True)

    # --- clients ----------------------------------------------------------------------------------------------

    def file(self, model: Model) -> Path:
        path = self.folder / f"{model.name}.tflite"
        if not path.exists():
            path.write_bytes(model.content)
        return path

    def questions(self, model: Model) -> Path:
        path = self.folder / f"{model.name}.questions"
        if not path.exists():
            path.write_bytes(model.questions(QUESTIONS))
        return path

    def clients(self, server: Server, model: Model, *, cpu: int | None = None, **options: object) -> Running:
        """The load generator at work; options are its own, `True` for those without a value."""
        interface = model.interface
        named: dict[str, object] = {
            "socket": server.address,
            "model": server.model,
            "questions": self.questions(model),
            "question-bytes": interface.input_bytes,
            "answer-bytes": interface.output_bytes,
            **options,
        }
        if server.http:
            named["http"] = True
        if cpu is not None:
            named["cpu"] = cpu
        command = [str(self.programs / "load")]
        for key, value in named.items():
            command += [f"--{key}"] if value is True else [f"--{key}", str(value)]
        return Running.start(command)

    def load(self, server: Server, model: Model, seconds: float, *, cpu: int | None = None, **options: object) -> Load:
        """Clients that ask for so long; raises RuntimeError where an answer was not what it should be."""
        seen = self.clients(server, model, cpu=cpu, seconds=seconds, **options).wait()
        if seen.wrong or not seen.answered:
            raise RuntimeError(f"{server.address}: {seen.wrong} of {seen.answered} answers wrong: {seen.problem}")
        return seen

    # --- rounds -----------------------------------------------------------------------------------------------

    def interleaved(self, runs: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
        """Each run once in each round, so that whatever disturbs the machine disturbs all alike."""
        seen: dict[str, list[T]] = {name: [] for name in runs}
        for _ in range(self.plan.rounds):
            for name, run in runs.items():
                seen[name].append(run())
        return seen


def listens(address: str, http: bool) -> bool:
    """Whether somebody is there."""
    with socket.socket(socket.AF_INET if http else socket.AF_UNIX) as probe:
        return probe.connect_ex(("127.0.0.1", int(address)) if http else address) == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
