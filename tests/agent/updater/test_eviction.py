"""agent/updater/eviction.py: what goes first, what goes last, and what never goes."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent import fsio
from agent.slots import Slot, SlotRecord, Update
from agent.updater import eviction, staging
from littoral.bundle import chunks
from littoral.bundle.manifest import Delta
from tests.agent.updater.fakes import Release, make_release


class Disk:
    """A device's files, and the order in which they go."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.records: dict[str, SlotRecord] = {}
        self.enough = 1_000
        self.let_go: list[str] = []

    def stage(self, release: Release) -> Slot:
        """A release in releases/, its blobs in blobs/."""
        fsio.make_folder(self.state / "blobs")
        lists = {}
        for role, blob in release.manifest.blobs.items():
            (self.state / "blobs" / blob.sha256).write_bytes(release.blobs[role])
            lists[role] = tuple(map(chunks.digest_of, chunks.split(release.blobs[role], 64)))
        staging.stage(self.state, release.encoded, release.manifest, release.bundle, lists)
        return Slot(release.manifest.release, release.bundle, "", evidence="full")

    def file(self, folder: str, name: str) -> None:
        fsio.make_folder(self.state / folder)
        (self.state / folder / name).write_bytes(b"x")

    def names(self) -> set[str]:
        return {f"{folder}/{name}" for folder in ("partial", "releases", "blobs") for name in self._in(folder)}

    def _in(self, folder: str) -> list[str]:
        return fsio.names(self.state / folder)

    def make_room(self, model: str, wanted: Release, remove: int = 1_000) -> set[str]:
        """Removes until so many files are gone; gives the names of what went."""
        before = self.names()

        def let_go(name: str) -> bool:
            self.let_go.append(name)
            return True

        def fits() -> bool:
            return len(before - self.names()) >= remove

        eviction.make_room(self.state, model, wanted.manifest, self.records, fits, let_go)
        return before - self.names()


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


OLD, SERVED, NEW, LOST = (make_release(number) for number in range(1, 5))


def updating(release: Release, state: str = "plan") -> Update:
    return Update(release.manifest.release, release.bundle, 1, 2, state)


@pytest.fixture
def full(disk: Disk) -> Disk:
    """A committed model with a release before it, on the way to a new one, and a leftover of every kind."""
    record = SlotRecord("cats", disk.stage(OLD), disk.stage(SERVED), "b", "committed", update=updating(NEW))
    disk.records["cats"] = record
    disk.stage(LOST)
    disk.file("blobs", "f" * 64)
    disk.file("partial", "e" * 64)
    return disk


def blob_name(release: Release) -> str:
    return f"blobs/{release.manifest.blobs['model'].sha256}"


def test_things_go_in_a_fixed_order_and_no_more_than_is_needed(full: Disk) -> None:
    gone = [full.make_room("cats", NEW, 1) for _ in range(6)]
    assert [sorted(each) for each in gone] == [
        [f"partial/{'e' * 64}"],
        [f"releases/{LOST.bundle}"],
        *sorted([[f"blobs/{'f' * 64}"], [blob_name(LOST)]]),
        [f"releases/{OLD.bundle}"],
        [blob_name(OLD)],
    ]
    assert full.let_go == ["cats"]


def test_the_baseline_never_goes(full: Disk) -> None:
    full.make_room("cats", NEW)
    assert full.names() == {f"releases/{SERVED.bundle}", blob_name(SERVED)}


def test_the_record_lets_go_before_the_files_go(full: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    full.make_room("cats", NEW, 4)
    eviction.make_room(full.state, "cats", NEW.manifest, full.records, lambda: False, lambda name: False)
    assert f"releases/{OLD.bundle}" in full.names()


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "trial"},
        {"b": Slot(2, SERVED.bundle, "", evidence="low")},
        {"update": updating(OLD)},
        {"update": updating(SERVED)},
    ],
)
def test_the_inactive_slot_stays_while_it_is_the_baseline_or_watched_back_to_or_wanted(
    full: Disk, change: dict[str, object]
) -> None:
    full.records["cats"] = replace(full.records["cats"], **change)  # type: ignore[arg-type]
    full.make_room("cats", NEW)
    assert full.let_go == []
    assert {f"releases/{OLD.bundle}", f"releases/{SERVED.bundle}"} <= full.names()


def test_another_models_spare_release_goes_after_ones_own(full: Disk) -> None:
    spare, served = make_release(1, model="birds"), make_release(2, model="birds")
    full.records["birds"] = SlotRecord("birds", full.stage(spare), full.stage(served), "b", "committed")
    full.make_room("cats", NEW)
    assert full.let_go == ["cats", "birds"]
    assert f"releases/{served.bundle}" in full.names()


@pytest.mark.parametrize("state", ["plan", "fetch", "stage"])
def test_while_another_model_fetches_its_files_stay(full: Disk, state: str) -> None:
    full.records["birds"] = SlotRecord("birds", update=updating(make_release(1, model="birds"), state))
    full.make_room("cats", NEW)
    assert {f"partial/{'e' * 64}", f"blobs/{'f' * 64}"} <= full.names()
    assert f"releases/{LOST.bundle}" not in full.names()


def test_what_is_wanted_and_what_it_is_rebuilt_of_stays(full: Disk) -> None:
    base, fetched = "f" * 64, "e" * 64
    wanted = Release(replace(NEW.manifest, deltas=(Delta("model", base, fetched, 1, "0" * 64),)), NEW.blobs)
    full.file("partial", NEW.manifest.blobs["model"].sha256)
    full.make_room("cats", wanted)
    assert {f"blobs/{base}", f"partial/{fetched}", f"partial/{NEW.manifest.blobs['model'].sha256}"} <= full.names()
