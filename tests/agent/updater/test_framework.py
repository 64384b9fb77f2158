"""agent/updater/framework.py: what the folder of verified metadata holds after a power cut at any of its operations."""

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent import fsio
from littoral.errors import ReplayedMetadataError
from tests.agent.updater.scene import MODEL, Device
from tests.durability.disk import SimulatedDisk
from tests.durability.explore import choices
from tests.repository import NOW, Fleet, rotate, write_files

ROOT = Path("/")
LATER = NOW + timedelta(hours=1)


class Recorder(fsio.FileSystem):
    """The disk of this machine, and beside it a simulated one that knows what a power cut may take from `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.simulated = SimulatedDisk()
        self.moments: list[SimulatedDisk] = []  # before each operation
        for path in sorted(folder.rglob("*")):
            inside = self._inside(path)
            self.simulated.make_folder(inside, 0o755) if path.is_dir() else self.simulated.create(
                inside, path.read_bytes(), 0o644
            )
        self.simulated.sync_all(ROOT)

    def _inside(self, path: Path) -> Path:
        return ROOT / path.relative_to(self.folder)

    def _do(self, name: str, *paths: Path, **more: Any) -> None:
        self.moments.append(self.simulated.copy())
        getattr(super(), name)(*paths, **more)
        getattr(self.simulated, name)(*map(self._inside, paths), **more)

    def create(self, path: Path, data: bytes, mode: int) -> None:
        self._do("create", path, data=data, mode=mode)

    def sync(self, path: Path, metadata: bool = True) -> None:
        self._do("sync", path, metadata=metadata)

    def sync_folder(self, path: Path) -> None:
        self._do("sync_folder", path)

    def rename(self, source: Path, target: Path) -> None:
        self._do("rename", source, target)


def left_by_a_power_cut(moments: list[SimulatedDisk]) -> Iterator[dict[str, bytes]]:
    """Every different content of the folder, by path."""
    chance, seen = random.Random(1), set()
    for moment in moments:
        for kept in choices(moment.unsynced(), chance):
            files = {path: data for path, data in moment.after_power_cut(kept).files() if data is not None}
            key = tuple(sorted(files.items()))
            if key not in seen:
                seen.add(key)
                yield files


def put(known: Path, files: dict[str, bytes]) -> None:
    for path in sorted(known.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for name, data in files.items():
        write_files((known / name[1:]).parent, {Path(name).name: data})


def test_after_a_power_cut_at_any_operation_the_device_goes_on(
    fleet: Fleet, device: Device, wire: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fleet.publish(MODEL, 1)
    fleet.write(wire)
    device.release(1, first)
    fleet.now = LATER
    rotate(fleet, "snapshot", "timestamp")
    second = fleet.publish(MODEL, 2)
    fleet.write(wire)
    recorder = Recorder(device.known)
    with monkeypatch.context() as patch:
        patch.setattr(fsio, "disk", recorder)
        device.release(2, second, LATER)
    states = list(left_by_a_power_cut(recorder.moments))
    assert len(states) > 30
    for files in states:
        put(device.known, files)
        device.release(2, second, LATER)


def test_what_was_verified_is_not_forgotten_by_a_power_cut(
    fleet: Fleet, device: Device, wire: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fleet.publish(MODEL, 1)
    fleet.write(wire)
    device.release(1, first)
    old = (wire / "meta" / "timestamp.json").read_bytes()
    fleet.now = LATER
    second = fleet.publish(MODEL, 2)
    fleet.write(wire)
    recorder = Recorder(device.known)
    with monkeypatch.context() as patch:
        patch.setattr(fsio, "disk", recorder)
        device.release(2, second, LATER)
    write_files(wire / "meta", {"timestamp.json": old})
    for files in left_by_a_power_cut([recorder.simulated]):
        put(device.known, files)
        with pytest.raises(ReplayedMetadataError):
            device.release(1, first, LATER)


def test_every_file_is_written_through_the_one_door_and_only_when_it_changed(
    fleet: Fleet, device: Device, wire: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails where a newer python-tuf writes another way."""
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    written: list[Path] = []
    real = fsio.write_file

    def note(path: Path, data: bytes) -> None:
        written.append(path)
        real(path, data)

    monkeypatch.setattr(fsio, "write_file", note)
    device.release(1, bundle)
    there = {path for path in device.known.rglob("*") if path.is_file()}
    assert set(written) == there
    assert not any(path.is_symlink() for path in there)
    assert written[0].parent.name == "root_history"
    written.clear()
    device.release(1, bundle)
    assert written == []
