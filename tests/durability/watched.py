"""A disk with somebody who is told of each operation before it happens, and may make it fail or end the process."""

from collections.abc import Callable
from pathlib import Path

from agent.fsio import Disk

Watcher = Callable[[str, Path], None]  # (operation, what it is about)


class WatchedDisk:
    """Any disk; implements agent.fsio.Disk. `watcher` hears of what changes something, `reader` of the rest."""

    def __init__(self, disk: Disk, watcher: Watcher, reader: Watcher = lambda operation, path: None) -> None:
        self.disk = disk
        self.watcher = watcher
        self.reader = reader

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        self.reader("read", path)
        return self.disk.read(path, offset, length)

    def size(self, path: Path) -> int:
        return self.disk.size(path)

    def links(self, path: Path) -> int:
        return self.disk.links(path)

    def is_folder(self, path: Path) -> bool:
        return self.disk.is_folder(path)

    def names(self, folder: Path) -> list[str]:
        return self.disk.names(folder)

    def free_bytes(self, folder: Path) -> int:
        return self.disk.free_bytes(folder)

    def create(self, path: Path, data: bytes, mode: int) -> None:
        self.watcher("create", path)
        self.disk.create(path, data, mode)

    def allocate(self, path: Path, length: int) -> None:
        self.watcher("allocate", path)
        self.disk.allocate(path, length)

    def write(self, path: Path, data: bytes, offset: int) -> None:
        self.watcher("write", path)
        self.disk.write(path, data, offset)

    def sync(self, path: Path, metadata: bool = True) -> None:
        self.watcher("sync", path)
        self.disk.sync(path, metadata)

    def sync_folder(self, path: Path) -> None:
        self.watcher("sync_folder", path)
        self.disk.sync_folder(path)

    def sync_all(self, folder: Path) -> None:
        self.watcher("sync_all", folder)
        self.disk.sync_all(folder)

    def make_folder(self, path: Path, mode: int) -> None:
        self.watcher("make_folder", path)
        self.disk.make_folder(path, mode)

    def rename(self, source: Path, target: Path) -> None:
        self.watcher("rename", target)
        self.disk.rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self.watcher("link", target)
        self.disk.link(source, target)

    def unlink(self, path: Path) -> None:
        self.watcher("unlink", path)
        self.disk.unlink(path)

    def remove_folder(self, path: Path) -> None:
        self.watcher("remove_folder", path)
        self.disk.remove_folder(path)
