"""`keys show`, `keys renew` and `keys rotate` against the real server's application and the operator's real keys."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from fleet import cli, keys
from littoral.errors import MetadataError
from tests.fleet.parts import PASSPHRASE, Fleet

pytestmark = pytest.mark.mosquitto


@pytest.fixture
def operator(new_fleet: Path, tmp_path: Path) -> Path:
    """KEYS of this test's own, with its passphrase beside it."""
    shutil.copytree(new_fleet / "keys", tmp_path / "keys")
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    return tmp_path / "keys"


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert cli.main(["keys", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def signing(operator: Path) -> list[str]:
    return ["--keys", str(operator), "--passphrase-file", str(operator.parent / "passphrase")]


def test_the_keys_in_force_are_shown_with_their_time(served: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    shown = ask(capsys, "show")
    assert shown["keys"] == served.repository.keyids()
    assert set(shown["expires"]) == {"root", "targets"}
    assert shown["warnings"] == []
    assert cli.main(["keys", "show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ROLE", "KEY", "SIGNED", "UNTIL"]
    assert "(364 days)" in lines[1]
    assert "renewed by the server" in lines[3]


def test_thirty_days_before_the_end_the_page_the_log_and_the_command_say_so(
    served: Fleet, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.service, "_clock", lambda: time.time() + 340 * 86_400)
    warnings = ask(capsys, "show")["warnings"]
    assert [warning.split(" expires")[0] for warning in warnings] == ["the signed role root", "the signed role targets"]
    assert served.server.status()["warnings"][-2:] == warnings
    for _ in range(2):
        served.server._warn()
    assert [record.message for record in caplog.records if "signed role" in record.message] == warnings
    assert cli.main(["keys", "show"]) == 0
    assert "warning: the signed role root expires on" in capsys.readouterr().out


def test_without_a_role_the_servers_keys_are_rotated_and_devices_are_told(
    served: Fleet, operator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = served.repository.keyids()
    shown = ask(capsys, "rotate", *signing(operator))
    assert shown["keys"] == served.repository.keyids()
    assert {role for role in before if before[role] != shown["keys"][role]} == {"snapshot", "timestamp", "director"}
    assert [event["kind"] for event in served.service.events(1, None, None)] == ["keys-changed"]
    assert ask(capsys, "renew", *signing(operator))["keys"] == shown["keys"]


def test_the_operators_own_keys_are_rotated_and_the_new_ones_take_the_old_ones_place(
    served: Fleet, operator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = keys.load(operator, PASSPHRASE)
    shown = ask(capsys, "rotate", "--role", "root", "--role", "targets", *signing(operator))
    new = keys.load(operator, PASSPHRASE)
    assert shown["keys"]["root"] == [new.root.keyid] != [old.root.keyid]
    assert shown["keys"]["targets"] == [new.targets.keyid] != [old.targets.keyid]
    assert list((operator / "next").iterdir()) == []
    ask(capsys, "renew", *signing(operator))


def test_an_answer_that_was_lost_leaves_no_operator_without_his_keys(
    served: Fleet, operator: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server took the new root; the operator never heard of it."""
    with monkeypatch.context() as patch:
        patch.setattr("fleet.keys.adopt", lambda folder, in_force: None)
        assert cli.main(["keys", "rotate", "--role", "root", *signing(operator)]) == 0
    assert [keys.load(operator, PASSPHRASE).root.keyid] != served.repository.keyids()["root"]
    ask(capsys, "renew", *signing(operator))
    assert [keys.load(operator, PASSPHRASE).root.keyid] == served.repository.keyids()["root"]


def test_a_rotation_that_the_server_refuses_leaves_the_keys_as_they_were(
    served: Fleet, operator: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys.load(operator, PASSPHRASE).root.keyid

    def refuse(files: Any, now: Any) -> None:
        raise MetadataError("something was published meanwhile")

    with monkeypatch.context() as patch:
        patch.setattr(served.repository, "rotate", refuse)
        assert cli.main(["keys", "rotate", "--role", "root", *signing(operator)]) == 1
    assert keys.load(operator, PASSPHRASE).root.keyid == before
    assert served.repository.keyids()["root"] == [before]
    other = operator.parent / "other"
    keys.make(other, PASSPHRASE)
    assert cli.main(["keys", "rotate", *signing(other)]) == 1
    assert "not signed by these keys" in capsys.readouterr().err
