"""A repository folder on this device's own disk (STATE/stick) as a source of bytes, in place of broker and mirror.

`meta/<file>`, `chunk/<sha256>` and whole `blob/<sha256>`, as fleet/mirror.py writes them and agent/install.py copies
them. What is not there, or not what its name says, is absent: nobody will mend it. FolderAsker answers the updater
child, FolderSource the steps that fetch.
"""

import json
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent import fsio
from agent.source import Got, Wanted
from littoral.bundle import chunks
from littoral.errors import (
    DigestError,
    ExpiredMetadataError,
    LittoralError,
    MetadataError,
    NoAnswerError,
    ReplayedMetadataError,
)

if TYPE_CHECKING:
    from datetime import datetime

NAME = "stick"
PIECES_AT_ONCE = 16  # read in one turn of the agent's loop: at most 1 MB


class FolderAsker:
    """What the updater child asks, answered from `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str, max_bytes: int) -> bytes | None:
        """Raises NoAnswerError for a file that cannot be read, or is longer than `max_bytes`."""
        kind, _, file = name.partition("/")
        if "/" in file:
            return None
        try:
            data = fsio.read(self._folder / kind / file, 0, max_bytes + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NoAnswerError(f"{name} cannot be read: {error}") from error
        if len(data) > max_bytes:
            raise NoAnswerError(f"{name} has more than {max_bytes} bytes")
        return data


class FolderSource:
    """The Source of an update that was installed from `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._asked: deque[Wanted] = deque()

    def ask(self, wanted: Sequence[Wanted]) -> None:
        self._asked.extend(wanted)

    def forget(self, names: list[str]) -> None:
        self._asked = deque(each for each in self._asked if each.name not in names)

    def need(self, digests: list[str]) -> None:
        """Nobody hears it."""

    def poll(self) -> list[Got]:
        """The next pieces of what was asked for."""
        count = min(len(self._asked), PIECES_AT_ONCE)
        return [self._read(self._asked.popleft()) for _ in range(count)]

    def _read(self, wanted: Wanted) -> Got:
        digest = wanted.name.removeprefix("chunk/")
        try:
            if wanted.blob:
                data = fsio.read(self._folder / "blob" / wanted.blob, wanted.offset, wanted.length)
            else:
                data = fsio.read(self._folder / wanted.name)
        except OSError:
            return Got(wanted.name, None)
        return Got(wanted.name, data if chunks.is_named(data, digest) else None)


def explained(error: LittoralError, folder: Path, now: int) -> LittoralError:
    """What the child's error means where the bytes came from a folder: nothing of it mends itself.

    `now` is what expiry was judged by, seconds since 1970.
    """
    if isinstance(error, ExpiredMetadataError):
        from datetime import UTC, datetime

        until = good_until(folder)
        if until is not None and until < datetime.fromtimestamp(now, UTC):
            return ExpiredMetadataError(f"the folder was good until {until:%Y-%m-%d}: export a new one")
        return ExpiredMetadataError(f"{error.cause}, which the operator signs: publish something, export a new folder")
    if isinstance(error, ReplayedMetadataError):
        return ReplayedMetadataError("this device has seen newer metadata than the folder's: export a new one")
    if isinstance(error, NoAnswerError | DigestError):
        return MetadataError(f"the folder is not whole ({error.cause}): copy or export it again")
    return error


def good_until(folder: Path) -> "datetime | None":
    """When the fleet server's signatures in the folder expire; None where that cannot be read."""
    from datetime import datetime  # not for the agent, which stays

    try:
        timestamp = json.loads(fsio.read(folder / "meta" / "timestamp.json"))
        return datetime.fromisoformat(timestamp["signed"]["expires"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
