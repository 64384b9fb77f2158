import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.rollout import Outcome, Rollout, RolloutState, Standing
from fleet.store import Device, Piece, Report, Store, StoredDesired, create
from fleet.store.access import page_cookie
from fleet.store.releases import Release
from littoral.errors import BadRequestError, ConfigError, DigestError
from littoral.wire.messages import Event, Metrics, ReleaseMetrics, Want
from tests.fleet.parts import committed, make_bundle, reported


def test_a_folder_without_a_fleet_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Store(tmp_path)


def test_no_token_is_stored_as_it_is(tmp_path: Path) -> None:
    admin = create(tmp_path)
    opened = Store(tmp_path)
    token = opened.access.add_token(b"root", 10)
    assert opened.access.is_admin(admin)
    assert opened.access.is_viewer(page_cookie(admin))
    opened.close()
    for secret in (admin, page_cookie(admin), token, token.split(".")[0]):
        assert not [file for file in tmp_path.glob("fleet.db*") if secret.encode() in file.read_bytes()]


def test_the_pages_cookie_is_no_token(opened: Store) -> None:
    admin = opened.access.add_admin()
    assert not opened.access.is_admin(page_cookie(admin))
    assert not opened.access.is_viewer(admin)
    assert not opened.access.is_admin("")


def test_a_token_names_the_first_root_by_its_digest(opened: Store) -> None:
    assert opened.access.add_token(b"root", 10).endswith(".4813494d137e1631bba301d5acab6e7b")


def test_no_token_is_taken_for_an_option_on_a_command_line(opened: Store) -> None:
    made = [opened.access.add_admin() for _ in range(200)] + [opened.access.add_token(b"root", 10) for _ in range(200)]
    assert not [token for token in made if token.startswith("-")]


def test_an_event_counts_once_however_often_it_comes(opened: Store) -> None:
    first = Report("door", 5, Event("e1", 1, "fetched", "eye", 2, "text", {"n": 3}))
    for _ in range(3):
        opened.reports.add_events([first, Report("gate", 6, Event("e1", 1, "fetched"))])
    found = opened.reports.events(10)
    assert [(one.device, one.event.id) for one in found] == [("gate", "e1"), ("door", "e1")]
    assert found[1].event == first.event
    assert [one.device for one in opened.reports.events(10, device="door")] == ["door"]
    assert [one.device for one in opened.reports.events(10, model="eye")] == ["door"]


def test_a_window_of_metrics_counts_once_per_boot_and_number(opened: Store) -> None:
    counters = (ReleaseMetrics("eye", 2, "committed", 600, 0, 130, 180, 10_000_000),)
    window = Metrics("boot", 1, 100, 60, counters)
    for _ in range(2):
        opened.reports.add_metrics([("door", window), ("door", Metrics("boot", 2, 160, 60, ()))], now=200)
    rows = opened._session.rows("SELECT boot, seq FROM metrics")
    assert [(row["boot"], row["seq"]) for row in rows] == [("boot", 1), ("boot", 2)]
    assert opened.reports.newest_metrics("door") == {"at": 160, "window_s": 60, "models": []}
    assert opened.reports.newest_metrics("gate") is None


def test_old_reports_are_forgotten(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.store.reports.KEPT_EVENTS", 3)
    opened.reports.add_events([Report("door", 1, Event(f"e{n}", 1, "fetched")) for n in range(10)])
    opened.reports.add_metrics([("door", Metrics("b", 1, 1, 60, ()))], now=0)
    opened.reports.prune(now=8 * 86_400)
    assert [one.event.id for one in opened.reports.events(100)] == ["e9", "e8", "e7"]
    assert opened.reports.newest_metrics("door") is None


def test_a_device_comes_back_as_it_was_stored(opened: Store) -> None:
    opened.devices.add(Device("door", {"site": "north"}, "aarch64", 7))
    state = reported("door", 3, eye=committed(make_bundle()))
    opened.devices.set_presence("door", True, "0.1", 8)
    opened.devices.set_reported("door", state, 9)
    expected = Device("door", {"site": "north"}, "aarch64", 7, True, 9, "0.1", 3, state)
    assert opened.devices.get("door") == expected
    opened.devices.set_all_offline()
    assert not opened.devices.all()[0].online
    assert opened.devices.get("gate") is None


def test_rollouts_standings_and_desired_states_come_back(opened: Store) -> None:
    new = Rollout(0, "eye", 2, "b" * 64, 1, "all", RolloutState.RUNNING, 5)
    first, second = opened.rollouts.add(new), opened.rollouts.add(new)
    assert [one.id for one in opened.rollouts.all("eye")] == [second.id, first.id] == [2, 1]
    standing = Standing(Outcome.ROLLED_BACK, 1, "", "why", "constant", {"equal": 64}, 1, 2)
    opened.rollouts.put_standing(1, "door", standing)
    assert opened.rollouts.standings(1) == {"door": standing}
    assert opened.rollouts.standings_of("door") == {1: standing}
    assert opened.rollouts.outcomes(1) == {Outcome.ROLLED_BACK}
    desired = StoredDesired(4, "2026-01-01T00:00:00Z", {"eye": Want(2, "b" * 64, 3), "ear": None})
    opened.rollouts.put_desired("door", desired)
    assert opened.rollouts.desired("door") == desired
    assert list(opened.rollouts.devices_with_desired()) == ["door"]


def test_a_chunk_that_two_releases_share_stays_when_one_goes(opened: Store) -> None:
    one, two = make_bundle(release=1), make_bundle(release=2)
    shared, alone = Piece("s" * 64, "f" * 64, 0, 4), Piece("a" * 64, "f" * 64, 4, 4)
    opened.releases.add(Release(one.manifest, one.digest, 1), one.text, [shared, alone])
    opened.releases.add(Release(two.manifest, two.digest, 2), two.text, [shared])
    assert [found.manifest.release for found in opened.releases.all("eye")] == [2, 1]
    assert set(opened.releases.pieces([one.digest])) == {"s" * 64, "a" * 64}
    opened.releases.drop("eye", 1)
    assert opened.releases.pieces([one.digest, two.digest]) == ["s" * 64]
    assert opened.releases.piece("a" * 64) is None
    assert opened.releases.has_blob("f" * 64)
    opened.releases.drop("eye", 1)
    opened.releases.drop("eye", 2)
    assert not opened.releases.has_blob("f" * 64)


def test_chunk_lists_come_before_chunks(opened: Store) -> None:
    bundle = make_bundle()
    pieces = [Piece("1" * 64, "f" * 64, 0, 4), Piece("2" * 64, "2" * 64, 0, 4)]
    opened.releases.add(Release(bundle.manifest, bundle.digest, 1), bundle.text, pieces)
    assert opened.releases.pieces([bundle.digest]) == ["2" * 64, "1" * 64]
    assert opened.releases.pieces([]) == []


def test_what_was_cleared_from_the_broker_is_remembered_for_a_while(opened: Store) -> None:
    published = opened.published
    published.note(["a", "b", "c"], [], 1)
    published.note(["d"], ["a", "b"], 5)
    published.note(["b"], ["c"], 9)
    assert (published.there(), published.cleared()) == ({"b", "d"}, {"a", "c"})
    published.forget_cleared(9)
    assert (published.there(), published.cleared()) == ({"b", "d"}, {"c"})


def test_of_a_bundle_is_known_when_a_device_that_lacks_it_was_last_heard_of(opened: Store) -> None:
    for device, seen in (("door", 7), ("gate", 9), ("hall", 0)):
        opened.devices.add(Device(device, {}, "x86_64", 1))
        opened.devices.seen([device], seen)
    for bundle in ("b" * 64, "c" * 64):
        opened.rollouts.add(Rollout(0, "eye", 2, bundle, 1, "all", RolloutState.HALTED, 5))
    opened.rollouts.put_standing(1, "door", Standing(Outcome.FETCHING))
    opened.rollouts.put_standing(1, "gate", Standing(Outcome.COMMITTED))
    opened.rollouts.put_standing(2, "hall", Standing(Outcome.OFFERED))
    asked = [Outcome.FETCHING, Outcome.OFFERED]
    assert opened.rollouts.last_heard(asked) == {"b" * 64: 7, "c" * 64: 1}  # never heard of: since it was enrolled


def test_a_blob_is_what_its_name_says_or_is_not_there(opened: Store) -> None:
    bundle = make_bundle()
    name, data = next(iter(bundle.blobs.items()))
    with pytest.raises(DigestError):
        opened.blobs.put(name, data + b"!")
    assert not opened.blobs.has(name)
    opened.blobs.put(name, data)
    assert opened.blobs.read(name, 3, 5) == data[3:8]
    assert [path.name for path in opened.blobs.path(name).parent.iterdir()] == [name]


def test_an_upload_ends_at_its_limit(opened: Store) -> None:
    with opened.blobs.upload("a" * 64, 10) as upload, pytest.raises(BadRequestError):
        upload.write(bytes(11))
    assert list(opened.blobs.path("a" * 64).parent.iterdir()) == []


@pytest.mark.parametrize("name", ["", "x", "../fleet.db", "A" * 64, "a" * 63, "a" * 65])
def test_what_is_no_digest_names_no_blob(opened: Store, name: str) -> None:
    with pytest.raises(BadRequestError):
        opened.blobs.path(name)


def test_a_transaction_that_fails_leaves_nothing(opened: Store) -> None:
    def fail() -> None:
        with opened.atomic():
            opened.devices.add(Device("door", {}, "x86_64", 1))
            with opened.atomic():
                opened.settings.put("a", "b")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert opened.devices.all() == []
    assert opened.settings.get("a") is None


def test_threads_share_the_store(opened: Store) -> None:
    def add(first: int) -> None:
        for number in range(first, first + 25):
            opened.devices.add(Device(f"d{number}", {}, "x86_64", 1))

    threads = [threading.Thread(target=add, args=(first,)) for first in (0, 25, 50, 75)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened.devices.ids()) == 100


def test_settings_are_kept(opened: Store) -> None:
    opened.settings.put("broker_port", "1")
    opened.settings.put("broker_port", "2")
    assert (opened.settings.get("broker_port"), opened.settings.get("other")) == ("2", None)


def test_the_rollouts_of_a_database_that_an_older_version_made_go_on(tmp_path: Path) -> None:
    create(tmp_path)
    with closing(sqlite3.connect(tmp_path / "fleet.db")) as db:
        for column in ("window", "urgent", "gate", "shadow_s"):
            db.execute(f"ALTER TABLE rollouts DROP COLUMN {column}")
        db.execute(
            "INSERT INTO rollouts (id, model, release, bundle, attempt, selector, state, created, ended, reason)"
            " VALUES (1, 'eye', 2, ?, 1, 'all', 'running', 5, 0, '')",
            ["a" * 64],
        )
        db.commit()
    with closing(Store(tmp_path)) as opened:
        old = Rollout(1, "eye", 2, "a" * 64, 1, "all", RolloutState.RUNNING, 5)
        assert opened.rollouts.all() == [old]
        added = opened.rollouts.add(replace(old, id=0, window="02:00-05:00", gate="strict", shadow_s=60))
        assert opened.rollouts.all() == [added, old]
