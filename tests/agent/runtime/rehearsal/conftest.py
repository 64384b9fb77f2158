"""Rehearsals of scripted models, in real children, on a ring filled by hand."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import control
from agent.runtime import release, ring
from agent.runtime.engine import Engine
from agent.runtime.host.loop import Loop
from agent.runtime.rehearsal.rehearsals import Rehearsals, Settings
from agent.runtime.ring import Kept, Kind
from agent.runtime.worker.sampler import inputs_digest, sketch_of
from agent.slots import Slot
from littoral.tensors import Interface
from tests.agent.runtime import scripted
from tests.agent.runtime.device import SCRIPTED_HOST, Device

ROOM_BYTES = 512 * 1024 * 1024


class Stage:
    """A ring, releases on a disk, and what rehearses them."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        folder.mkdir()
        self.device = Device(folder, SCRIPTED_HOST, {})
        self.ring = ring.make()
        self.room_bytes = ROOM_BYTES
        self.budget_s = 20.0
        self._engine = engine

    def fill(self, interface: Interface, inputs: list[bytes]) -> None:
        digest = inputs_digest(interface)
        for place, data in enumerate(inputs):
            sketch = sketch_of(interface.inputs[0], data)
            ring.write(self.ring, place, Kept(Kind.TENSORS, 1000, 0, place, digest, sketch, data))

    def rehearse(self, slot: Slot, baseline: Slot, held: bool = True) -> control.Rehearsed:
        """Runs one, and gives what the agent would hear of it."""
        state, loop = self.device.state, Loop()
        told: list[control.Message] = []

        def hear(message: control.Message) -> None:
            told.append(message)
            loop.stop()

        settings = Settings(lambda bundle: release.read(state, bundle), self._engine, self.budget_s, lambda m, r: None)
        rehearsals = Rehearsals(
            settings, loop, lambda model: self.ring if held else None, lambda: self.room_bytes, hear
        )
        rehearsals.ask(control.Rehearse(5, "m", slot.bundle, baseline.bundle))
        loop.run()
        loop.close()
        (found,) = told
        assert isinstance(found, control.Rehearsed)
        assert (found.id, found.model, found.bundle) == (5, "m", slot.bundle)
        return found

    def close(self) -> None:
        os.close(self.ring)


MakeStage = Callable[..., Stage]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[MakeStage]:
    made: list[Stage] = []

    def make(engine: Engine | None = None) -> Stage:
        made.append(Stage(tmp_path / str(len(made)), engine or scripted.ScriptedEngine()))
        return made[-1]

    yield make
    for each in made:
        each.close()


def noise(count: int, size: int, first: int | None = None) -> list[bytes]:
    """As many inputs, no two alike; each begins with the byte `first`."""
    found = []
    for seed in range(count):
        data = random.Random(seed).randbytes(size)
        found.append(data if first is None else bytes([first]) + data[1:])
    return found
