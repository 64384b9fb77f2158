from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.runtime.host.listener import handed_over, listen
from littoral.errors import ConfigError, SocketPathError


def test_the_socket_has_its_access_rights_from_the_start(tmp_path: Path) -> None:
    with listen(tmp_path / "s", 0o640):
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o640


def test_the_file_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    listen(tmp_path / "s", 0o600).close()
    with listen(tmp_path / "s", 0o600), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))


def test_a_live_socket_is_refused_and_stays(tmp_path: Path) -> None:
    with listen(tmp_path / "s", 0o600), pytest.raises(ConfigError, match="another process listens"):
        listen(tmp_path / "s", 0o600)
    assert (tmp_path / "s").exists()


def test_a_file_that_is_no_socket_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(ConfigError, match="no socket"):
        listen(tmp_path / "s", 0o600)
    assert (tmp_path / "s").read_text() == "precious"


def test_a_folder_that_is_missing_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot listen"):
        listen(tmp_path / "no" / "s", 0o600)


def test_a_path_too_long_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(SocketPathError):
        listen(tmp_path / ("x" * 120), 0o600)


FIRST = 200  # descriptors that nothing else here has


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a process that was handed two sockets, from descriptor FIRST on."""
    for number, name in enumerate(("query", "control")):
        with listen(tmp_path / name, 0o600) as made:
            os.dup2(made.fileno(), FIRST + number)
    yield {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "query:control", "HOME": "/"}
    os.closerange(FIRST, FIRST + 2)


def test_what_a_service_manager_hands_over_is_taken_by_name_and_no_child_gets_it(
    manager: dict[str, str], tmp_path: Path
) -> None:
    found = handed_over(manager, FIRST)
    assert {name: sock.getsockname() for name, sock in found.items()} == {
        "query": str(tmp_path / "query"),
        "control": str(tmp_path / "control"),
    }
    assert manager == {"HOME": "/"}
    for sock in found.values():
        assert not sock.get_inheritable()
        assert not sock.getblocking()
        sock.detach()


def test_what_was_handed_to_another_process_is_not_taken(manager: dict[str, str]) -> None:
    assert handed_over({**manager, "LISTEN_PID": "1"}, FIRST) == {}
    assert handed_over({}, FIRST) == {}


def test_what_is_handed_over_and_does_not_listen_is_refused(manager: dict[str, str]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        os.dup2(ours.fileno(), FIRST)
        with pytest.raises(ConfigError, match="query, handed over, is no listening"):
            handed_over(dict(manager), FIRST)
    with (Path(__file__)).open() as file:
        os.dup2(file.fileno(), FIRST)
        with pytest.raises(ConfigError, match="is no socket"):
            handed_over(manager, FIRST)
