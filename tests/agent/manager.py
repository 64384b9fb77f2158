"""The service manager's end of sd_notify: a real datagram socket that notes what daemons say."""

from __future__ import annotations

import os
import secrets
import select
import socket
import time
from pathlib import Path

from tests.agent.runtime.device import PATIENCE_S


class Manager:
    """At `path`, or in the abstract namespace. words: all that was said, in order."""

    def __init__(self, path: Path | None = None) -> None:
        self.address = f"@littoral-{secrets.token_hex(8)}" if path is None else str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:] if path is None else self.address)
        self.words: list[str] = []

    def environment(self, watchdog_s: float = 0.0) -> dict[str, str]:
        """For a daemon that it starts."""
        watchdog = {"WATCHDOG_USEC": str(round(watchdog_s * 1e6))} if watchdog_s else {}
        return {**os.environ, "NOTIFY_SOCKET": self.address, **watchdog}

    def hear(self, wait_s: float = 0.0) -> list[str]:
        """What was said since the last call."""
        heard: list[str] = []
        while select.select([self._socket], [], [], 0.0 if heard else wait_s)[0]:
            heard.append(self._socket.recv(65_536).decode())
        self.words += heard
        return heard

    def until(self, word: str) -> str:
        """Waits for what begins like this; what comes before it is dropped."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for heard in self.hear(0.05):
                if heard.startswith(word):
                    return heard
        raise AssertionError(f"waited {PATIENCE_S:g} s for {word}; heard {self.words[-20:]}")

    def is_silent(self, for_s: float) -> bool:
        """Whether the watchdog is not fed for so long."""
        self.hear()
        end = time.monotonic() + for_s
        while (left_s := end - time.monotonic()) > 0:
            if "WATCHDOG=1" in self.hear(left_s):
                return False
        return True

    def close(self) -> None:
        self._socket.close()
