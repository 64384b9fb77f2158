"""Fetches the blobs of one plan, chunk by chunk, in whatever order they come, over whatever source.

Every chunk is checked against its name before it is kept, and kept in `partial/<blob>` at its place. A restart hashes
what lies there and asks only for the rest. Time is an argument; nothing blocks. Wrong bytes and silence are met with
back-off and prove nothing about the release.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agent import fsio
from agent.config import Updates
from littoral.bundle import chunks
from littoral.bundle.manifest import Blob

WRONG_BEFORE_NEED = 3  # wrong answers for one chunk after which the server is asked to publish it again


class Source(Protocol):
    """Where bytes come from. Names are `meta/<file>` and `chunk/<sha256>`; what arrives is handed in from outside."""

    def ask(self, names: list[str]) -> None: ...

    def forget(self, names: list[str]) -> None: ...

    def need(self, digests: list[str]) -> None: ...


@dataclass(slots=True)
class _Chunk:
    """One chunk that is still missing, and where it belongs: (blob digest, offset) pairs."""

    places: list[tuple[str, int]] = field(default_factory=list)
    asked_at: float | None = None
    not_before: float = 0.0
    misses: int = 0
    wrong: int = 0


@dataclass(slots=True)
class Tally:
    """What a fetch has done so far. chunks: taken over the network; repeated: came though held already."""

    chunks: int = 0
    repeated: int = 0
    wrong: int = 0
    silent: int = 0
    resumed: int = 0
    fetched_bytes: int = 0
    total_bytes: int = 0

    def facts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("chunks", "repeated", "wrong", "silent", "resumed")}


class Fetch:
    """One running fetch. `wrong_bytes(wanted, got, repeats)` is told of each chunk that is not what its name says."""

    def __init__(
        self,
        folder: Path,
        blobs: Iterable[tuple[Blob, tuple[str, ...]]],
        chunk_bytes: int,
        source: Source,
        settings: Updates,
        wrong_bytes: Callable[[str, str, int], None],
    ) -> None:
        self.tally = Tally()
        self._folder = folder
        self._chunk_bytes = chunk_bytes
        self._source = source
        self._settings = settings
        self._wrong_bytes = wrong_bytes
        self._missing: dict[str, _Chunk] = {}
        self._held: set[str] = set()
        self._allowance = float(chunk_bytes)
        self._refilled_at: float | None = None
        for blob, digests in blobs:
            self._look_at(blob, digests)

    @property
    def complete(self) -> bool:
        return not self._missing

    def close(self) -> None:
        """Stops asking. What was fetched stays for the next time."""
        self._source.forget([f"chunk/{digest}" for digest, c in self._missing.items() if c.asked_at is not None])

    def take(self, name: str, data: bytes, now: float) -> None:
        """A chunk arrived. Raises OSError where the disk does not take it."""
        digest = name.removeprefix("chunk/")
        chunk = self._missing.get(digest)
        if chunk is None:
            self.tally.repeated += digest in self._held
            return
        if not chunks.is_named(data, digest):
            self._refuse(digest, chunk, data, now)
            return
        for blob, offset in chunk.places:
            fsio.put(self._folder / blob, data, offset)  # what does not reach the disk is found out, and comes again
        del self._missing[digest]
        self._held.add(digest)
        self.tally.chunks += 1
        self.tally.fetched_bytes += len(data) * len(chunk.places)

    def tick(self, now: float, online: bool) -> None:
        """Gives up on what stayed silent, and asks for more where window, back-off and rate allow.

        While the source is away, silence means nothing: what was asked for is waited for anew once it is back.
        """
        if not online:
            for chunk in self._missing.values():
                chunk.asked_at = None if chunk.asked_at is None else now
            return
        silent = [d for d, c in self._missing.items() if self._is_silent(c, now)]
        for digest in silent:
            self._miss(self._missing[digest], now)
            self.tally.silent += 1
        if silent:
            self._source.forget([f"chunk/{digest}" for digest in silent])
            self._source.need(silent)
        self._refill(now)
        window = self._settings.window_chunks - sum(c.asked_at is not None for c in self._missing.values())
        ready = (d for d, c in self._missing.items() if c.asked_at is None and c.not_before <= now)
        chosen = [digest for digest, _ in zip(ready, range(window), strict=False) if self._spend()]
        for digest in chosen:
            self._missing[digest].asked_at = now
        if chosen:
            self._source.ask([f"chunk/{digest}" for digest in chosen])

    def _look_at(self, blob: Blob, digests: tuple[str, ...]) -> None:
        """Opens the partial file of a blob and notes which of its pieces it lacks. Raises OSError."""
        path = self._folder / blob.sha256
        if not fsio.exists(path) or fsio.size(path) != blob.length:
            fsio.allocate(path, blob.length)
        for index, digest in enumerate(digests):
            piece = fsio.read(path, index * self._chunk_bytes, self._chunk_bytes)
            if chunks.is_named(piece, digest):
                self.tally.resumed += 1
                self.tally.fetched_bytes += len(piece)
                continue
            place = (blob.sha256, index * self._chunk_bytes)
            self._missing.setdefault(digest, _Chunk()).places.append(place)
        self.tally.total_bytes += blob.length

    def _is_silent(self, chunk: _Chunk, now: float) -> bool:
        return chunk.asked_at is not None and now - chunk.asked_at >= self._settings.answer_timeout_s

    def _refuse(self, digest: str, chunk: _Chunk, data: bytes, now: float) -> None:
        self._source.forget([f"chunk/{digest}"])
        chunk.wrong += 1
        self.tally.wrong += 1
        self._miss(chunk, now)
        self._wrong_bytes(digest, chunks.digest_of(data), chunk.wrong)
        if chunk.wrong % WRONG_BEFORE_NEED == 0:
            self._source.need([digest])

    def _miss(self, chunk: _Chunk, now: float) -> None:
        settings = self._settings
        chunk.asked_at = None
        chunk.not_before = now + min(settings.retry_first_s * 2**chunk.misses, settings.retry_last_s)
        chunk.misses = min(chunk.misses + 1, 30)

    def _refill(self, now: float) -> None:
        """Token bucket: bytes that may be asked for; at most two seconds' worth, and always one chunk."""
        rate = self._settings.max_bytes_per_s
        if rate and self._refilled_at is not None:
            earned = (now - self._refilled_at) * rate
            self._allowance = min(self._allowance + earned, max(2 * rate, self._chunk_bytes))
        self._refilled_at = now

    def _spend(self) -> bool:
        if not self._settings.max_bytes_per_s:
            return True
        if self._allowance < self._chunk_bytes:
            return False
        self._allowance -= self._chunk_bytes
        return True


def finish(partial: Path, blob: Blob, target: Path) -> bool:
    """Syncs a whole partial file and gives it its name under blobs/. False where its digest is another one."""
    if fsio.digest_of(partial) != blob.sha256:
        return False
    fsio.sync_file(partial)
    fsio.rename(partial, target)
    return True
