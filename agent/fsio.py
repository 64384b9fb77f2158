"""The one door for durable writes on a device.

A call that returns has reached the disk: files are synced, and so are the folders that name them. Nothing here
decides anything.
"""

import hashlib
import os
from pathlib import Path


def write_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Puts `data` at `path` as a whole or not at all, durably. Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")
    write_new(temporary, data, mode)
    rename(temporary, path)


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Writes and syncs a file that nothing names yet; its folder is not synced. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_at(path: Path, data: bytes, offset: int) -> None:
    """Overwrites part of a file that has its full length already, and syncs its data. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        written = os.pwrite(descriptor, data, offset)
        if written != len(data):
            raise OSError(f"{path}: {written} of {len(data)} bytes written")
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    """Renames and syncs the folder (both, where they differ). Raises OSError."""
    source.replace(target)
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def make_folder(path: Path, mode: int = 0o755) -> None:
    """Makes a folder and what is above it, durably; one that is there is left alone. Raises OSError."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode=mode, exist_ok=True)
    sync_folder(path.parent)


def link(source: Path, target: Path) -> None:
    """A hard link; one that is there is left alone. The folder is not synced. Raises OSError."""
    if not target.exists():
        os.link(source, target)


def remove(path: Path) -> None:
    """Removes a file or a whole folder, durably; a missing one is no error. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        import shutil  # not at the top: the runtime, which removes nothing, would carry it

        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if path.parent.is_dir():
        sync_folder(path.parent)


def digest_of(path: Path) -> str:
    """sha256 of a file as 64 hex digits, without holding it in memory. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """Makes what was written to `path` durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
