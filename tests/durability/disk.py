"""A disk in memory that does at a power cut whatever a real one may do.

Whatever no sync has covered is kept or lost by itself: each block of a file, its length, each change of a folder. A
rename within one folder is one change, across folders it is two. That is harsher than a journal, which keeps changes of
folders in order; what a journal leaves is among what this disk may leave. It knows no modes, times or owners.
"""

import errno
import os
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

BLOCK_BYTES = 512  # what a disk writes as a whole, or not at all
PLENTY = 1 << 40


@dataclass(frozen=True, slots=True)
class Length:
    """A file has this length from now on; what is new of it is zeros."""

    order: int
    length: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file, all of one block."""

    order: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Names:
    """What names of a folder stand for from now on; None: for nothing."""

    order: int
    nodes: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True)
class File:
    """content: as everybody sees it. durable: as the last sync left it, on which `unsynced` may be kept or not."""

    content: bytes = b""
    durable: bytes = b""
    unsynced: tuple[Length | Piece, ...] = ()

    def after(self, changes: tuple[Length | Piece, ...]) -> "File":
        return replace(self, content=_applied(self.content, changes), unsynced=self.unsynced + changes)


@dataclass(frozen=True, slots=True)
class Folder:
    content: dict[str, int]
    durable: dict[str, int]
    unsynced: tuple[Names, ...] = ()

    def after(self, change: Names) -> "Folder":
        return replace(self, content=_named(self.content, (change,)), unsynced=(*self.unsynced, change))


@dataclass(slots=True)
class Work:
    """What a disk has done: blocks written by syncs, and syncs."""

    blocks: int = 0
    flushes: int = 0


class SimulatedDisk:
    """The disk of one device; implements agent.fsio.Disk. Its root is `/`."""

    def __init__(self, capacity_bytes: int = PLENTY) -> None:
        self.capacity_bytes = capacity_bytes
        self.read_only = False
        self.unreadable: set[tuple[Path, int]] = set()  # (file, block of it)
        self.work = Work()
        self._nodes: dict[int, File | Folder] = {0: Folder({}, {})}
        self._next = 1
        self._order = 0

    # --- as agent.fsio.Disk -------------------------------------------------------------------------------------

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        content = self._file(path).content
        end = len(content) if length < 0 else min(offset + length, len(content))
        for where, block in self.unreadable:
            if where == path and offset < (block + 1) * BLOCK_BYTES and block * BLOCK_BYTES < end:
                raise _error(errno.EIO, path)
        return content[offset:end]

    def size(self, path: Path) -> int:
        node = self._node(path)
        return len(node.content) if isinstance(node, File) else BLOCK_BYTES

    def links(self, path: Path) -> int:
        number = self._number(path)
        return sum(list(node.content.values()).count(number) for node in self._folders())

    def is_folder(self, path: Path) -> bool:
        try:
            return isinstance(self._node(path), Folder)
        except OSError:
            return False

    def names(self, folder: Path) -> list[str]:
        return list(self._folder(folder).content)

    def free_bytes(self, folder: Path) -> int:
        self._node(folder)
        return max(self.capacity_bytes - self._used_bytes(), 0)

    def create(self, path: Path, data: bytes, mode: int) -> None:
        number = self._opened(path)
        self._change(number, Length(self._tick(), 0))
        self._room_for(path, len(data))
        self._change(number, Length(self._tick(), len(data)), *self._pieces(data, 0))

    def allocate(self, path: Path, length: int) -> None:
        number = self._opened(path)
        self._change(number, Length(self._tick(), 0))
        self._room_for(path, length)
        self._change(number, Length(self._tick(), length))

    def write(self, path: Path, data: bytes, offset: int) -> None:
        self._writable(path)
        if offset + len(data) > len(self._file(path).content):
            raise ValueError(f"{path}: a write beyond its end")
        self._change(self._number(path), *self._pieces(data, offset))

    def sync(self, path: Path, metadata: bool = True) -> None:
        self._sync(self._number(path))

    def sync_folder(self, path: Path) -> None:
        self._folder(path)
        self._sync(self._number(path))

    def sync_all(self, folder: Path) -> None:
        for number in list(self._nodes):
            self._sync(number)

    def make_folder(self, path: Path, mode: int) -> None:
        if self.is_folder(path):
            return
        self._name(path, self._add(Folder({}, {})))

    def rename(self, source: Path, target: Path) -> None:
        number = self._number(source)
        self._writable(source)
        if source.parent == target.parent:
            self._rename((source.name, None), (target.name, number), folder=target.parent)
        else:
            self._rename((target.name, number), folder=target.parent)
            self._rename((source.name, None), folder=source.parent)

    def link(self, source: Path, target: Path) -> None:
        if target.name in self._folder(target.parent).content:
            raise _error(errno.EEXIST, target)
        self._name(target, self._number(source))

    def unlink(self, path: Path) -> None:
        if isinstance(self._node(path), Folder):
            raise _error(errno.EISDIR, path)
        self._name(path, None)

    def remove_folder(self, path: Path) -> None:
        if self._folder(path).content:
            raise _error(errno.ENOTEMPTY, path)
        self._name(path, None)

    # --- what may happen to it ------------------------------------------------------------------------------------

    def copy(self) -> "SimulatedDisk":
        """This disk as it is, unsynced changes too."""
        new = SimulatedDisk(self.capacity_bytes)
        new._nodes, new._next, new._order = dict(self._nodes), self._next, self._order
        new.read_only, new.unreadable = self.read_only, set(self.unreadable)
        return new

    def fill(self) -> None:
        """From now on it is full."""
        self.capacity_bytes = self._used_bytes()

    def unsynced(self) -> list[int]:
        """The changes that a power cut may undo, by order."""
        return sorted(change.order for node in self._nodes.values() for change in node.unsynced)

    def after_power_cut(self, kept: Set[int]) -> "SimulatedDisk":
        """What is left of it where of the unsynced changes only `kept` reached the disk."""
        new = SimulatedDisk(self.capacity_bytes)
        new._next, new._order = self._next, self._order
        new.read_only, new.unreadable = self.read_only, set(self.unreadable)
        waiting = [0]
        while waiting:
            number = waiting.pop()
            if number in new._nodes and number:
                continue
            node = self._left(self._nodes[number], kept)
            new._nodes[number] = node
            if isinstance(node, Folder):
                waiting += node.content.values()
        return new

    def spoil(self, path: Path, offset: int = 0) -> None:
        """Turns a byte of a file at rest into another one."""
        found = self._file(path).content
        changed = found[:offset] + bytes([found[offset] ^ 0xFF]) + found[offset + 1 :]
        self._nodes[self._number(path)] = File(changed, changed)

    def lose(self, path: Path) -> None:
        """What a sync that fails does: what was not synced is held for clean from now on, and reaches no disk."""
        self._nodes[self._number(path)] = replace(self._file(path), unsynced=())

    def files(self) -> Iterator[tuple[str, bytes | None]]:
        """Everything on it by path, in order; None: a folder."""
        waiting: list[tuple[str, int]] = [("", 0)]
        while waiting:
            path, number = waiting.pop()
            node = self._nodes[number]
            yield path, node.content if isinstance(node, File) else None
            if isinstance(node, Folder):
                waiting += [(f"{path}/{name}", node.content[name]) for name in sorted(node.content)]

    # --- within ---------------------------------------------------------------------------------------------------

    def _number(self, path: Path) -> int:
        number = 0
        for name in path.parts[1:]:
            node = self._nodes[number]
            if isinstance(node, File):
                raise _error(errno.ENOTDIR, path)
            found = node.content.get(name)
            if found is None:
                raise _error(errno.ENOENT, path)
            number = found
        return number

    def _node(self, path: Path) -> File | Folder:
        return self._nodes[self._number(path)]

    def _file(self, path: Path) -> File:
        node = self._node(path)
        if isinstance(node, Folder):
            raise _error(errno.EISDIR, path)
        return node

    def _folder(self, path: Path) -> Folder:
        node = self._node(path)
        if isinstance(node, File):
            raise _error(errno.ENOTDIR, path)
        return node

    def _folders(self) -> Iterator[Folder]:
        reached, waiting = {0}, [0]
        while waiting:
            node = self._nodes[waiting.pop()]
            if isinstance(node, Folder):
                yield node
                waiting += set(node.content.values()) - reached
                reached |= set(node.content.values())

    def _used_bytes(self) -> int:
        used = {number for folder in self._folders() for number in folder.content.values()}
        sizes = [len(node.content) for number in used if isinstance(node := self._nodes[number], File)]
        return sum(-(-size // BLOCK_BYTES) * BLOCK_BYTES for size in sizes)

    def _room_for(self, path: Path, length: int) -> None:
        if self.capacity_bytes != PLENTY and length > self.capacity_bytes - self._used_bytes():
            raise _error(errno.ENOSPC, path)

    def _writable(self, path: Path) -> None:
        if self.read_only:
            raise _error(errno.EROFS, path)

    def _tick(self) -> int:
        self._order += 1
        return self._order

    def _add(self, node: File | Folder) -> int:
        self._next += 1
        self._nodes[self._next] = node
        return self._next

    def _opened(self, path: Path) -> int:
        """Number of a file to be written anew."""
        self._writable(path)
        found = self._folder(path.parent).content.get(path.name)
        if found is None:
            self._room_for(path, 1)
            found = self._add(File())
            self._name(path, found)
        return found

    def _name(self, path: Path, number: int | None) -> None:
        self._writable(path)
        self._rename((path.name, number), folder=path.parent)

    def _rename(self, *names: tuple[str, int | None], folder: Path) -> None:
        where = self._number(folder)
        self._nodes[where] = self._folder(folder).after(Names(self._tick(), names))

    def _change(self, number: int, *changes: Length | Piece) -> None:
        node = self._nodes[number]
        assert isinstance(node, File)
        self._nodes[number] = node.after(changes)

    def _pieces(self, data: bytes, offset: int) -> list[Piece]:
        cuts = [0, *range(BLOCK_BYTES - offset % BLOCK_BYTES, len(data), BLOCK_BYTES), len(data)]
        return [Piece(self._tick(), offset + begin, data[begin:end]) for begin, end in pairwise(cuts) if begin < end]

    def _sync(self, number: int) -> None:
        node = self._nodes[number]
        self.work.flushes += 1
        self.work.blocks += len(node.unsynced)
        if isinstance(node, File):
            self._nodes[number] = File(node.content, _applied(node.durable, node.unsynced))
        else:
            self._nodes[number] = Folder(node.content, _named(node.durable, node.unsynced))

    @staticmethod
    def _left(node: File | Folder, kept: Set[int]) -> File | Folder:
        if isinstance(node, File):
            content = _applied(node.durable, tuple(each for each in node.unsynced if each.order in kept))
            return File(content, content)
        names = _named(node.durable, tuple(each for each in node.unsynced if each.order in kept))
        return Folder(names, names)


def _applied(content: bytes, changes: tuple[Length | Piece, ...]) -> bytes:
    if not changes:
        return content
    held = bytearray(content)
    for change in changes:
        if isinstance(change, Length):
            held = held[: change.length].ljust(change.length, b"\0")
        else:
            data = change.data[: max(len(held) - change.offset, 0)]
            held[change.offset : change.offset + len(data)] = data
    return bytes(held)


def _named(names: dict[str, int], changes: tuple[Names, ...]) -> dict[str, int]:
    if not changes:
        return names
    held = dict(names)
    for name, number in (pair for change in changes for pair in change.nodes):
        if number is None:
            held.pop(name, None)
        else:
            held[name] = number
    return held


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))
