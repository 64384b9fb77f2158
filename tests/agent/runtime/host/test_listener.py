from __future__ import annotations

import socket
from pathlib import Path

import pytest

from agent.runtime.host.listener import listen
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
