"""Fetches the files of one plan, chunk by chunk, in whatever order they come, over whatever source.

Every chunk is checked against its name before it is kept, and kept in `partial/<file>` at its place. A restart hashes
what lies there and asks only for the rest; a chunk that another file of this device has at the same place is taken from
there. Time is an argument; nothing blocks. Wrong bytes and silence are met with back-off and prove nothing about the
release.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agent import fsio
from agent.config import Updates
from agent.source import Source, Wanted
from agent.updater.window import Window
from littoral.bundle import chunks
from littoral.bundle.manifest import Blob

WRONG_BEFORE_NEED = 3  # wrong answers for one chunk after which the server is asked to publish it again


@dataclass(frozen=True, slots=True)
class File:
    """One file to fetch: a blob, or a delta. `alike`: files of this device that may hold the same chunks."""

    sha256: str
    length: int
    digests: tuple[str, ...]
    alike: tuple[Path, ...] = ()


@dataclass(slots=True)
class _Chunk:
    """One chunk that is still missing, and where it belongs: (file digest, offset) pairs."""

    size: int
    places: list[tuple[str, int]] = field(default_factory=list)
    not_before: float = 0.0
    misses: int = 0
    wrong: int = 0


@dataclass(slots=True)
class Tally:
    """What a fetch has done so far. chunks: taken over the network; repeated: came though held already; resumed: held
    from the time before; reused: taken from another file of this device."""

    chunks: int = 0
    repeated: int = 0
    wrong: int = 0
    silent: int = 0
    resumed: int = 0
    reused: int = 0
    fetched_bytes: int = 0
    total_bytes: int = 0

    def facts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("chunks", "repeated", "wrong", "silent", "resumed", "reused")}


class Fetch:
    """One running fetch. `wrong_bytes(wanted, got, repeats)` is told of each chunk that is not what its name says."""

    def __init__(
        self,
        folder: Path,
        files: Iterable[File],
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
        self._window = Window(settings.max_in_flight_bytes, settings.answer_timeout_s)
        self._missing: dict[str, _Chunk] = {}
        self._held: set[str] = set()
        self._allowance = float(chunk_bytes)
        self._refilled_at: float | None = None
        for file in files:
            self._look_at(file)

    @property
    def complete(self) -> bool:
        return not self._missing

    def lacks(self, name: str) -> bool:
        """Whether this chunk is still to come."""
        return name.removeprefix("chunk/") in self._missing

    @property
    def late(self) -> int:
        """Chunks that did not come, or came wrong, and are asked for again later."""
        return sum(chunk.misses > 0 for chunk in self._missing.values())

    @property
    def hopeless(self) -> set[str]:
        """Files of which a chunk did not come, or came wrong, so often that the server was asked for it."""
        given_up = (chunk for chunk in self._missing.values() if chunk.misses > WRONG_BEFORE_NEED)
        return {file for chunk in given_up for file, _ in chunk.places}

    def close(self) -> None:
        """Stops asking. What was fetched stays for the next time."""
        self._source.forget([_name(digest) for digest in self._window.names()])

    def take(self, name: str, data: bytes, now: float) -> None:
        """A chunk arrived. Raises OSError where the disk does not take it."""
        self._window.heard(now)
        digest = name.removeprefix("chunk/")
        chunk = self._missing.get(digest)
        if chunk is None:
            self.tally.repeated += digest in self._held
            return
        if not chunks.is_named(data, digest):
            self._refuse(digest, chunk, data, now)
            return
        self._window.came(digest, now)
        self._keep(digest, chunk, data)
        self.tally.chunks += 1

    def tick(self, now: float, online: bool) -> None:
        """Gives up on what stayed silent, and asks for more where window, back-off and rate allow.

        While the source is away, silence means nothing: what was asked for is waited for anew once it is back.
        """
        if not online:
            self._window.pause(now)
            return
        silent = self._window.silent(now)
        for digest in silent:
            self._miss(self._missing[digest], now)
            self.tally.silent += 1
        if silent:
            self._source.forget([_name(digest) for digest in silent])
            self._source.need(silent)
        self._refill(now)
        chosen = self._choose(now)
        if chosen:
            self._source.ask(chosen)

    def _choose(self, now: float) -> list[Wanted]:
        chosen = []
        for digest, chunk in self._missing.items():
            if digest in self._window or chunk.not_before > now:
                continue
            if not self._window.takes(chunk.size) or not self._spend():
                break
            self._window.ask(digest, chunk.size, now)
            file, offset = chunk.places[0]
            chosen.append(Wanted(_name(digest), file, offset, chunk.size))
        return chosen

    def _look_at(self, file: File) -> None:
        """Opens the partial file and notes which of its pieces it lacks. Raises OSError."""
        path = self._folder / file.sha256
        begun = fsio.exists(path) and fsio.size(path) == file.length
        if not begun:
            fsio.allocate(path, file.length)
        for index, digest in enumerate(file.digests):
            offset = index * self._chunk_bytes
            size = min(self._chunk_bytes, file.length - offset)
            if begun and chunks.is_named(_read(path, offset, size), digest):
                self.tally.resumed += 1
                self.tally.fetched_bytes += size
                continue
            chunk = self._missing.setdefault(digest, _Chunk(size))
            chunk.places.append((file.sha256, offset))
            for other in file.alike:
                piece = _read(other, offset, size)
                if chunks.is_named(piece, digest):
                    self._keep(digest, chunk, piece)
                    self.tally.reused += 1
                    break
        self.tally.total_bytes += file.length

    def _keep(self, digest: str, chunk: _Chunk, data: bytes) -> None:
        for file, offset in chunk.places:
            fsio.put(self._folder / file, data, offset)  # what does not reach the disk is found out, and comes again
        del self._missing[digest]
        self._held.add(digest)
        self.tally.fetched_bytes += len(data) * len(chunk.places)

    def _refuse(self, digest: str, chunk: _Chunk, data: bytes, now: float) -> None:
        self._source.forget([_name(digest)])
        self._window.forget(digest)
        chunk.wrong += 1
        self.tally.wrong += 1
        self._miss(chunk, now)
        self._wrong_bytes(digest, chunks.digest_of(data), chunk.wrong)
        if chunk.wrong % WRONG_BEFORE_NEED == 0:
            self._source.need([digest])

    def _miss(self, chunk: _Chunk, now: float) -> None:
        settings = self._settings
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


def _name(digest: str) -> str:
    return f"chunk/{digest}"


def _read(path: Path, offset: int, size: int) -> bytes:
    """A piece of a file; nothing where the disk cannot give it: then it is fetched."""
    try:
        return fsio.read(path, offset, size)
    except OSError:
        return b""


def finish(partial: Path, blob: Blob, target: Path) -> bool:
    """Syncs a whole partial file and gives it its name under blobs/. False where its digest is another one."""
    if fsio.digest_of(partial) != blob.sha256:
        return False
    fsio.sync_file(partial)
    fsio.rename(partial, target)
    return True
