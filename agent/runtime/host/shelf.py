"""Where models and releases come from: the state folder of a device, or one file that somebody wants to try."""

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from agent import slots
from agent.runtime import release
from agent.runtime.release import Release, Stamp
from agent.slots import SlotRecord


class Shelf(Protocol):
    def models(self) -> list[str]:
        """Names of all that have a record."""
        ...

    def record(self, model: str) -> SlotRecord | None:
        """None where there is none. Raises RecordError."""
        ...

    def release(self, bundle: str) -> Release:
        """Raises BundleError, DigestError, ManifestError."""
        ...

    def loaded(self, bundle: str) -> None:
        """It was loaded as `release` gave it last: its bytes are good."""
        ...


class StateShelf:
    """The state folder, as the agent writes it."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._given: dict[str, dict[str, Stamp]] = {}
        self._known: dict[str, dict[str, Stamp]] = {}

    def models(self) -> list[str]:
        return slots.names(self._state)

    def record(self, model: str) -> SlotRecord | None:
        return slots.read(slots.path_of(self._state, model))

    def release(self, bundle: str) -> Release:
        found = release.read(self._state, bundle)
        self._given[bundle] = found.stamps()
        return replace(found, known=self._known.get(bundle, {}))

    def loaded(self, bundle: str) -> None:
        self._known[bundle] = self._given.get(bundle, {})
