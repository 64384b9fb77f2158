from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.content import Content
from fleet.publishing import pieces_of
from fleet.repo import Repository
from fleet.rollout import Outcome, Rollout, RolloutState, Standing
from fleet.store import Device, Store, StoredDesired
from fleet.store.releases import Release
from littoral.wire.messages import Want, parse_desired
from tests.fleet.parts import make_bundle

BUNDLE = make_bundle()


CHUNKS = set(BUNDLE.chunks())
DAY_S = 86_400


@dataclass
class Clock:
    now: int = 1_000_000

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def content(opened: Store, repository: Repository, clock: Clock) -> Content:
    """A listed release that is rolled out to one device."""
    for name, data in BUNDLE.blobs.items():
        opened.blobs.put(name, data)
    pieces = pieces_of(BUNDLE.manifest, opened.blobs)
    opened.releases.add(Release(BUNDLE.manifest, BUNDLE.digest, 1), BUNDLE.text, pieces)
    opened.devices.add(Device("door", {}, "x86_64", clock.now))
    rollout = Rollout(0, "eye", 1, BUNDLE.digest, 1, "all", RolloutState.RUNNING, clock.now)
    opened.rollouts.put_standing(opened.rollouts.add(rollout).id, "door", Standing(Outcome.OFFERED))
    return Content(opened, repository, "main", clock)


def end_rollout(opened: Store, state: RolloutState = RolloutState.DONE, outcome: Outcome = Outcome.COMMITTED) -> None:
    opened.rollouts.set_state(1, state, "", 9)
    opened.rollouts.put_standing(1, "door", Standing(outcome))


def test_every_chunk_of_a_release_on_its_way_is_there(content: Content) -> None:
    assert {digest: content.chunk(digest) for digest in content.chunks()} == BUNDLE.chunks()


def test_a_small_target_is_a_chunk_too(content: Content, repository: Repository) -> None:
    [(digest, director)] = repository.small_targets().items()
    content.chunks()
    assert content.chunk(digest) == director
    assert content.wants(digest)


def test_chunks_are_told_once_when_they_come_to_be_wanted_and_once_when_nobody_wants_them(
    content: Content, opened: Store
) -> None:
    assert set(content.changed_chunks()) == CHUNKS
    assert content.changed_chunks() == []
    assert all(map(content.wants, CHUNKS))
    end_rollout(opened)
    assert set(content.changed_chunks()) == CHUNKS
    assert not any(map(content.wants, CHUNKS))
    assert content.changed_chunks() == []


def test_a_device_that_has_yet_to_fetch_keeps_the_chunks_of_a_halted_rollout_for_a_week(
    content: Content, opened: Store, clock: Clock
) -> None:
    end_rollout(opened, RolloutState.HALTED, Outcome.FETCHING)
    assert set(content.chunks()) == CHUNKS
    clock.now += 7 * DAY_S
    assert content.changed_chunks() == []
    clock.now += 1
    assert set(content.changed_chunks()) == CHUNKS
    opened.devices.seen(["door"], clock.now)
    assert set(content.changed_chunks()) == CHUNKS
    assert all(map(content.wants, CHUNKS))


def test_a_chunk_that_a_device_needs_is_there_for_six_hours(content: Content, opened: Store, clock: Clock) -> None:
    end_rollout(opened)
    content.chunks()
    digest = min(CHUNKS)
    assert content.need("door", [digest, "f" * 64]) == [digest]
    assert content.changed_chunks() == [digest]
    assert content.wants(digest)
    clock.now += 6 * 3_600
    assert content.changed_chunks() == []
    clock.now += 1
    assert content.changed_chunks() == [digest]
    assert not content.wants(digest)


def test_a_server_that_crashed_knows_what_it_may_have_left_on_the_broker(
    content: Content, opened: Store, repository: Repository, clock: Clock
) -> None:
    content.changed_chunks()  # and it ended before or after any of it was sent
    end_rollout(opened)
    content.changed_chunks()
    for _ in range(2):
        again = Content(opened, repository, "main", clock)
        assert set(again.chunks()) == CHUNKS
        assert not any(map(again.wants, CHUNKS))
        clock.now += DAY_S + 1
    assert Content(opened, repository, "main", clock).chunks() == []


def test_a_release_that_is_listed_no_more_leaves_nothing_behind(content: Content, opened: Store) -> None:
    content.chunks()
    opened.releases.drop("eye", 1)
    assert set(content.changed_chunks()) == CHUNKS
    assert not any(map(content.wants, CHUNKS))
    assert content.need("door", CHUNKS) == []


def test_bytes_that_the_disk_changed_are_never_given_out(
    content: Content, opened: Store, caplog: pytest.LogCaptureFixture
) -> None:
    path: Path = opened.blobs.path(BUNDLE.manifest.blobs["model"].sha256)
    path.write_bytes(b"!" + path.read_bytes()[1:])
    wrong = [digest for digest in content.chunks() if content.chunk(digest) is None]
    assert len(wrong) == 1
    assert "is damaged" in caplog.text
    path.unlink()
    assert content.chunk(wrong[0]) is None
    assert content.wants(wrong[0])


def test_what_was_never_listed_is_not_there(content: Content) -> None:
    assert content.chunk("f" * 64) is None
    assert not content.wants("f" * 64)


def test_a_desired_state_is_signed_by_the_director(content: Content, opened: Store, repository: Repository) -> None:
    assert content.desired("door") is None
    opened.rollouts.put_desired("door", StoredDesired(3, "2026-01-01T00:00:00Z", {"eye": Want(1, BUNDLE.digest)}))
    data = content.desired("door")
    assert data is not None
    signed = parse_desired(data)
    assert signed.keyid == repository.director_keyid
    assert (signed.desired.device, signed.desired.tenant, signed.desired.generation) == ("door", "main", 3)
    assert list(content.devices()) == ["door"]
