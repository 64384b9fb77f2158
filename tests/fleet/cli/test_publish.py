"""`bundle build`, `bundle show` and `publish` against the real server's application and the operator's real keys."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.demo import assets
from fleet import cli, keys, modelfile
from fleet.cli import bundle
from fleet.repo import Repository
from littoral.canonical import digest
from tests.fleet.cli.conftest import build, publish
from tests.fleet.parts import PASSPHRASE, Fleet

pytestmark = pytest.mark.mosquitto


def manifest_of(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "bundle.json").read_text())
    return value


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return value


def test_a_bundle_is_built_shown_signed_and_listed(
    work: Path, served: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build(work, 1)
    assert cli.main(["bundle", "show", str(folder), "--json"]) == 0
    shown = last_line(capsys)
    assert publish(work, served, folder, "--json") == 0
    answer = last_line(capsys)
    assert answer == {"model": "cifar", "release": 1, "bundle": shown["bundle"]}
    assert [r.release for r in served.repository.releases("cifar")] == [1]
    assert digest(served.repository.releases("cifar")[0].encode()) == shown["bundle"]
    assert shown["tensors"]["labels"] == list(assets.LABELS)
    assert "CONV_2D" in shown["operators"]
    again = Repository(served.data)
    assert again.files() == served.repository.files()


def test_people_are_shown_what_labelled_cases_demand_and_what_is_accepted(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tensor,) = modelfile.read((work / "one.tflite").read_bytes()).interface.inputs
    pictures = np.zeros((3, *tensor.shape), np.int8)
    np.savez(work / "g.npz", **{tensor.name: pictures, "labels": np.array([0, 1, 2])})  # type: ignore[arg-type]
    folder = build(work, 1, "one", "--golden", str(work / "g.npz"), "--accept-explained")
    built = capsys.readouterr()
    assert cli.main(["bundle", "show", str(folder)]) == 0
    shown = capsys.readouterr().out
    for told in (built.out, shown):
        assert "3 cases labelled by people, of which 3 must be answered right" in told
        assert "a fault that comparing it with the release before can name" in told
    assert "fewer than 100" in built.err


def test_what_the_server_holds_is_not_sent_again(work: Path, served: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish(work, served, build(work, 1)) == 0
    assert "(0 bytes sent)" not in capsys.readouterr().out
    second = build(work, 2)
    size = (second / "bundle.json").stat().st_size
    assert publish(work, served, second) == 0
    assert f"({size} bytes sent)" in capsys.readouterr().out


def test_the_next_build_compares_with_the_listed_release(
    work: Path, served: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(work, served, build(work, 3)) == 0
    served.service.start_rollout("cifar", 3, "all")
    capsys.readouterr()
    build(work, 4, "two", "--json")
    built = last_line(capsys)
    assert built["difference"] == []
    assert built["floor"] == 3
    (work / "labels").write_text("\n".join(("plane", *assets.LABELS[1:])))
    arguments = ["--model", str(work / "one.tflite"), "--name", "cifar", "--version", "v", "--out", str(work / "x")]
    command = ["bundle", "build", "--labels", str(work / "labels"), *arguments]
    assert cli.main([*command, "--release", "5"]) == 1
    assert "number 0 was 'airplane' and is 'plane'" in capsys.readouterr().err
    assert cli.main([*command, "--release", "3"]) == 1
    assert "not above 3" in capsys.readouterr().err
    assert cli.main([*command, "--release", "5", "--interface-change"]) == 0
    assert "changed: labels" in capsys.readouterr().out


def test_deltas_are_made_from_what_the_server_lists_and_travel_with_the_release(
    work: Path, served: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(work, served, build(work, 1)) == 0
    capsys.readouterr()
    (delta,) = manifest_of(build(work, 2, "two"))["deltas"]
    assert f"delta from {delta['base']}: {delta['length']} bytes of" in capsys.readouterr().out
    assert delta["base"] == digest((work / "one.tflite").read_bytes())
    assert delta["length"] * 50 < (work / "two.tflite").stat().st_size
    assert publish(work, served, work / "bundle-2") == 0
    assert served.server.store.releases.has_blob(delta["sha256"])
    assert manifest_of(build(work, 3, "one", "--no-delta"))["deltas"] == []
    assert len(manifest_of(build(work, 4, "one", "--delta-from", str(work / "bundle-2")))["deltas"]) == 1
    assert cli.main(["bundle", "show", str(work / "bundle-4")]) == 0
    assert "\ndelta        " in capsys.readouterr().out


def test_a_release_number_that_is_not_above_the_last_is_refused_when_published_too(
    work: Path, served: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as alone:
        alone.delenv("LITTORAL_SERVER")
        folder, older = build(work, 2), build(work, 1, "two")
    assert publish(work, served, folder) == 0
    assert publish(work, served, older) == 1
    assert "not above 2" in capsys.readouterr().err


def test_what_is_published_already_is_said_to_be_and_completed(
    work: Path, served: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    folder = build(work, 1)
    with monkeypatch.context() as patch:
        patch.setattr(served.server.store.releases, "add", fail)
        assert publish(work, served, folder) == 1
    assert served.service.releases() == []
    capsys.readouterr()
    assert publish(work, served, folder) == 0
    assert "cifar release 1 is published already (0 bytes sent)." in capsys.readouterr().out
    [listed] = served.service.releases()
    files = served.repository.files()
    served.server.store.blobs.path(served.repository.releases()[0].blobs["model"].sha256).unlink()
    assert publish(work, served, folder, "--json") == 0
    assert last_line(capsys)["bundle"] == listed["bundle"]
    assert served.server.store.blobs.has(served.repository.releases()[0].blobs["model"].sha256)
    assert (served.repository.files(), served.service.releases()) == (files, [listed])


def test_a_change_that_was_not_announced_is_refused_by_the_server_too(
    work: Path, served: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator built without asking the server."""
    with monkeypatch.context() as alone:
        alone.delenv("LITTORAL_SERVER")
        first = build(work, 1)
        (work / "labels").write_text("a\nb\n")
        second = build(work, 2)
    assert publish(work, served, first) == 0
    assert publish(work, served, second) == 1
    assert "labels differ from release 1" in capsys.readouterr().err
    assert [r.release for r in served.repository.releases("cifar")] == [1]


def test_wrong_keys_and_passphrases_publish_nothing(
    work: Path, served: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build(work, 1)
    arguments = ["publish", str(folder), "--passphrase-file", str(work / "passphrase"), "--keys"]
    keys.make(work / "other-keys", PASSPHRASE)
    assert cli.main([*arguments, str(work / "other-keys")]) == 1
    assert "not signed by these keys" in capsys.readouterr().err
    assert cli.main([*arguments, str(work / "absent")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    (work / "passphrase").write_text("wrong")
    assert publish(work, served, folder) == 1
    assert "does not open" in capsys.readouterr().err
    assert served.repository.releases() == []


def test_a_damaged_bundle_is_not_published(work: Path, served: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    folder = build(work, 1)
    blob = next((folder / "blobs").iterdir())
    blob.write_bytes(blob.read_bytes() + b"!")
    assert publish(work, served, folder) == 1
    assert cli.main(["bundle", "show", str(folder)]) == 1
    assert "not what its name says" in capsys.readouterr().err
    assert served.repository.releases() == []


def test_the_floor_follows_what_was_rolled_out_and_did_not_halt() -> None:
    def rollouts(**states: str) -> list[dict[str, Any]]:
        return [{"release": int(name[1:]), "state": state} for name, state in states.items()]

    assert bundle.replaced([], []) == 0
    assert bundle.replaced([1, 2], []) == 0
    assert bundle.replaced([1, 2, 3], rollouts(r1="aborted", r2="done", r3="halted")) == 2
    assert bundle.replaced([1, 2, 3, 4], rollouts(r1="done", r2="halted", r3="running")) == 3
    assert bundle.replaced([2, 3], rollouts(r1="done", r3="halted")) == 0


def test_a_folder_that_cannot_be_made_is_one_line(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bundle", "build", "--model", str(work / "one.tflite"), "--name", "cifar", "--release", "1"]
    assert cli.main([*command, "--version", "v1", "--out", str(work / "one.tflite" / "bundle")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("littoral-fleet: ")
    assert "File exists" in line


def test_a_bundle_is_shown_to_people(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = build(work, 7)
    told = capsys.readouterr()
    assert "Built cifar release 7 (v7)" in told.out
    assert "no golden vectors" in told.err
    assert cli.main(["bundle", "show", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "cifar release 7 (v7)" in shown
    assert "int8 1x32x32x3 scale 0.0078125 zero point 0" in shown
    assert "every digest holds" in shown
