"""A real HTTP server with Range over a folder of blobs in memory, that can be told to misbehave."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class Web:
    """Serves blobs by digest below /mirror/blob/. `behave`, where set, answers in its place."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.blobs: dict[str, bytes] = {}
        self.ranges: list[tuple[int, int]] = []  # as they were asked for
        self.connections = 0
        self.behave: Callable[[Request], None] | None = None
        self.ended = threading.Event()  # what drips or hangs ends by it
        web = self

        class Handler(Request):
            pass

        Handler.web = web
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        scheme = "http"
        if context is not None:
            scheme = "https"
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}/mirror"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Request(BaseHTTPRequestHandler):
    """One connection; each GET is answered by what the test says, or as a good mirror does."""

    protocol_version = "HTTP/1.1"
    web: Web

    def setup(self) -> None:
        self.web.connections += 1
        super().setup()

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            self.close_connection = True  # the other side went away in the middle of an answer

    def do_GET(self) -> None:
        try:
            (self.web.behave or Request.answer)(self)
        except OSError:
            self.close_connection = True

    def wanted(self) -> tuple[bytes, int, int]:
        """The blob, and the first and last byte asked for."""
        found = _RANGE.fullmatch(self.headers["Range"])
        assert found is not None
        return self.web.blobs.get(self.path.removeprefix("/mirror/blob/"), b""), int(found[1]), int(found[2])

    def answer(self) -> None:
        """As a good mirror."""
        blob, first, last = self.wanted()
        self.web.ranges.append((first, last))
        if not blob:
            self.send_error(404)
            return
        self.head(first, last, len(blob), last + 1 - first)
        self.wfile.write(blob[first : last + 1])

    def head(self, first: int, last: int, of: int, length: int | None) -> None:
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{of}")
        if length is None:
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


def say_nothing(request: Request) -> None:
    """Until the test is over."""
    request.web.ended.wait()
