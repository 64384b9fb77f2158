"""The one door to the disk for what must last on a device.

A durable call that returns has reached the disk: files are synced, and so are the folders that name them. What is
read back afterwards comes through the same door, so that a test can put another disk behind it. Nothing here decides
anything. Every function raises OSError as the operating system does.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

READ_BYTES = 1024 * 1024


class Disk(Protocol):
    """What a file system does for us, one call an operation. Nothing is durable before a sync of its own."""

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        """length -1: to the end."""
        ...

    def size(self, path: Path) -> int: ...
    def links(self, path: Path) -> int:
        """How many names the file has."""
        ...

    def is_folder(self, path: Path) -> bool: ...
    def names(self, folder: Path) -> list[str]: ...
    def free_bytes(self, folder: Path) -> int:
        """What an ordinary user may still write."""
        ...

    def create(self, path: Path, data: bytes, mode: int) -> None:
        """A new file, or the old one with new content."""
        ...

    def allocate(self, path: Path, length: int) -> None:
        """A file of this length, of zeros, with all its blocks."""
        ...

    def write(self, path: Path, data: bytes, offset: int) -> None:
        """Over what a file holds there already."""
        ...

    def sync(self, path: Path, metadata: bool = True) -> None:
        """Content; with `metadata` its length and times too."""
        ...

    def sync_folder(self, path: Path) -> None: ...
    def sync_all(self, folder: Path) -> None:
        """Everything on the disk that `folder` is on, whoever wrote it."""
        ...

    def make_folder(self, path: Path, mode: int) -> None: ...
    def rename(self, source: Path, target: Path) -> None: ...
    def link(self, source: Path, target: Path) -> None: ...
    def unlink(self, path: Path) -> None: ...
    def remove_folder(self, path: Path) -> None:
        """An empty one."""
        ...


class FileSystem:
    """The disk of this machine."""

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(length)

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def links(self, path: Path) -> int:
        return path.stat().st_nlink

    def is_folder(self, path: Path) -> bool:
        return path.is_dir() and not path.is_symlink()

    def names(self, folder: Path) -> list[str]:
        return [each.name for each in folder.iterdir()]

    def free_bytes(self, folder: Path) -> int:
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize

    def create(self, path: Path, data: bytes, mode: int) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)

    def allocate(self, path: Path, length: int) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            if length:
                os.posix_fallocate(descriptor, 0, length)
        finally:
            os.close(descriptor)

    def write(self, path: Path, data: bytes, offset: int) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            written = os.pwrite(descriptor, data, offset)
        finally:
            os.close(descriptor)
        if written != len(data):
            raise OSError(f"{path}: {written} of {len(data)} bytes written")

    def sync(self, path: Path, metadata: bool = True) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            (os.fsync if metadata else os.fdatasync)(descriptor)
        finally:
            os.close(descriptor)

    def sync_folder(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_all(self, folder: Path) -> None:
        import ctypes  # only the agent has use for it, once

        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if libc.syncfs(descriptor):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(folder))
        finally:
            os.close(descriptor)

    def make_folder(self, path: Path, mode: int) -> None:
        path.mkdir(mode=mode, exist_ok=True)

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def remove_folder(self, path: Path) -> None:
        path.rmdir()


disk: Disk = FileSystem()


# --- durable ----------------------------------------------------------------------------------------------------


def write_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Puts `data` at `path` as a whole or not at all, durably."""
    temporary = path.with_name(f".{path.name}.new")
    write_new(temporary, data, mode)
    rename(temporary, path)


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Writes and syncs a file that nothing names yet; its folder is not synced."""
    disk.create(path, data, mode)
    disk.sync(path)


def write_at(path: Path, data: bytes, offset: int) -> None:
    """Overwrites part of a file that has its full length already, and syncs its data."""
    disk.write(path, data, offset)
    disk.sync(path, metadata=False)


def rename(source: Path, target: Path) -> None:
    """Renames and syncs the folder (both, where they differ)."""
    disk.rename(source, target)
    disk.sync_folder(target.parent)
    if source.parent != target.parent:
        disk.sync_folder(source.parent)


def make_folder(path: Path, mode: int = 0o755) -> None:
    """Makes a folder and what is above it, durably; one that is there is left alone."""
    if disk.is_folder(path):
        return
    make_folder(path.parent)
    disk.make_folder(path, mode)
    try:
        disk.sync_folder(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            disk.remove_folder(path)  # the next call would find it and take it for durable
        raise


def remove(path: Path) -> None:
    """Removes a file or a whole folder, durably; a missing one is no error."""
    _unlink(path)
    if disk.is_folder(path.parent):
        disk.sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Makes what was written to `path` durable."""
    disk.sync(path)


def sync_folder(path: Path) -> None:
    disk.sync_folder(path)


def settle(folder: Path) -> None:
    """Makes durable what a process that was killed wrote and did not sync.

    Whoever starts calls it before reading: what is read may otherwise be undone by a power cut after more was built
    on it, and a record's only durable copy be overwritten.
    """
    disk.sync_all(folder)


# --- not durable by itself --------------------------------------------------------------------------------------


def allocate(path: Path, length: int) -> None:
    """A new file of zeros, for pieces to be put into. Not synced."""
    disk.allocate(path, length)


def put(path: Path, data: bytes, offset: int) -> None:
    """A piece of a file that has its full length already. Not synced."""
    disk.write(path, data, offset)


def link(source: Path, target: Path) -> None:
    """A hard link; one that is there is left alone. The folder is not synced."""
    if not exists(target):
        disk.link(source, target)


# --- reading ----------------------------------------------------------------------------------------------------


def read(path: Path, offset: int = 0, length: int = -1) -> bytes:
    """What a file holds from `offset`: at most `length` bytes, -1 for all."""
    return disk.read(path, offset, length)


def pieces(path: Path, length: int = READ_BYTES) -> Iterator[bytes]:
    """A file from its beginning, `length` bytes at a time."""
    offset = 0
    while piece := disk.read(path, offset, length):
        yield piece
        offset += len(piece)


def exists(path: Path) -> bool:
    try:
        disk.size(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def size(path: Path) -> int:
    return disk.size(path)


def links(path: Path) -> int:
    """How many names a file has."""
    return disk.links(path)


def names(folder: Path) -> list[str]:
    """What lies in a folder, in order; nothing where there is no such folder."""
    try:
        return sorted(disk.names(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def free_bytes(folder: Path) -> int:
    """Room on the disk of this folder."""
    return disk.free_bytes(folder)


def digest_of(path: Path) -> str:
    """sha256 of a file as 64 hex digits, without holding it in memory."""
    digest = hashlib.sha256()
    for piece in pieces(path):
        digest.update(piece)
    return digest.hexdigest()


def _unlink(path: Path) -> None:
    if disk.is_folder(path):
        for name in names(path):
            _unlink(path / name)
        disk.remove_folder(path)
        return
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(path)
