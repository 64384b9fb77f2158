"""What this device serves, asked on an info connection: it is about no model, and nothing runs for it."""

import os
import time
from typing import Any

from littoral import errors
from littoral.client.link import GoneError, Link, socket_path
from littoral.wire import query


def models(socket: str | os.PathLike[str] | None = None, *, timeout_s: float = 10.0) -> list[dict[str, Any]]:
    """What this device serves, by name: docs/protocol.md lists the fields of LIST. Raises UnreachableError."""
    return list(_info(query.Kind.LIST, socket, timeout_s)["models"])


def stats(socket: str | os.PathLike[str] | None = None, *, timeout_s: float = 10.0) -> dict[str, dict[str, Any]]:
    """Counters of every model that is served, up to a second old. Raises UnreachableError."""
    return dict(_info(query.Kind.STATS, socket, timeout_s)["models"])


def runtime(socket: str | os.PathLike[str] | None = None, *, timeout_s: float = 10.0) -> dict[str, Any]:
    """`engine`: what runs the models here; `degraded`: why it is slower than it should be. Raises UnreachableError."""
    return _info(None, socket, timeout_s)


def _info(kind: query.Kind | None, socket: str | os.PathLike[str] | None, timeout_s: float) -> dict[str, Any]:
    path, deadline = socket_path(socket), time.monotonic() + timeout_s
    link = Link(path, deadline)
    try:
        link.send([query.hello(query.Hello("", mode=query.Mode.INFO))], deadline)
        greeting = link.expect(0, deadline).json()
        if kind is None:
            return greeting
        link.send([query.json_frame(kind, {}, 1)], deadline)
        return link.expect(1, deadline).json()
    except GoneError as error:
        raise errors.UnreachableError(f"{path}: the runtime closed the connection") from error
    finally:
        link.close()
