"""Operator keys are sealed, online keys are the server's alone, and a passphrase comes from where it should."""

import json
from pathlib import Path
from typing import Any

import pytest

from fleet import keys
from littoral.errors import KeysError, PassphraseError

SECRET = "correct horse"


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("operator") / "keys"
    keys.make(folder, SECRET)
    return folder


@pytest.fixture
def copy(sealed: Path, tmp_path: Path) -> Path:
    for path in sealed.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_keys_that_were_made_are_opened_by_their_passphrase(tmp_path: Path) -> None:
    made = keys.make(tmp_path / "a" / "keys", SECRET)
    opened = keys.load(tmp_path / "a" / "keys", SECRET)
    assert (opened.root.keyid, opened.targets.keyid) == (made.root.keyid, made.targets.keyid)
    assert opened.root.keyid != opened.targets.keyid
    assert opened.targets.sign(b"x") == made.targets.sign(b"x")


def test_key_files_are_for_their_owner_alone_and_hold_no_secret(sealed: Path) -> None:
    opened = keys.load(sealed, SECRET)
    for path in sealed.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert opened.root.dump().hex().encode() not in path.read_bytes()
        assert opened.targets.dump().hex().encode() not in path.read_bytes()
    assert sealed.stat().st_mode & 0o777 == 0o700


def test_each_guess_at_a_passphrase_costs_memory_and_time(sealed: Path) -> None:
    kdf = json.loads((sealed / "root.json").read_bytes())["kdf"]
    assert kdf["name"] == "scrypt"
    assert kdf["n"] >= 2**15
    assert kdf["r"] >= 8
    salts = {json.loads(path.read_bytes())["kdf"]["salt"] for path in sealed.iterdir()}
    assert len(salts) == 2


def test_a_wrong_passphrase_is_a_named_error(sealed: Path) -> None:
    for wrong in ("", "Correct horse", SECRET + " "):
        with pytest.raises(PassphraseError):
            keys.load(sealed, wrong)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("keyid", "00"),
        ("public", {}),
        ("sealed", "00" * 48),
        ("cipher", {"name": "chacha20-poly1305", "nonce": "00" * 12}),
    ],
)
def test_an_altered_key_file_is_not_opened(copy: Path, field: str, value: Any) -> None:
    whole = json.loads((copy / "targets.json").read_bytes())
    (copy / "targets.json").write_text(json.dumps({**whole, field: value}))
    with pytest.raises(PassphraseError, match="altered"):
        keys.load(copy, SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"schema":1,"role":"root"}',
        '{"schema":1,"role":"targets"}',
        '{"schema":1,"role":"targets","sealed":"zz"}',
        (
            '{"schema":1,"role":"targets","sealed":"00","kdf":{"name":"scrypt","n":1048577,"r":8,"p":1,"salt":"00"},'
            '"cipher":{"name":"chacha20-poly1305","nonce":"00"}}'
        ),
        (
            '{"schema":1,"role":"targets","sealed":"00","kdf":{"name":"md5","n":1,"r":8,"p":1,"salt":"00"},'
            '"cipher":{"name":"chacha20-poly1305","nonce":"00"}}'
        ),
    ],
)
def test_a_file_that_is_no_key_is_a_named_error(copy: Path, text: str) -> None:
    (copy / "targets.json").write_text(text)
    with pytest.raises(KeysError):
        keys.load(copy, SECRET)


def test_missing_keys_are_a_named_error(copy: Path) -> None:
    (copy / "root.json").unlink()
    with pytest.raises(KeysError, match="root"):
        keys.load(copy, SECRET)


def test_an_absent_or_empty_folder_is_for_new_keys(sealed: Path, tmp_path: Path) -> None:
    assert not keys.are_there(tmp_path / "absent")
    assert not keys.are_there(tmp_path)
    assert keys.are_there(sealed)


def test_what_is_neither_empty_nor_holds_keys_is_left_alone_and_told_what_it_must_hold(
    copy: Path, tmp_path: Path
) -> None:
    (copy / "targets.json").unlink()
    photos, file = tmp_path / "photos", tmp_path / "file"
    photos.mkdir()
    for path in (photos / "photo.jpg", file):
        path.touch()
    for folder, lacking in ((copy, "no targets.json"), (photos, "no root.json and no targets.json"), (file, "file")):
        with pytest.raises(KeysError, match=lacking) as caught:
            keys.are_there(folder)
        assert "root.json and targets.json" in caught.value.remedy


# --- passphrase --------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(keys.PASSPHRASE_VARIABLE, raising=False)


def test_a_passphrase_comes_from_the_file_named_before_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("one\n")
    (tmp_path / "b").write_text("two words \r\n")
    monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, str(tmp_path / "b"))
    assert keys.passphrase(tmp_path / "a") == "one"
    assert keys.passphrase(None) == "two words "


def test_without_a_passphrase_or_a_terminal_it_is_a_named_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(PassphraseError, match="no passphrase"):
        keys.passphrase(None)


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_passphrase_file_that_holds_none_is_a_named_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "p").write_bytes(content)
    with pytest.raises(PassphraseError):
        keys.passphrase(tmp_path / "p")


def test_a_new_passphrase_is_asked_twice_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    typed = iter(["one", "one", "one", "two", "one", ""])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(typed))
    assert keys.passphrase(None, new=True) == "one"
    with pytest.raises(PassphraseError, match="differ"):
        keys.passphrase(None, new=True)
    assert keys.passphrase(None) == "one"
    with pytest.raises(PassphraseError, match="empty"):
        keys.passphrase(None)


# --- online keys -------------------------------------------------------------------------------------------


def test_online_keys_are_three_different_ones_for_the_servers_user_alone(tmp_path: Path) -> None:
    made = keys.make_online(tmp_path / "keys")
    opened = keys.load_online(tmp_path / "keys")
    for role in keys.ONLINE_ROLES:
        assert getattr(opened, role).keyid == getattr(made, role).keyid
        assert (tmp_path / "keys" / f"{role}.json").stat().st_mode & 0o777 == 0o600
    assert len({getattr(made, role).keyid for role in keys.ONLINE_ROLES}) == 3


def test_an_online_key_in_the_place_of_another_is_refused(tmp_path: Path) -> None:
    keys.make_online(tmp_path)
    (tmp_path / "director.json").write_bytes((tmp_path / "snapshot.json").read_bytes())
    with pytest.raises(KeysError, match="director"):
        keys.load_online(tmp_path)
    (tmp_path / "director.json").write_text('{"schema":1,"role":"director","secret":"00"}')
    with pytest.raises(KeysError):
        keys.load_online(tmp_path)
