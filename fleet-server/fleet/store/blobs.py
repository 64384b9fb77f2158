"""Blobs on disk, each named by its sha256. A file of this name is whole and synced."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from fleet import durable
from littoral.errors import BadRequestError, DigestError

PART_BYTES = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Blobs:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.glob(".upload-*"):
            left_over.unlink()

    def path(self, sha256: str) -> Path:
        """Where the blob lies, or would lie. Raises BadRequestError for what is no digest."""
        if not _DIGEST.fullmatch(sha256):
            raise BadRequestError(f"{sha256!r} is no digest")
        return self._folder / sha256

    def has(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def read(self, sha256: str, start: int = 0, length: int = -1) -> bytes:
        """Raises FileNotFoundError."""
        with self.path(sha256).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def parts(self, sha256: str) -> Iterator[bytes]:
        """The blob, a part at a time. Raises FileNotFoundError."""
        with self.path(sha256).open("rb") as file:
            while part := file.read(PART_BYTES):
                yield part

    def put(self, sha256: str, data: bytes) -> None:
        """Raises DigestError."""
        with self.upload(sha256, len(data)) as upload:
            upload.write(data)
            upload.finish()

    def upload(self, sha256: str, limit: int) -> "Upload":
        return Upload(self.path(sha256), limit)


class Upload:
    """A blob on its way in: hashed while it is written, named only when it is whole."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._size = 0
        self._hash = hashlib.sha256()
        self._file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=".upload-", delete=False)  # noqa: SIM115

    def write(self, data: bytes) -> None:
        """Raises BadRequestError past the limit."""
        self._size += len(data)
        if self._size > self._limit:
            raise BadRequestError(f"a blob of more than {self._limit} bytes")
        self._hash.update(data)
        self._file.write(data)

    def finish(self) -> None:
        """Raises DigestError where the bytes are not what the name says."""
        if self._hash.hexdigest() != self._path.name:
            raise DigestError(self._path.name, self._hash.hexdigest())
        self._file.flush()
        os.fsync(self._file.fileno())
        Path(self._file.name).rename(self._path)
        durable.sync_folder(self._path.parent)

    def __enter__(self) -> "Upload":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        Path(self._file.name).unlink(missing_ok=True)
