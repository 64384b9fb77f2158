"""Tells the service manager that a daemon is ready, what it is at, and that it works: sd_notify(3) without its library.

One datagram of NAME=value lines to $NOTIFY_SOCKET for each word; nothing where that is not set. Whether a daemon works
is for it to say. No child inherits any of it.
"""

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

FEED_S = 1.0  # so that what stops the feeding counts from its beginning, however long the watchdog waits
_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """every_s: how often feed() has to be called; 0: nobody waits for it."""

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        """Takes what it needs out of the environment."""
        environment = os.environ if environment is None else environment
        address, watchdog_us, watchdog_pid = (environment.pop(name, "") for name in _VARIABLES)
        self._address = _address(address)
        watches = bool(self._address) and watchdog_us.isdecimal() and watchdog_pid in ("", str(os.getpid()))
        self.every_s = min(int(watchdog_us) / 2e6, FEED_S) if watches else 0.0
        self._fed_at: float | None = None

    def ready(self, status: str) -> None:
        """It serves from now on."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, text: str) -> None:
        self._send(f"STATUS={_line(text)}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def feed(self, now: float) -> None:
        """It works, as of `now` (any clock that only goes forward). What comes much too soon is left out."""
        if self.every_s and (self._fed_at is None or now - self._fed_at >= self.every_s / 2):
            self._fed_at = now
            self._send("WATCHDOG=1")

    def _send(self, words: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.setblocking(False)  # a manager that does not listen holds nobody up
            out.sendto(words.encode(errors="replace"), self._address)


def _address(text: str) -> str:
    """A path, or a name in the abstract namespace, which systemd writes with an @; "" for anything else."""
    if text.startswith("@") and len(text) > 1:
        return "\0" + text[1:]
    return text if text.startswith("/") else ""


def _line(text: str) -> str:
    return " ".join(text.split())
