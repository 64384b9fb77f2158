"""What the updater asks for and what comes: the one interface behind the broker, a mirror and a folder on a stick.

Nothing is checked against its digest here, and nothing times out: both are the updater's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Wanted:
    """One thing to ask for. `name` is `meta/<file>` or `chunk/<sha256>`.

    blob, offset, length: where the chunk lies in which blob (sha256; bytes), for sources that hold whole blobs; empty
    for what is no piece of one.
    """

    name: str
    blob: str = ""
    offset: int = 0
    length: int = 0


@dataclass(frozen=True, slots=True)
class Got:
    """The bytes of what was asked for; None: it surely does not exist."""

    name: str
    data: bytes | None


class Source(Protocol):
    """Where bytes come from. What arrives is given by the `poll() -> list[Got]` of the source itself, to whoever
    runs the loop."""

    def ask(self, wanted: Sequence[Wanted]) -> None:
        """Wants each of these once. Asking again for one makes it come again."""
        ...

    def forget(self, names: list[str]) -> None:
        """Wants `names` no more."""
        ...

    def need(self, digests: list[str]) -> None:
        """Says that these chunks do not come, or come wrong. A hint: nothing waits for it."""
        ...
