"""An HTTP(S) mirror as a source of pieces of whole blobs: `blob/<sha256>` below one address, read by Range.

One thread, started with the first piece that is wanted, asks for pieces that lie side by side in one request. It
follows no redirect and reads no more than it asked for. Nothing it brings is checked here, and nothing it lacks is
absent: what does not come in time is given back as missed.
"""

import contextlib
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from agent.config import Config
from agent.source import Got, Wanted
from littoral import __version__
from littoral.errors import ConfigError

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

MAX_REQUEST_BYTES = 1024 * 1024  # in one answer, of pieces side by side
IDLE_S = 15.0  # then the connection is closed, and opened again when there is something to ask
STOP_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Missed:
    """What the mirror did not bring, and why."""

    wanted: Wanted
    reason: str


class Mirror:
    """The mirror of the settings. From the first ask and from each piece to the next `timeout_s` may pass, whatever the
    other side does meanwhile.

    `wake` is called from another thread whenever poll() has something to give. Raises ConfigError for an address or a
    CA that cannot be used.
    """

    def __init__(self, config: Config, timeout_s: float, wake: Callable[[], None]) -> None:
        self._url = _address(config.mirror.url)
        self._context = _tls(config) if self._url.scheme == "https" else None
        self._timeout_s = timeout_s
        self._wake = wake
        self._condition = threading.Condition()  # guards all that follows
        self._wanted: dict[str, Wanted] = {}
        self._ended: deque[Got | Missed] = deque()
        self._deadline = 0.0
        self._connection: HTTPConnection | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None

    def ask(self, wanted: Sequence[Wanted]) -> None:
        """Wants these pieces of blobs, in this order."""
        with self._condition:
            if not self._wanted:
                self._deadline = time.monotonic() + self._timeout_s
            self._wanted.update({each.name: each for each in wanted})
            self._condition.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
            self._thread.start()

    def forget(self, names: Sequence[str]) -> None:
        """Wants them no more."""
        with self._condition:
            for name in names:
                self._wanted.pop(name, None)

    def poll(self) -> list[Got | Missed]:
        """What came and what was missed since the last call. Never waits."""
        with self._condition:
            if self._wanted and time.monotonic() >= self._deadline:
                self._give_up(f"nothing came for {self._timeout_s:.0f} s")
            ended = list(self._ended)
            self._ended.clear()
        return ended

    def stop(self) -> None:
        """Ends the thread; waits a moment at most."""
        with self._condition:
            self._stopping = True
            self._give_up("the agent ends")
            self._condition.notify()
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT_S)

    def _give_up(self, reason: str) -> None:
        """Misses all that is wanted, and ends what the thread waits for."""
        self._ended.extend(Missed(each, reason) for each in self._wanted.values())
        self._wanted.clear()
        opened = self._connection.sock if self._connection else None
        if opened is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(opened, socket.SHUT_RDWR)  # below TLS, whose state is the thread's own

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        from http.client import HTTPException  # only where there is a mirror: it takes a megabyte

        while run := self._next_run():
            try:
                self._fetch(run)
            except (OSError, HTTPException, ValueError) as error:
                self._close()
                with self._condition:
                    self._give_up(str(error) or type(error).__name__)
            self._wake()
        self._close()

    def _next_run(self) -> list[Wanted]:
        """Pieces that lie side by side in one blob; none once it ends. Waits for them."""
        with self._condition:
            while not self._wanted and not self._stopping:
                if not self._condition.wait(IDLE_S if self._connection else None):
                    self._close()
            run: list[Wanted] = []
            size = 0
            for each in self._wanted.values():
                beside = not run or (each.blob, each.offset) == (run[-1].blob, run[-1].offset + run[-1].length)
                if not beside or self._stopping or (run and size + each.length > MAX_REQUEST_BYTES):
                    break
                run.append(each)
                size += each.length
            return run

    def _fetch(self, run: list[Wanted]) -> None:
        """One request. Raises OSError, HTTPException, or ValueError for an answer that is not what was asked for."""
        first, last = run[0].offset, run[-1].offset + run[-1].length - 1
        response = self._request(f"{self._url.path.rstrip('/')}/blob/{run[0].blob}", f"bytes={first}-{last}")
        if response.status != 206:
            ranges = ": it does not answer Range requests" if response.status == 200 else ""
            raise ValueError(f"{self._url.netloc} answers with status {response.status}{ranges}")
        if not response.headers.get("Content-Range", "").startswith(f"bytes {first}-{last}/"):
            raise ValueError(f"{self._url.netloc} sends another range than asked for")
        for each in run:
            data = response.read(each.length)
            if len(data) != each.length:
                raise ValueError(f"{self._url.netloc} sends too little")
            with self._condition:
                if self._wanted.pop(each.name, None) is not None:
                    self._ended.append(Got(each.name, data))
                self._deadline = time.monotonic() + self._timeout_s
            self._wake()
        if not response.isclosed():
            self._close()  # it says more than it was asked

    def _request(self, path: str, byte_range: str) -> "HTTPResponse":
        """The head of the answer. A connection that was kept open may have been closed by the other side meanwhile."""
        kept = self._connection is not None
        try:
            return self._send(path, byte_range)
        except (ConnectionResetError, BrokenPipeError):
            if not kept:
                raise
            self._close()
            return self._send(path, byte_range)

    def _send(self, path: str, byte_range: str) -> "HTTPResponse":
        connection = self._connection or self._connect()
        connection.request("GET", path, headers={"Range": byte_range, "User-Agent": f"littoral/{__version__}"})
        return connection.getresponse()

    def _connect(self) -> "HTTPConnection":
        from http.client import HTTPConnection, HTTPSConnection

        host, port = str(self._url.hostname), self._url.port
        if self._context is None:
            made = HTTPConnection(host, port, timeout=self._timeout_s)
        else:
            made = HTTPSConnection(host, port, timeout=self._timeout_s, context=self._context)
        with self._condition:
            self._connection = made
        made.connect()
        with self._condition:
            if self._stopping:
                raise ConnectionAbortedError("the agent ends")
        return made

    def _close(self) -> None:
        with self._condition:
            closing, self._connection = self._connection, None
        if closing is not None:
            closing.close()


def _address(url: str) -> SplitResult:
    try:
        found = urlsplit(url)
        usable = found.scheme in ("http", "https") and found.hostname and found.port != 0
    except ValueError:
        usable = False
    if not usable or found.query or found.fragment or found.username:
        raise ConfigError(f"mirror.url {url!r} is no address", remedy="Give one as in https://HOST/PATH.")
    return found


def _tls(config: Config) -> ssl.SSLContext:
    """Only who runs the mirror is checked: what it holds is anyone's to read, and checked by its digest."""
    authority = config.state / config.mirror.ca if config.mirror.ca else None
    try:
        context = ssl.create_default_context(cafile=authority)
    except (OSError, ValueError) as error:
        raise ConfigError(f"mirror.ca {authority} holds no certificates: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
