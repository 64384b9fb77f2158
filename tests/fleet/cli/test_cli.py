"""How `littoral-fleet` ends, whatever stops it."""

import sqlite3

import pytest

from fleet import cli


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("the disk is full"), "the disk is full"),
        (sqlite3.DatabaseError("disk image is malformed"), "DATA/fleet.db: disk image is malformed"),
    ],
)
def test_what_the_system_refuses_is_one_line_and_status_1(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr("fleet.cli.devices.run_list", fail)
    assert cli.main(["devices"]) == 1
    assert capsys.readouterr().err == f"littoral-fleet: {told}\n"


@pytest.mark.parametrize("where", ["importlib.import_module", "fleet.cli.devices.run_list"])
def test_an_interrupt_ends_it_without_a_trace_even_while_it_loads(
    where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    assert cli.main(["devices"]) == 130
    assert capsys.readouterr().err == ""
