from pathlib import Path

import pytest

from fleet.content import Content
from fleet.publishing import pieces_of
from fleet.repo import Repository
from fleet.store import Store, StoredDesired
from fleet.store.releases import Release
from littoral.wire.messages import Want, parse_desired
from tests.fleet.parts import make_bundle

BUNDLE = make_bundle()


@pytest.fixture
def content(opened: Store, repository: Repository) -> Content:
    for name, data in BUNDLE.blobs.items():
        opened.blobs.put(name, data)
    pieces = pieces_of(BUNDLE.manifest, opened.blobs)
    opened.releases.add(Release(BUNDLE.manifest, BUNDLE.digest, 1), BUNDLE.text, pieces)
    return Content(opened, repository, "main")


def test_every_chunk_of_a_listed_release_is_there(content: Content) -> None:
    assert {digest: content.chunk(digest) for digest in content.chunks()} == BUNDLE.chunks()


def test_a_small_target_is_a_chunk_too(content: Content, repository: Repository) -> None:
    [(digest, director)] = repository.small_targets().items()
    assert content.chunk(digest) == director
    assert content.has_chunk(digest)


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
    assert content.has_chunk(wrong[0])


def test_what_was_never_listed_is_not_there(content: Content) -> None:
    assert content.chunk("f" * 64) is None
    assert not content.has_chunk("f" * 64)


def test_a_desired_state_is_signed_by_the_director(content: Content, opened: Store, repository: Repository) -> None:
    assert content.desired("door") is None
    opened.rollouts.put_desired("door", StoredDesired(3, "2026-01-01T00:00:00Z", {"eye": Want(1, BUNDLE.digest)}))
    data = content.desired("door")
    assert data is not None
    signed = parse_desired(data)
    assert signed.keyid == repository.director_keyid
    assert (signed.desired.device, signed.desired.tenant, signed.desired.generation) == ("door", "main", 3)
    assert list(content.devices()) == ["door"]
