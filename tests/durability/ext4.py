"""A small ext4 on a loop device, whose backing file can be copied while it is written to. Needs root.

A copy counts only where two readings of the whole file in a row are the same: then it is what the disk held at the
moment between them. What the kernel had not written by then is lost, as at a power cut.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SIZE_BYTES = 8 * 1024 * 1024
SECTOR_BYTES = 512
_WRITES, _SECTORS, _FLUSHES = 4, 6, 15  # fields of /sys/block/*/stat, from 0 (Linux Documentation/block/stat)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a disk was asked to do since it is there."""

    writes: int
    written_bytes: int
    flushes: int


class Ext4:
    """A file system in `image`, mounted on `folder`."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.image = image
        self.folder = folder
        self._device = ""

    def make(self) -> None:
        with self.image.open("wb") as file:
            file.truncate(SIZE_BYTES)
        _run("mkfs.ext4", "-q", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self.image))

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """Mounts it, which replays its journal."""
        self.folder.mkdir(exist_ok=True)
        self._device = _run("losetup", "--find", "--show", str(self.image)).strip()
        try:
            _run("mount", "-t", "ext4", self._device, str(self.folder))
            try:
                yield self.folder
            finally:
                _run("umount", str(self.folder))
        finally:
            _run("losetup", "--detach", self._device)

    def copy(self) -> bytes:
        """What the disk holds at one moment."""
        with self.image.open("rb", buffering=0) as file:
            before = _whole(file.fileno())
            while (after := _whole(file.fileno())) != before:
                before = after
        return after

    def traffic(self) -> Traffic:
        fields = (Path("/sys/block") / Path(self._device).name / "stat").read_text().split()
        return Traffic(int(fields[_WRITES]), int(fields[_SECTORS]) * SECTOR_BYTES, int(fields[_FLUSHES]))


def why_not(folder: Path) -> str:
    """Why there can be no loop-mounted ext4 here; "" where there can."""
    if os.geteuid() != 0:
        return "needs root"
    disk = Ext4(folder / "probe.img", folder / "probe")
    try:
        disk.make()
        with disk.mounted():
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"needs mkfs.ext4 and a loop device: {error}"
    finally:
        with suppress(FileNotFoundError):
            disk.image.unlink()


def _whole(descriptor: int) -> bytes:
    return os.pread(descriptor, SIZE_BYTES, 0)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
