"""`littoral-fleet init`: a whole fleet or none, and operator keys that are never overwritten."""

import os
from pathlib import Path

import pytest

from fleet import cli, keys
from fleet.repo import Repository
from fleet.store import Store


@pytest.fixture(autouse=True)
def passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "passphrase"
    path.write_text("correct horse\n")
    monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, str(path))
    return path


def init(data: Path, operator: Path, *more: str) -> int:
    return cli.main(["init", str(data), "--keys", str(operator), *more])


def test_a_new_fleet_has_all_its_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, operator = tmp_path / "data", tmp_path / "keys"
    assert init(data, operator) == 0
    assert "Back them up" in capsys.readouterr().out
    opened = keys.load(operator, "correct horse")
    repository = Repository(data)
    assert opened.root.keyid.encode() in repository.first_root()
    token = (data / "admin-token").read_text().strip()
    assert (data / "admin-token").stat().st_mode & 0o777 == 0o600
    assert data.stat().st_mode & 0o777 == 0o700
    store = Store(data)
    assert store.access.is_admin(token)
    store.close()
    assert (data / "ca" / "ca.pem").exists()
    assert not list(operator.glob("admin*"))


def test_keys_that_are_there_are_used_for_a_second_fleet(tmp_path: Path) -> None:
    operator = tmp_path / "keys"
    assert init(tmp_path / "one", operator) == 0
    before = {path.name: path.read_bytes() for path in operator.iterdir()}
    assert init(tmp_path / "two", operator) == 0
    assert {path.name: path.read_bytes() for path in operator.iterdir()} == before
    one, two = Repository(tmp_path / "one"), Repository(tmp_path / "two")
    assert one.director_keyid != two.director_keyid
    assert keys.load(operator, "correct horse").root.keyid.encode() in two.first_root()


def test_a_folder_that_holds_anything_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    assert init(data, tmp_path / "keys") == 0
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert init(data, tmp_path / "keys") == 1
    assert "holds a fleet already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before
    other = tmp_path / "other"
    other.mkdir()
    (other / "photo.jpg").touch()
    assert init(other, tmp_path / "keys") == 1
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in other.iterdir()] == ["photo.jpg"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "keys").mkdir()
    assert init(tmp_path / "data", tmp_path / "keys") == 0


def test_a_wrong_or_missing_passphrase_makes_nothing(
    tmp_path: Path, passphrase: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys.make(tmp_path / "keys", "another")
    assert init(tmp_path / "data", tmp_path / "keys") == 1
    assert "does not open" in capsys.readouterr().err
    monkeypatch.delenv(keys.PASSPHRASE_VARIABLE)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    for operator in ("keys", "new-keys"):
        assert init(tmp_path / "data", tmp_path / operator) == 1
        assert "no passphrase" in capsys.readouterr().err
    assert not (tmp_path / "new-keys").exists()
    assert not (tmp_path / "data").exists()
    assert init(tmp_path / "data", tmp_path / "new-keys", "--passphrase-file", str(passphrase)) == 0


def test_keys_that_cannot_be_are_one_line_and_make_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "photo.jpg").touch()
    for operator, part in (
        ("file", "root.json and targets.json"),
        ("photos", "root.json and targets.json"),
        ("file/keys", "File exists"),
    ):
        assert init(tmp_path / "data", tmp_path / operator) == 1
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("littoral-fleet: ")
        assert part in line
    assert not (tmp_path / "data").exists()


def test_an_init_that_fails_takes_away_what_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(data: Path) -> str:
        raise OSError("the disk is full")

    data = tmp_path / "data"
    with monkeypatch.context() as patch:
        patch.setattr("fleet.store.create", refuse)
        assert init(data, tmp_path / "keys") == 1
    assert capsys.readouterr().err == "littoral-fleet: the disk is full\n"
    assert list(data.iterdir()) == []
    assert init(data, tmp_path / "keys") == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as somebody else")
def test_what_root_makes_in_the_servers_folder_belongs_to_the_server_and_the_keys_to_root(open_folder: Path) -> None:
    data, operator = open_folder / "data", open_folder / "keys"
    data.mkdir(0o700)
    os.chown(data, 12_345, 12_346)
    assert init(data, operator) == 0
    assert {(path.stat().st_uid, path.stat().st_gid) for path in data.rglob("*")} == {(12_345, 12_346)}
    assert {path.stat().st_uid for path in (operator, *operator.rglob("*"))} == {0}
