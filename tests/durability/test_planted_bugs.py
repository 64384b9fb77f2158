"""Bugs that a power cut would show are planted one by one: a search that does not see each of them proves nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent import fsio, slots
from agent.slots import SlotRecord
from agent.updater import staging
from tests.durability.explore import STATE, Explorer
from tests.durability.story import STORIES

Plant = Callable[[pytest.MonkeyPatch], None]


def no_sync_of_what_a_record_says(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fsio, "write_at", fsio.put)


def no_sync_of_new_files(patch: pytest.MonkeyPatch) -> None:
    def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
        fsio.disk.create(path, data, mode)

    patch.setattr(fsio, "write_new", write_new)


def no_sync_of_fetched_blobs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fsio, "sync_file", lambda path: None)


def no_sync_of_a_staged_folder(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fsio, "sync_folder", lambda path: None)


def no_sync_above_new_folders(patch: pytest.MonkeyPatch) -> None:
    def make_folder(path: Path, mode: int = 0o755) -> None:
        if not fsio.disk.is_folder(path):
            make_folder(path.parent)
            fsio.disk.make_folder(path, mode)

    patch.setattr(fsio, "make_folder", make_folder)


def rename_without_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fsio, "rename", lambda source, target: fsio.disk.rename(source, target))


def collecting_before_the_decision_is_durable(patch: pytest.MonkeyPatch) -> None:
    decide = slots.write

    def write(path: Path, value: SlotRecord) -> None:
        staging.collect(STATE, [value])
        decide(path, value)

    patch.setattr(slots, "write", write)


def a_single_record(patch: pytest.MonkeyPatch) -> None:
    whole = fsio.write_at
    patch.setattr(fsio, "write_at", lambda path, data, offset: whole(path, data, 0))


def building_on_what_a_killed_agent_did_not_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fsio, "settle", lambda folder: None)


def removing_a_release_file_by_file(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(staging, "remove_release", lambda state, name: fsio.remove(slots.release_folder(state, name)))


PLANTS: tuple[Plant, ...] = (
    no_sync_of_what_a_record_says,
    no_sync_of_new_files,
    no_sync_of_fetched_blobs,
    no_sync_of_a_staged_folder,
    no_sync_above_new_folders,
    rename_without_sync,
    collecting_before_the_decision_is_durable,
    a_single_record,
    building_on_what_a_killed_agent_did_not_sync,
    removing_a_release_file_by_file,
)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_the_search_sees_a_planted_bug(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    story = STORIES[0]
    once = Explorer(story, first=600).run()
    assert once.bad or Explorer(story, share=1.0, again=200, killed=True).run().bad
