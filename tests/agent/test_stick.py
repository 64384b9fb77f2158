"""A folder that somebody brought: whatever lies on it, nothing but what a repository holds is read."""

import os
from pathlib import Path

import pytest

from agent.stick import Stick
from littoral.bundle import manifest
from littoral.canonical import digest
from littoral.errors import BundleError
from littoral.wire.messages import encode_names
from littoral.wire.topics import CHUNK_BYTES
from tests import sticks
from tests.repository import NOW, Fleet

NAME = "a" * 64


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A stick with two models, one with two releases."""
    fleet = Fleet(tmp_path / "data")
    for model, release in (("person", 1), ("person", 2), ("vehicle", 9)):
        fleet.publish(model, release)
    return sticks.write(fleet, tmp_path / "stick", NOW)


def test_the_releases_and_metadata_on_it_are_found(root: Path) -> None:
    stick = Stick(root)
    found = stick.releases()
    assert [(each.manifest.model, each.manifest.release) for each in found] == [("person", 2), ("vehicle", 9)]
    assert all(digest(each.manifest.encode()) == each.bundle for each in found)
    assert {"1.root.json", "timestamp.json", "3.targets.json"} <= set(stick.metadata())
    model = found[0].manifest.blobs["model"]
    assert digest(b"".join(stick.pieces("blob", model.sha256, model.length))) == model.sha256


def test_what_is_no_repository_is_said_to_be_none(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("/dev/null")):
        with pytest.raises(BundleError, match="no repository folder"):
            Stick(path)


def test_links_fifos_and_folders_are_not_read(root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (root / "blob" / NAME).symlink_to(secret)
    (root / "blob" / ("b" * 64)).mkdir()
    os.mkfifo(root / "blob" / ("c" * 64))
    (root / "blob" / ("d" * 64)).symlink_to("/dev/zero")
    for letter in "abcd":
        with pytest.raises(BundleError):
            list(Stick(root).pieces("blob", letter * 64, 1_000))


def test_a_folder_that_is_a_link_is_not_entered(root: Path, tmp_path: Path) -> None:
    """Else what lists `shadow` as metadata would be read from /etc."""
    elsewhere = tmp_path / "elsewhere"
    (root / "meta").rename(elsewhere)
    (root / "meta").symlink_to(elsewhere)
    with pytest.raises(BundleError, match="cannot be read"):
        Stick(root).metadata()


def test_a_fifo_among_the_small_files_makes_nobody_wait(root: Path) -> None:
    os.mkfifo(root / "chunk" / NAME)
    with pytest.raises(BundleError, match="no regular file"):
        Stick(root).releases()


def test_an_enormous_file_is_not_read(root: Path) -> None:
    for kind, name, most in (("chunk", NAME, CHUNK_BYTES), ("blob", NAME, 10**6)):
        with (root / kind / name).open("wb") as file:
            file.truncate(1 << 40)
        with pytest.raises(BundleError, match="at most"):
            list(Stick(root).pieces(kind, name, most))


def test_a_file_that_shrinks_while_it_is_read_is_not_whole(root: Path) -> None:
    path = root / "blob" / NAME
    path.write_bytes(bytes(3 << 20))
    pieces = Stick(root).pieces("blob", NAME, 3 << 20)
    next(pieces)
    os.truncate(path, 1 << 20)
    with pytest.raises(BundleError, match="ends too early"):
        next(pieces)


@pytest.mark.parametrize(
    "name", ["../../etc/shadow", "/etc/shadow.json", "", ".json", "a/b.json", "A.json", "x\0.json"]
)
def test_an_index_leads_to_metadata_and_nowhere_else(root: Path, name: str) -> None:
    (root / "meta" / "index").write_bytes(encode_names(["timestamp.json", name]))
    with pytest.raises(BundleError, match="no metadata"):
        Stick(root).metadata()


def test_an_index_that_cannot_be_read_is_named(root: Path) -> None:
    for data in (b"", b"[]", b'{"names":[1]}', b"[" * 50_000):
        (root / "meta" / "index").write_bytes(data)
        with pytest.raises(BundleError, match="index"):
            Stick(root).metadata()
    (root / "meta" / "index").unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        Stick(root).metadata()


def test_what_else_lies_there_is_left_alone(root: Path) -> None:
    (root / "chunk" / ".Trash-1000").mkdir()
    (root / "chunk" / "readme.txt").write_text("hello")
    (root / "chunk" / digest(b"x" * 20_000)).write_bytes(b"x" * 20_000)
    (root / "chunk" / digest(b"{}")).write_bytes(b"{}")
    altered = manifest.parse((root / "chunk" / Stick(root).releases()[0].bundle).read_bytes()).encode() + b" "
    (root / "chunk" / NAME).write_bytes(altered)
    assert len(Stick(root).releases()) == 2
