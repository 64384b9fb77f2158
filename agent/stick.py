"""A repository folder that somebody brought: read so that nothing on it can do harm.

Only names that a repository has are opened, no link is followed, only regular files are read, and none further than it
may be long. Nothing is verified here but digests that are names.
"""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from littoral.bundle import manifest
from littoral.bundle.manifest import Manifest
from littoral.canonical import digest
from littoral.errors import BundleError, ManifestError
from littoral.owner import as_caller
from littoral.wire.messages import parse_names
from littoral.wire.topics import CHUNK_BYTES

MAX_FILES = 4_096  # of metadata, and of small files beside them
READ_BYTES = 1024 * 1024
AGAIN = "Copy or export it again."
_DIGEST = re.compile(r"[0-9a-f]{64}")
_METADATA = re.compile(r"[a-z0-9][a-z0-9.-]{0,119}\.json")
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO would make an open wait for ever


@dataclass(frozen=True, slots=True)
class Found:
    """A release whose bundle.json lies in the folder, under the digest `bundle`."""

    manifest: Manifest
    bundle: str


class Stick:
    """`meta`, `chunk` and `blob` in the folder `root`. Every method raises BundleError for what is not as it should."""

    def __init__(self, root: Path) -> None:
        self._root = root
        if not (root / "meta").is_dir():
            raise BundleError(
                f"{root} is no repository folder: it has no folder meta",
                remedy="`littoral-fleet export` writes one: name the folder that holds meta, chunk and blob.",
            )

    def metadata(self) -> list[str]:
        """The metadata files there are, as the folder's index has them."""
        try:
            listed = parse_names(self.read("meta", "index"))
        except ValueError as error:
            raise BundleError(f"the index of {self._root} cannot be read: {error}", remedy=AGAIN) from error
        if len(listed) > MAX_FILES or not all(_METADATA.fullmatch(name) for name in listed):
            raise BundleError(f"the index of {self._root} lists what is no metadata", remedy=AGAIN)
        return listed

    def releases(self) -> list[Found]:
        """Every release whose bundle.json is there, by model and number."""
        found = []
        for name in self._small():
            data = self.read("chunk", name)
            if digest(data) != name:
                continue  # who needs it finds out
            with contextlib.suppress(ManifestError):
                found.append(Found(manifest.parse(data), name))
        return sorted(found, key=lambda each: (each.manifest.model, each.manifest.release))

    def read(self, kind: str, name: str) -> bytes:
        """A file that travels as one message."""
        return b"".join(self.pieces(kind, name, CHUNK_BYTES))

    def pieces(self, kind: str, name: str, max_bytes: int) -> Iterator[bytes]:
        with self._open(kind, name) as file:
            left = os.fstat(file.fileno()).st_size
            if left > max_bytes:
                raise BundleError(f"{kind}/{name} has {left} bytes, at most {max_bytes} are taken")
            while left:
                try:
                    piece = file.read(min(left, READ_BYTES))
                except OSError as error:
                    raise self._unreadable(kind, name, error) from error
                if not piece:
                    raise BundleError(f"{kind}/{name} ends too early", remedy=AGAIN)
                left -= len(piece)
                yield piece

    def _small(self) -> list[str]:
        """Names under chunk/."""
        try:
            with as_caller(), os.scandir(self._root / "chunk") as entries:
                names = [entry.name for entry, _ in zip(entries, range(MAX_FILES), strict=False)]
        except OSError as error:
            raise self._unreadable("chunk", "", error) from error
        return [name for name in names if _DIGEST.fullmatch(name)]

    def _open(self, kind: str, name: str) -> BinaryIO:
        try:
            with as_caller():
                above = os.open(self._root / kind, _OPEN | os.O_DIRECTORY)
                try:
                    descriptor = os.open(name, _OPEN, dir_fd=above)
                finally:
                    os.close(above)
        except OSError as error:
            raise self._unreadable(kind, name, error) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise BundleError(f"{kind}/{name} is no regular file")
        return os.fdopen(descriptor, "rb", buffering=0)

    def _unreadable(self, kind: str, name: str, error: OSError) -> BundleError:
        return BundleError(f"{self._root / kind / name} cannot be read: {error.strerror}", remedy=AGAIN)
