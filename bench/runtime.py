"""The runtime under measure: a device made by hand with the host as a real process, as the tests make it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from agent import control
from agent.slots import Slot
from bench.models import Model
from littoral.client import stats
from littoral.errors import LittoralError
from tests.agent.runtime.device import REAL_HOST, ROOT, Agent, Device, interface_digests, until

__all__ = ["ROOT", "Runtime", "Stamp"]

WATCHED_HOST = ("-m", "bench.watched_host")


class Stamp(NamedTuple):
    """What a watched host wrote down."""

    at_ns: int
    what: str
    pid: int


class Runtime:
    """One host, serving the releases it was given. Close it with `stop`."""

    def __init__(self, folder: Path, settings: Mapping[str, object], *, watched: bool) -> None:
        folder.mkdir()
        self._stamps, self._log = folder / "stamps", folder / "log"
        os.environ["BENCH_STAMPS"] = str(self._stamps)  # of the host that is started next
        self.device = Device(folder, WATCHED_HOST if watched else REAL_HOST, {"engine": "litert", **settings})
        self.slots: dict[tuple[str, int], Slot] = {}
        self.agent: Agent

    def start(self) -> None:
        with said_to(self._log):
            self.device.start()
        self.agent = self.device.agent()

    def stop(self) -> None:
        self.device.stop()

    @property
    def host(self) -> int:
        assert self.device.process is not None
        return self.device.process.pid

    def add(self, name: str, release: int, model: Model, *, tuned: bool) -> None:
        """tuned: run its trial, as the agent does, and keep how it runs best here."""
        slot = self.device.add(name, release, model.content, interface=interface_digests(model.interface))
        if tuned:
            tried = self.agent.trial(name, slot)
            if tried.code:
                raise RuntimeError(f"the trial of {model.source} ended with {tried.code}: {tried.reason}")
            facts = tried.facts
            slot = replace(slot, threads=facts["threads"], interpreters=facts["interpreters"], cpus=facts["cpus"])
        self.slots[name, release] = slot

    def serve(self, name: str, release: int = 1, *, handover: bool = False) -> None:
        """Switches to the release, and returns once it is the one that answers."""
        self.device.record(name, self.slots[name, release])
        self.agent.send(control.Apply(name, handover))
        told = self.agent.expect(
            object, lambda each: isinstance(each, control.Serving | control.Failed) and each.model == name
        )
        if not isinstance(told, control.Serving) or (told.release, told.reason) != (release, ""):
            raise RuntimeError(f"{name} is not served by release {release}: {told}")

    def worker(self, name: str) -> int:
        """Process id of the one that answers for the model."""
        found: list[int] = []

        def known() -> bool:
            try:
                found[:] = [int(stats(self.device.socket)[name]["worker"])]
            except (KeyError, LittoralError):
                return False
            return True

        until(known, f"{name} to be served")
        return found[0]

    def stamps(self) -> list[Stamp]:
        """What a watched host did so far."""
        lines = (line.split() for line in self._stamps.read_text().splitlines())
        return [Stamp(int(at), what, int(pid)) for at, what, pid in lines]


@contextmanager
def said_to(log: Path) -> Iterator[None]:
    """What a process started meanwhile writes to its standard error, a line for each switch, goes to a file."""
    usual = os.dup(2)
    try:
        with log.open("wb") as file:
            os.dup2(file.fileno(), 2)
        yield
    except BaseException:
        os.write(usual, log.read_bytes())
        raise
    finally:
        os.dup2(usual, 2)
        os.close(usual)
