"""`export` against the real server's application."""

import json
import time
from pathlib import Path

import pytest

from fleet import cli, metadata
from littoral.bundle import manifest
from littoral.canonical import digest
from littoral.wire.messages import parse_names
from tests.fleet.cli.conftest import build, publish
from tests.fleet.parts import Fleet

pytestmark = pytest.mark.mosquitto
DAY_S = 86_400


def held(folder: Path) -> dict[str, bytes]:
    """The metadata that its index lists."""
    return {
        name: (folder / "meta" / name).read_bytes() for name in parse_names((folder / "meta" / "index").read_bytes())
    }


def test_a_folder_holds_what_installing_needs(work: Path, served: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    folder = work / "stick"
    assert publish(work, served, build(work, 1)) == 0
    assert publish(work, served, build(work, 2, "two")) == 0
    capsys.readouterr()
    began = int(time.time())
    assert cli.main(["export", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (release,) = told["releases"]
    assert (release["model"], release["release"], release["version"]) == ("cifar", 2, "v2")
    known = metadata.verify(held(folder))
    assert int(known.timestamp.expires.timestamp()) == told["expires"]
    assert began + 30 * DAY_S <= told["expires"] <= int(time.time()) + 30 * DAY_S
    made = manifest.parse((folder / "chunk" / release["bundle"]).read_bytes())
    for blob in made.blobs.values():
        assert digest((folder / "blob" / blob.sha256).read_bytes()) == blob.sha256
        assert digest((folder / "chunk" / blob.chunks).read_bytes()) == blob.chunks
    assert {path.name for path in (folder / "blob").iterdir()} == {blob.sha256 for blob in made.blobs.values()}
    assert cli.main(["export", str(folder), "--model", "cifar", "--release", "1", "--valid-days", "180"]) == 0
    out = capsys.readouterr().out
    assert "cifar release 1 (v1)" in out
    assert f"good until {time.strftime('%Y-%m-%d', time.gmtime(began + 180 * DAY_S))}" in out
    assert metadata.verify(held(folder)).timestamp.version > known.timestamp.version


def test_the_server_tells_of_it_and_publishes_what_goes_on_above_it(
    work: Path, served: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(work, served, build(work, 1)) == 0
    assert cli.main(["export", str(work / "stick"), "--valid-days", "7"]) == 0
    (event,) = (event for event in served.service.events(100, None, None) if event["kind"] == "exported")
    assert (event["text"], event["facts"]) == ("cifar release 1 exported, good for 7 days", {"days": 7})
    online = metadata.verify(served.repository.files())
    assert online.timestamp.version > metadata.verify(held(work / "stick")).timestamp.version


@pytest.mark.parametrize("days", ["0", "181", "-1"])
def test_it_is_good_for_1_to_180_days(work: Path, served: Fleet, capsys: pytest.CaptureFixture[str], days: str) -> None:
    assert cli.main(["export", str(work / "stick"), f"--valid-days={days}"]) == 1
    assert "bad-request" not in capsys.readouterr().out
    assert not (work / "stick").exists()


def test_nothing_is_written_over_what_is_no_export(
    work: Path, served: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", str(work)]) == 1
    assert "holds something else" in capsys.readouterr().err


def test_what_is_not_listed_is_not_exported(work: Path, served: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(work / "stick")]) == 1
    assert publish(work, served, build(work, 1)) == 0
    assert cli.main(["export", str(work / "stick"), "--model", "cifar", "--release", "9"]) == 1
    assert "no release 9 of cifar is listed" in capsys.readouterr().err
    assert cli.main(["export", str(work / "stick"), "--release", "1"]) == 1
    assert "exported" not in [event["kind"] for event in served.service.events(100, None, None)]
