"""The operator's side of the fleet server's HTTP door, for subcommands that ask a running server."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import httpx

from littoral.errors import ConfigError, ServerUnreachableError, UnauthorizedError, by_code

TIMEOUT_S = 60.0


class Remote:
    """Asks the server at the URL `server` with an administrator's token.

    Every call raises the named error that the server answered with, or ServerUnreachableError.
    """

    def __init__(self, server: str, token: str) -> None:
        """Raises ConfigError."""
        headers = {"Authorization": f"Bearer {token}"}
        try:
            address = httpx.URL(server)
        except httpx.InvalidURL as error:
            raise ConfigError(f"{server!r} is no address of a fleet server: {error}") from error
        if address.scheme not in ("http", "https") or not address.host:
            raise ConfigError(
                f"{server!r} is no address of a fleet server", remedy="It begins with http:// or https://."
            )
        if not token.isascii() or not token.isprintable():
            raise ConfigError("the API token has letters that no token has")
        self._client = httpx.Client(base_url=address, headers=headers, timeout=TIMEOUT_S)
        self._server = server

    def get(self, path: str) -> Any:
        """The JSON value at `path`."""
        return self._ask("GET", path).json()

    def read(self, path: str) -> bytes:
        """The bytes at `path`."""
        return self._ask("GET", path).content

    def parts(self, path: str) -> Iterator[bytes]:
        """The bytes at `path` as they come, for what may be too large to hold."""
        with self._reaching(), self._client.stream("GET", path) as answer:
            if not answer.is_success:
                answer.read()
            yield from _checked(answer).iter_bytes()

    def post(self, path: str, json: Any) -> Any:
        return self._ask("POST", path, json=json).json()

    def put(self, path: str, data: bytes) -> None:
        self._ask("PUT", path, content=data)

    def has(self, path: str) -> bool:
        """Whether there is anything at `path`."""
        answer = self._send("HEAD", path)
        if answer.status_code == 404:
            return False
        return _checked(answer).is_success

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> "Remote":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: str, path: str, json: Any = None, content: bytes | None = None) -> httpx.Response:
        return _checked(self._send(method, path, json, content))

    def _send(self, method: str, path: str, json: Any = None, content: bytes | None = None) -> httpx.Response:
        with self._reaching():
            return self._client.request(method, path, json=json, content=content)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (httpx.TransportError, httpx.UnsupportedProtocol) as error:
            raise ServerUnreachableError(
                f"{self._server} does not answer: {error}", remedy="See that `littoral-fleet serve` runs there."
            ) from error


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every subcommand that asks a server."""
    parser.add_argument("--server", metavar="URL", help="the fleet server; else LITTORAL_SERVER")
    parser.add_argument("--token", metavar="TOKEN", help="an administrator's API token; else LITTORAL_TOKEN")


def connect(arguments: argparse.Namespace) -> Remote:
    """The server that the options or the environment name. Raises ConfigError."""
    server = arguments.server or os.environ.get("LITTORAL_SERVER", "")
    token = arguments.token or os.environ.get("LITTORAL_TOKEN", "")
    if not server:
        raise ConfigError("no fleet server is named", remedy="Give --server or LITTORAL_SERVER.")
    if not token:
        raise ConfigError(
            "no API token is given",
            remedy="Give --token or LITTORAL_TOKEN; `littoral-fleet init` left one in DATA/admin-token.",
        )
    return Remote(server, token)


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    try:
        error = answer.json()["error"]
        code, cause, remedy = str(error["code"]), str(error["cause"]), str(error["remedy"])
    except (ValueError, KeyError, TypeError):
        if answer.status_code == 401:  # an answer to HEAD has no body
            raise UnauthorizedError("the API token is not valid there") from None
        raise ServerUnreachableError(
            f"{answer.url} answered {answer.status_code}, not as a fleet server does"
        ) from None
    raise by_code(code, cause, remedy)
