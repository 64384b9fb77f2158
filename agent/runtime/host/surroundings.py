"""What a model of the host (serving.py) is told at birth, and what it needs of the host and of its neighbours."""

from dataclasses import dataclass
from typing import Protocol

from agent import control
from agent.runtime.engine import Delegate
from agent.runtime.handover import Carried
from agent.runtime.host.shelf import Shelf
from agent.runtime.host.workers import Worker, Workshop
from agent.runtime.release import Release
from littoral import errors


@dataclass(frozen=True, slots=True)
class Settings:
    """What all models of a host share."""

    shelf: Shelf
    workshop: Workshop
    vouch_grace_s: float
    budget_bytes: int
    understudy: bool  # the baseline is kept beside a trial


class Surroundings(Protocol):
    """What a model needs of its host."""

    def tell(self, message: control.Message) -> None:
        """To the agent, if it is there."""
        ...

    def tell_counters(self, model: str, worker: Worker) -> None:
        """What a worker has done, to the agent."""
        ...

    def refuse(self, carried: Carried, error: errors.QueryError) -> None:
        """Says the error to the client and closes the connection."""
        ...

    def forget(self, connection: int) -> None:
        """The connection is closed."""
        ...

    def others_bytes(self, model: str) -> int:
        """Measured memory of all other models."""
        ...

    def make_room(self, model: str, missing_bytes: int) -> bool:
        """Unloads models that are idle, if they hold so much. True: the model hears when there is room."""
        ...

    def may_have_room(self, model: str) -> bool:
        """Whether models that are busy now could make room for this one later."""
        ...

    def room_came(self) -> None:
        """A worker has ended."""
        ...

    def ring(self, model: str) -> int | None:
        """Where the model's recent inputs are kept (agent/runtime/ring.py); None where they are not."""
        ...

    def delegate(self, model: str, release: Release) -> Delegate | None:
        """The accelerator that a release runs on here; None: the CPU. Raises IncompatibleError."""
        ...
