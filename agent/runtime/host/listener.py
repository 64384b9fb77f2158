"""Listening Unix sockets: handed over by the service manager, or made here.

One that is made here replaces the stale file of a dead process, and is refused where another process listens.
"""

import os
import socket
from collections.abc import MutableMapping
from pathlib import Path

from littoral.errors import ConfigError
from littoral.wire.query import check_socket_path

BACKLOG = 128
_FIRST = 3  # descriptor that a service manager hands over: sd_listen_fds(3)
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def handed_over(environment: MutableMapping[str, str], first: int = _FIRST) -> dict[str, socket.socket]:
    """The listening sockets that the service manager made, by their FileDescriptorName=. No child inherits any of it.

    Takes what it needs out of the environment. Raises ConfigError for what is no listening Unix stream socket.
    """
    pid, count, names = (environment.pop(name, "") for name in _VARIABLES)
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    found = {}
    for descriptor, name in zip(range(first, first + int(count)), names.split(":"), strict=False):
        try:
            taken = socket.socket(fileno=descriptor)
        except OSError as error:
            raise ConfigError(f"descriptor {descriptor}, handed over as {name}, is no socket: {error}") from error
        listens = taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if (taken.family, taken.type, listens) != (socket.AF_UNIX, socket.SOCK_STREAM, 1):
            taken.close()
            raise ConfigError(f"{name}, handed over, is no listening Unix stream socket")
        os.set_inheritable(descriptor, False)
        taken.setblocking(False)
        found[name] = taken
    return found


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
