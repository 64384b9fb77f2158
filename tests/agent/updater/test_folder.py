"""A repository folder in place of a network: what the updater child believes of it, and what the steps read from it."""

import os
import socket
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agent.source import Got, Wanted
from agent.updater.child import serve
from agent.updater.child_protocol import ChildReader, Fail, Plan, Request
from agent.updater.folder import FolderAsker, FolderSource
from littoral.canonical import digest
from littoral.errors import (
    ExpiredMetadataError,
    LittoralError,
    MetadataError,
    NoAnswerError,
    NotListedError,
    ReplayedMetadataError,
)
from tests import sticks
from tests.agent.updater.scene import MODEL, Device
from tests.repository import DAY, NOW, Fleet, write_files

YEAR = 365 * DAY


class Offline:
    """A device that was online at NOW, and what its updater child says of a folder."""

    def __init__(self, fleet: Fleet, home: Path, wire: Path) -> None:
        self.device = Device(fleet, home, wire)
        self.root = home / "root.json"
        self.root.write_bytes(self.device.first_root)

    def known(self) -> dict[str, bytes]:
        """The metadata it keeps."""
        found = sorted(self.device.known.rglob("*.json"))
        return {str(path.relative_to(self.device.known)): path.read_bytes() for path in found}

    def ask(self, folder: Path, release: int, bundle: str, at: datetime) -> Plan | LittoralError:
        request = Request(
            "plan",
            str(self.root),
            str(self.device.known),
            "main",
            "cam-1",
            model=MODEL,
            release=release,
            bundle=bundle,
            folder=str(folder),
        )
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(request.encode())
            serve(theirs, at.timestamp())
            (ending,) = ChildReader().feed(ours.recv(1_000_000))
        assert isinstance(ending, Plan | Fail)
        return ending if isinstance(ending, Plan) else ending.error()


@pytest.fixture
def offline(fleet: Fleet, tmp_path: Path, wire: Path) -> Offline:
    """It has seen release 1."""
    offline = Offline(fleet, tmp_path, wire)
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    offline.device.release(1, bundle)
    return offline


def published_later(fleet: Fleet, at: datetime) -> str:
    fleet.now = at
    return fleet.publish(MODEL, 2)


# --- what the child believes ---------------------------------------------------------------------------------------


def test_a_folder_20_days_old_is_good_for_a_device_that_was_offline_for_a_year(
    fleet: Fleet, offline: Offline, tmp_path: Path
) -> None:
    made = NOW + YEAR - 20 * DAY
    bundle = published_later(fleet, made)
    folder = sticks.write(fleet, tmp_path / "stick", made)
    plan = offline.ask(folder, 2, bundle, NOW + YEAR)
    assert isinstance(plan, Plan)
    assert digest(plan.manifest.encode()) == bundle
    assert plan.root_version == 2


def test_a_folder_31_days_old_is_refused_and_the_date_and_the_remedy_are_named(
    fleet: Fleet, offline: Offline, tmp_path: Path
) -> None:
    bundle = published_later(fleet, NOW + DAY)
    folder = sticks.write(fleet, tmp_path / "stick", NOW + DAY)
    assert isinstance(offline.ask(folder, 2, bundle, NOW + 31 * DAY - timedelta(minutes=1)), Plan)
    error = offline.ask(folder, 2, bundle, NOW + 32 * DAY)
    assert isinstance(error, ExpiredMetadataError)
    assert f"good until {NOW + 31 * DAY:%Y-%m-%d}: export a new one" in error.cause


def test_what_the_operator_signed_may_expire_before_and_that_is_said(
    fleet: Fleet, offline: Offline, tmp_path: Path
) -> None:
    (listed,) = fleet.repository.releases(MODEL)
    folder = sticks.write(fleet, tmp_path / "stick", NOW + YEAR - 10 * DAY)
    error = offline.ask(folder, 1, digest(listed.encode()), NOW + YEAR + DAY)
    assert isinstance(error, ExpiredMetadataError)
    assert "which the operator signs: publish something" in error.cause


def test_a_folder_may_be_good_for_longer(fleet: Fleet, offline: Offline, tmp_path: Path) -> None:
    bundle = published_later(fleet, NOW + DAY)
    folder = sticks.write(fleet, tmp_path / "stick", NOW + DAY, 180)
    assert isinstance(offline.ask(folder, 2, bundle, NOW + 180 * DAY), Plan)


def test_nothing_of_a_folder_is_kept_but_new_roots_and_later_online_metadata_are_no_replay(
    fleet: Fleet, offline: Offline, tmp_path: Path, wire: Path
) -> None:
    before = offline.known()
    made = NOW + 200 * DAY
    bundle = published_later(fleet, made)
    fleet.write(wire)  # what is online is older than what the stick will say
    folder = sticks.write(fleet, tmp_path / "stick", made + DAY)
    assert isinstance(offline.ask(folder, 2, bundle, made + 2 * DAY), Plan)
    after = offline.known()
    assert {name for name in after if before.get(name) != after[name]} == {"root.json", "root_history/2.root.json"}
    assert offline.device.trust(made + timedelta(hours=1)).release(MODEL, 2, bundle)


def test_what_was_seen_online_still_counts_after_a_stick(
    fleet: Fleet, offline: Offline, tmp_path: Path, wire: Path
) -> None:
    old = {path.name: path.read_bytes() for path in (wire / "meta").iterdir()}
    bundle = published_later(fleet, NOW + DAY)
    fleet.write(wire)
    offline.device.release(2, bundle, NOW + DAY)
    folder = sticks.write(fleet, tmp_path / "stick", NOW + 2 * DAY)
    assert isinstance(offline.ask(folder, 2, bundle, NOW + 3 * DAY), Plan)
    write_files(wire / "meta", old)
    with pytest.raises(ReplayedMetadataError):
        offline.device.release(2, bundle, NOW + timedelta(hours=2))


def test_a_folder_older_than_what_was_seen_online_is_refused_with_the_remedy(
    fleet: Fleet, offline: Offline, tmp_path: Path, wire: Path
) -> None:
    bundle = published_later(fleet, NOW + DAY)
    folder = sticks.write(fleet, tmp_path / "stick", NOW + DAY)
    fleet.write(wire)
    offline.device.release(2, bundle, NOW + DAY)
    error = offline.ask(folder, 2, bundle, NOW + 2 * DAY)
    assert isinstance(error, ReplayedMetadataError)
    assert "export a new one" in error.cause


def test_the_folder_of_another_fleet_is_refused(offline: Offline, tmp_path: Path) -> None:
    other = Fleet(tmp_path / "other")
    bundle = other.publish(MODEL, 1)
    error = offline.ask(sticks.write(other, tmp_path / "stick", NOW), 1, bundle, NOW)
    assert type(error) is MetadataError


def test_a_release_that_the_metadata_do_not_list_is_refused(fleet: Fleet, offline: Offline, tmp_path: Path) -> None:
    folder = sticks.write(fleet, tmp_path / "stick", NOW + DAY)
    assert isinstance(offline.ask(folder, 1, "0" * 64, NOW + DAY), NotListedError)
    assert isinstance(offline.ask(folder, 9, "0" * 64, NOW + DAY), NotListedError)


def test_altered_or_missing_bytes_say_that_the_folder_is_not_whole(
    fleet: Fleet, offline: Offline, tmp_path: Path
) -> None:
    bundle = published_later(fleet, NOW + DAY)
    folder = sticks.write(fleet, tmp_path / "stick", NOW + DAY)
    path = folder / "chunk" / bundle
    data = path.read_bytes()
    for spoil in (path.unlink, lambda: path.write_bytes(data + b" "), lambda: path.write_bytes(bytes(70_000))):
        spoil()
        error = offline.ask(folder, 2, bundle, NOW + DAY)
        assert type(error) is MetadataError
        assert "not whole" in error.cause
    path.write_bytes(data)
    (folder / "meta" / "timestamp.json").write_bytes(b"{}")
    assert type(offline.ask(folder, 2, bundle, NOW + DAY)) is MetadataError


# --- what is read -------------------------------------------------------------------------------------------------


def test_absent_too_long_and_unreadable_are_told_apart(tmp_path: Path) -> None:
    write_files(tmp_path / "meta", {"a.json": b"12345"})
    (tmp_path / "meta" / "b.json").mkdir()
    asker = FolderAsker(tmp_path)
    assert asker.get("meta/a.json", 5) == b"12345"
    assert asker.get("meta/none.json", 5) is None
    assert asker.get("meta/../meta/a.json", 5) is None
    for name, most in (("meta/a.json", 4), ("meta/b.json", 5)):
        with pytest.raises(NoAnswerError):
            asker.get(name, most)


def test_pieces_of_whole_blobs_come_as_chunks_and_each_once(tmp_path: Path) -> None:
    blob = os.urandom(2_500)
    name = digest(blob)
    write_files(tmp_path / "blob", {name: blob})
    listed = b"x" * 32
    write_files(tmp_path / "chunk", {digest(listed): listed})
    source = FolderSource(tmp_path)
    pieces = [blob[at : at + 1_000] for at in range(0, 2_500, 1_000)]
    source.ask(
        [Wanted(f"chunk/{digest(p)}", name, at * 1_000, len(p)) for at, p in enumerate(pieces)]
        + [Wanted(f"chunk/{digest(listed)}")]
    )
    assert [got.data for got in source.poll()] == [*pieces, listed]
    assert source.poll() == []


def test_what_is_not_there_or_not_its_name_is_absent(tmp_path: Path) -> None:
    write_files(tmp_path / "chunk", {"a" * 64: b"wrong"})
    write_files(tmp_path / "blob", {"b" * 64: b"short"})
    source = FolderSource(tmp_path)
    wanted = [
        Wanted(f"chunk/{'a' * 64}"),
        Wanted(f"chunk/{'c' * 64}"),
        Wanted(f"chunk/{'d' * 64}", "b" * 64, 3, 1_000),
        Wanted(f"chunk/{'e' * 64}", "f" * 64, 0, 1_000),
    ]
    source.ask(wanted)
    assert source.poll() == [Got(each.name, None) for each in wanted]


def test_what_is_wanted_no_more_does_not_come_and_one_turn_reads_only_so_much(tmp_path: Path) -> None:
    source = FolderSource(tmp_path)
    wanted = [Wanted(f"chunk/{number:064x}") for number in range(40)]
    source.ask(wanted)
    source.forget([each.name for each in wanted[:20]])
    first = source.poll()
    assert 0 < len(first) < 20
    rest = source.poll()
    assert [got.name for got in first + rest] == [each.name for each in wanted[20:]]
    source.need(["0" * 64])
