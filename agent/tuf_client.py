"""`littoral-agent tuf`: the client of The Update Framework that guards this device's releases, on any repository.

It takes a repository over HTTP(S) or from a folder, as the framework's conformance suite calls a client: `init`,
`refresh`, `download`. It uses the same verification as the updater child (agent/updater/framework.py) with the limits
of plain repositories and the system's clock. It knows nothing of the agent, its state or its fleet.
"""

import argparse
import http.client
import select
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote, urlsplit

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root

from agent import fsio
from agent.updater.framework import FetcherInterface, FrameworkClient, UpdaterConfig, named_errors
from littoral.errors import ConfigError, LittoralError, MetadataError, NotListedError

READ_BYTES = 65_536
SILENCE_S = 30.0  # one connect or read
FILE_S = 600.0  # one file, however slowly it comes
_IN_PATHS = "/%:@!$&'()*+,;=~"  # what a target's name may carry into a URL as it is

_T = TypeVar("_T")


def run(args: argparse.Namespace) -> int:
    """Raises the named errors."""
    try:
        match args.action:
            case "init":
                _init(args.metadata_dir, _given(args.root, "ROOT"))
            case "refresh":
                _refresh(_open(args, None))
            case "download":
                _download(args)
    except OSError as error:
        raise LittoralError(f"{args.action} cannot read or write its files: {error}") from error
    return 0


def _init(folder: Path, root: Path) -> None:
    data = root.read_bytes()
    with named_errors():
        found: Metadata[Root] = Metadata.from_bytes(data)
        if not isinstance(found.signed, Root):
            raise MetadataError(f"{root} is no root.json")
        found.signed.verify_delegate(Root.type, found.signed_bytes, found.signatures)
    fsio.make_folder(folder)
    fsio.write_file(folder / "root.json", data)


def _open(args: argparse.Namespace, targets: tuple[str, str] | None) -> FrameworkClient:
    folder: Path = args.metadata_dir
    url = _url(_given(args.metadata_url, "--metadata-url"))
    root = fsio.read(folder / "root.json")
    with named_errors():
        return FrameworkClient(folder, url, UrlFetcher(), UpdaterConfig(), root, int(time.time()), targets)


def _refresh(client: FrameworkClient) -> None:
    with named_errors():
        client.refresh()


def _download(args: argparse.Namespace) -> None:
    folder: Path = _given(args.target_dir, "--target-dir")
    names: list[str] = _given(args.target_name, "--target-name")
    client = _open(args, (str(folder), _url(_given(args.target_base_url, "--target-base-url"))))
    _refresh(client)
    with named_errors():
        for name in names:
            target = client.get_targetinfo(name)
            if target is None:
                raise NotListedError(f"the repository lists no target {name}")
            if client.find_cached_target(target) is None:
                fsio.make_folder(folder)
                client.download_target(target)


def _given(value: _T | None, option: str) -> _T:
    if value is None:
        raise ConfigError(f"{option} is missing")
    return value


def _url(text: str) -> str:
    """The URL of a repository; of a folder where it is none."""
    return text if "://" in text else Path(text).resolve().as_uri()


class UrlFetcher(FetcherInterface):
    """Files of a repository by their URL: http, https (by the system's authorities) or file.

    It follows no redirect. What does not exist is a DownloadHTTPError with the status 404.
    """

    def _fetch(self, url: str) -> Iterator[bytes]:
        return _pieces(url)


def _pieces(url: str) -> Iterator[bytes]:
    try:
        yield from _file(url) if url.startswith("file://") else _http(url)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise exceptions.DownloadError(f"{url}: {error}") from error


def _file(url: str) -> Iterator[bytes]:
    path = Path(unquote(url.removeprefix("file://")))
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("no file")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise exceptions.DownloadHTTPError(f"{path} does not exist", 404) from error
    yield from fsio.pieces(path, READ_BYTES)


def _http(url: str) -> Iterator[bytes]:
    """Raises OSError, HTTPException, ValueError, DownloadHTTPError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a repository is http://, https://, file:// or a folder")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    path = quote(url.split("://", 1)[1].partition("/")[2], safe=_IN_PATHS)
    with closing(kind(parts.hostname, parts.port, timeout=SILENCE_S)) as connection:
        connection.connect()
        with _cut_after(FILE_S, connection.sock):
            connection.request("GET", f"/{path}", headers={"User-Agent": "littoral-agent"})
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise exceptions.DownloadHTTPError(f"{url}: {answer.status} {answer.reason}", answer.status)
            while piece := answer.read(READ_BYTES):
                yield piece


@contextmanager
def _cut_after(seconds: float, line: socket.socket) -> Iterator[None]:
    """Ends a connection that only drips: whoever reads from it then sees its end.

    It waits by select, which counts from now on: a lock waits for a time on a clock, and the clock may be a faked one.
    """
    ours, theirs = socket.socketpair()

    def watch() -> None:
        if not select.select([theirs], [], [], seconds)[0]:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ours.close()
        thread.join()
        theirs.close()
