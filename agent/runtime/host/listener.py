"""Listening Unix sockets: a stale file of a dead process is replaced, a live one is refused."""

import os
import socket
from pathlib import Path

from littoral.errors import ConfigError
from littoral.wire.query import check_socket_path

BACKLOG = 128


def listen(path: Path, mode: int) -> socket.socket:
    """A listening socket that does not block, its file with these access rights from its first moment.

    Raises SocketPathError; ConfigError where another process listens there already, or the file cannot be made.
    """
    check_socket_path(str(path))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    mask = os.umask(0o777 & ~mode)
    try:
        _remove_stale(path)
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except BaseException as error:
        listener.close()
        if isinstance(error, OSError):
            raise ConfigError(f"cannot listen on {path}: {error}") from error
        raise
    finally:
        os.umask(mask)
    return listener


def _remove_stale(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_socket():
        raise ConfigError(f"{path} is there and is no socket", remedy="Remove it, or choose another path.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise ConfigError(
        f"another process listens on {path}", remedy="One runtime serves one state folder: stop the other."
    )
