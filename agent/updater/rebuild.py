"""What an update lacks on this device, and blobs made of a delta and a blob that is here, in place of a fetch.

A rebuilt blob lies in `partial/` as a fetched one does, and counts only by its digest. Nothing is decided here about
releases: a delta that does not make its blob is no fault of the release.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent import fsio
from agent.updater import staging
from littoral.bundle import delta as deltas
from littoral.bundle.manifest import Blob, Delta, Manifest
from littoral.errors import DeltaError

STEP_PIECES = 16  # of 64 KiB, made in one step: the agent's loop goes round in between


@dataclass(frozen=True, slots=True)
class Lacking:
    """One blob that is not on this device. delta: what is fetched in its place; digests: the chunks of what is."""

    role: str
    blob: Blob
    digests: tuple[str, ...]
    delta: Delta | None = None

    @property
    def fetched(self) -> Blob | Delta:
        return self.delta or self.blob


def lacking(
    state: Path, wanted: Manifest, lists: dict[str, tuple[str, ...]], spoiled: frozenset[str] = frozenset()
) -> list[Lacking]:
    """What has to come for `wanted`; `lists` are the chunks by role, and by `delta:<index>`.

    A blob that was begun as itself goes on so; deltas named in `spoiled` are not used.
    """
    found = []
    held = frozenset(fsio.names(state / "blobs")) - spoiled
    for role, blob in staging.missing_blobs(state, wanted).items():
        index = wanted.delta_for(role, held)
        delta = None if index is None else wanted.deltas[index]
        digests = lists.get(f"delta:{index}")
        if delta is None or not digests or delta.sha256 in spoiled or fsio.exists(state / "partial" / blob.sha256):
            found.append(Lacking(role, blob, lists[role]))
        else:
            found.append(Lacking(role, blob, digests, delta))
    return found


def disk_bytes(state: Path, parts: list[Lacking]) -> int:
    """Disk that is still to be taken: fetched files have all their blocks from the beginning."""
    files = {part.blob.sha256: part.blob.length for part in parts}
    files |= {part.delta.sha256: part.delta.length for part in parts if part.delta is not None}
    return sum(size for name, size in files.items() if not fsio.exists(state / "partial" / name))


class Rebuild:
    """One blob being made of its delta, a step at a time."""

    def __init__(self, state: Path, part: Lacking) -> None:
        assert part.delta is not None
        self.part = part
        self._delta = part.delta
        self._fetched = state / "partial" / part.delta.sha256
        self._made = state / "partial" / f"{part.blob.sha256}.made"
        self._target = state / "partial" / part.blob.sha256
        self._base = state / "blobs" / part.delta.base
        self._digest = hashlib.sha256()
        self._offset = 0
        self._pieces: Iterator[bytes] | None = None

    def step(self) -> bool:
        """Goes on; whether the blob is whole. Raises DeltaError, after which nothing of it is left, and OSError."""
        try:
            return self._step()
        except DeltaError:
            self.drop()
            raise

    def drop(self) -> None:
        """Removes the delta and what was made of it."""
        fsio.remove(self._made)
        fsio.remove(self._fetched)

    def _step(self) -> bool:
        blob = self.part.blob
        if self._pieces is None:
            fsio.allocate(self._made, blob.length)
            base = fsio.pieces(self._base, deltas.PIECE_BYTES)
            self._pieces = deltas.apply(base, fsio.pieces(self._fetched, deltas.PIECE_BYTES), blob.length)
        for _ in range(STEP_PIECES):
            piece = next(self._pieces, b"")
            if not piece:
                self._finish()
                return True
            fsio.put(self._made, piece, self._offset)
            self._digest.update(piece)
            self._offset += len(piece)
        return False

    def _finish(self) -> None:
        if self._digest.hexdigest() != self.part.blob.sha256:
            raise DeltaError(f"the delta {self._delta.sha256} makes another blob than {self.part.blob.sha256}")
        fsio.rename(self._made, self._target)
        fsio.remove(self._fetched)
