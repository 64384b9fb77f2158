"""What only the running agent knows, for `littoral-agent status` and `explain`: progress, and what it waits for.

agent.sock in the state folder answers each connection with one JSON object and closes it. Nothing is asked for, nothing
can be changed, and no flash is worn by it. Whoever may not open the state folder cannot ask.
"""

import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAME = "agent.sock"
SEND_TIMEOUT_S = 0.2  # the answer fits into the socket's buffer
ASK_TIMEOUT_S = 3.0
MAX_BYTES = 4 * 1024 * 1024
_READ_BYTES = 65_536


class StatusSocket:
    """The agent's end. A state folder whose path is too long for a socket has none."""

    def __init__(self, state: Path) -> None:
        self._path = state / NAME
        self._socket: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        try:
            self._path.unlink(missing_ok=True)  # of an agent that was killed; agent.lock says that none runs
            self._socket.bind(str(self._path))
            self._path.chmod(0o600)
            self._socket.listen(64)
        except OSError:
            self.close()

    def fileno(self) -> int | None:
        return None if self._socket is None else self._socket.fileno()

    def answer(self, told: Callable[[], dict[str, Any]]) -> None:
        """Answers everybody who has connected."""
        while self._socket is not None:
            try:
                asking, _ = self._socket.accept()
            except OSError:
                return
            with asking, contextlib.suppress(OSError):
                asking.settimeout(SEND_TIMEOUT_S)
                asking.sendall(json.dumps(told()).encode())

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


def ask(state: Path) -> dict[str, Any] | None:
    """What the agent of this state folder says of itself; None where none answers."""
    received = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
            asking.settimeout(ASK_TIMEOUT_S)
            asking.connect(str(state / NAME))
            while len(received) < MAX_BYTES and (piece := asking.recv(_READ_BYTES)):
                received += piece
        told: dict[str, Any] = json.loads(received)
    except (OSError, ValueError):
        return None
    return told
