"""`mirror` against the real server's application."""

from pathlib import Path

import pytest

from fleet import cli
from fleet.metadata import verify
from littoral.bundle import manifest
from littoral.canonical import digest
from littoral.wire.messages import parse_names
from tests.fleet.cli.conftest import build, publish
from tests.fleet.parts import Fleet

pytestmark = pytest.mark.mosquitto


def test_a_folder_follows_what_the_server_lists(work: Path, served: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    folder = work / "mirror"
    assert publish(work, served, build(work, 1)) == 0
    assert publish(work, served, build(work, 2, "two")) == 0
    assert cli.main(["mirror", str(folder)]) == 0
    assert "holds 2 releases" in capsys.readouterr().out
    names = parse_names((folder / "meta" / "index").read_bytes())
    listed = verify({name: (folder / "meta" / name).read_bytes() for name in names}).releases("cifar")
    for number, target in listed.items():
        text = (folder / "chunk" / target.hashes["sha256"]).read_bytes()
        for name, part in manifest.parse(text).parts.items():
            assert digest((folder / "blob" / part.sha256).read_bytes()) == part.sha256, (number, name)
            assert digest((folder / "chunk" / part.chunks).read_bytes()) == part.chunks
    assert manifest.parse(text).deltas
    assert cli.main(["mirror", str(folder), "--newest", "1"]) == 0
    assert "holds 1 releases (0 bytes written)" in capsys.readouterr().out
    assert not (folder / "blob" / digest((work / "one.tflite").read_bytes())).exists()


def test_a_folder_with_anything_else_is_left_alone(
    work: Path, served: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "keys" / "meta").mkdir(parents=True)
    (work / "keys" / "root.json").write_bytes(b"{}")
    assert cli.main(["mirror", str(work / "keys")]) == 1
    assert "holds something else" in capsys.readouterr().err
    assert sorted(path.name for path in (work / "keys").iterdir()) == ["meta", "root.json"]


def test_a_mirror_of_a_server_that_lost_a_blob_says_so(
    work: Path, served: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(work, served, build(work, 1)) == 0
    served.service.store.blobs.path(digest((work / "one.tflite").read_bytes())).unlink()
    assert cli.main(["mirror", str(work / "mirror")]) == 1
    assert "no blob" in capsys.readouterr().err
    assert not (work / "mirror" / "meta" / "index").exists()
