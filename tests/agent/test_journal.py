"""agent/journal.py, heard by a real datagram socket; and the catalogue that explains its milestones."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import journal
from littoral.wire.messages import EVENT_KINDS

CATALOGUE = Path(__file__).resolve().parents[2] / "systemd" / "littoral-agent.catalog"


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "journal"))
        listening.settimeout(10)
        monkeypatch.setattr(journal, "_address", listening.getsockname())
        yield listening


def test_a_milestone_is_an_entry_with_an_id_and_what_it_is_about(heard: socket.socket) -> None:
    journal.milestone("rolled-back", "door", 4, "12 of 40 answers failed")
    assert heard.recv(65_536).decode().splitlines() == [
        "MESSAGE=rolled-back door 4: 12 of 40 answers failed",
        "PRIORITY=4",
        "SYSLOG_IDENTIFIER=littoral-agent",
        f"MESSAGE_ID={journal.message_id('rolled-back')}",
        "LITTORAL_EVENT=rolled-back",
        "LITTORAL_TEXT=12 of 40 answers failed",
        "LITTORAL_MODEL=door",
        "LITTORAL_RELEASE=4",
    ]


def test_what_has_several_lines_forges_no_field(heard: socket.socket) -> None:
    journal.say("one\nPRIORITY=0")
    data = heard.recv(65_536)
    assert data.startswith(b"MESSAGE\n" + (14).to_bytes(8, "little") + b"one\nPRIORITY=0\n")


def test_a_journal_that_is_not_there_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_address", str(tmp_path / "nobody"))
    journal.say("is anybody there", journal.WARNING)


def test_without_a_journal_it_is_said_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    journal.milestone("committed", "door", 4, "it is good")
    assert capfd.readouterr().err == "littoral.agent: committed door 4: it is good\n"


def test_the_journal_is_used_where_stderr_goes_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryFile("w") as file:
        found = os.fstat(file.fileno())
        monkeypatch.setattr("sys.stderr", file)
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert journal._is_journal()
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
        assert not journal._is_journal()


def test_the_catalogue_explains_every_milestone_of_the_agent() -> None:
    entries = re.findall(r"^-- ([0-9a-f]{32})\nSubject: (.+)$", CATALOGUE.read_text(), re.MULTILINE)
    assert [id for id, _ in entries] == [journal.message_id(kind) for kind in EVENT_KINDS]


def test_every_grave_kind_is_a_milestone() -> None:
    assert set(EVENT_KINDS) >= journal.GRAVE
