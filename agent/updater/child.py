"""The updater child: verifies one desired state, or one release, and ends.

Started as `python -m agent.updater.child <fd>`. It alone holds tuf and cryptography, and reads hostile bytes; it has
no network: it asks the agent for everything (child_protocol.py), or reads one folder. It keeps nothing but verified
metadata.
"""

import contextlib
import errno
import socket
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import BinaryIO

from agent.updater import clock
from agent.updater.child_protocol import MAX_LINE_BYTES, Plan, Request, fail, get, parse_request
from agent.updater.folder import FolderAsker, explained
from agent.updater.trust import Trust
from littoral.bundle.manifest import Blob, Manifest
from littoral.errors import LittoralError, NoAnswerError, NoRoomError

MAX_REQUEST_BYTES = 262_144


class GoneError(Exception):
    """The agent has closed the socket: there is nobody to work for."""


class SocketAsker:
    """Asks the agent over the socket."""

    def __init__(self, reader: BinaryIO, send: Callable[[bytes], None]) -> None:
        self._reader = reader
        self._send = send

    def get(self, name: str, max_bytes: int) -> bytes | None:
        """Raises NoAnswerError, or GoneError where the agent is gone."""
        self._send(get(name, max_bytes))
        match self._reader.readline(MAX_LINE_BYTES).split():
            case [b"ABSENT"]:
                return None
            case [b"NOANSWER"]:
                raise NoAnswerError(f"nobody answered for {name}")
            case [b"HAVE", digits] if digits.isdigit() and int(digits) <= max_bytes:
                data = self._reader.read(int(digits))
                if len(data) == int(digits):
                    return data
        raise GoneError


def work(request: Request, trust: Trust, at: int) -> Plan:
    """Does the one job. Raises the named errors of Trust, and OSError."""
    if request.job == "desired":
        signed = trust.desired((request.desired or "").encode(), request.tenant, request.device)
        return Plan(keyid=signed.keyid, time=at, root_version=trust.root_version)
    data, manifest = trust.release(request.model, request.release, request.bundle)
    lists = _chunk_lists(trust, manifest, request.held)
    return Plan(manifest=data.decode(), chunks=lists, time=at, root_version=trust.root_version)


def _chunk_lists(trust: Trust, manifest: Manifest, held: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Chunk digests by role, and by `delta:<index>` of the deltas worth fetching here."""
    lists = {role: trust.chunk_list(blob, manifest.chunk_bytes) for role, blob in manifest.blobs.items()}
    for role, blob in manifest.blobs.items():
        index = None if blob.sha256 in held else manifest.delta_for(role, held)
        if index is None:
            continue
        delta = manifest.deltas[index]
        with contextlib.suppress(NoAnswerError):  # the blob itself does as well
            as_blob = Blob(delta.sha256, delta.length, delta.chunks)
            lists[f"delta:{index}"] = trust.chunk_list(as_blob, manifest.chunk_bytes)
    return lists


def serve(connection: socket.socket, now: float) -> None:
    """Reads the request, works, writes how it ended. Raises GoneError."""
    reader = connection.makefile("rb")
    try:
        line = reader.readline(MAX_REQUEST_BYTES)
        if not line.endswith(b"\n"):
            raise GoneError
        request = parse_request(line)
        stick = Path(request.folder) if request.folder else None
        asker = FolderAsker(stick) if stick else SocketAsker(reader, connection.sendall)
        at, trust = clock.judged_by(now, request.known_time), None
        try:
            root = Path(request.root).read_bytes()
            trust = Trust(asker, Path(request.metadata_dir), root, at, roots_only=bool(stick))
            ending = work(request, trust, at).encode()
        except LittoralError as error:
            told = explained(error, stick, at) if stick else error
            ending = fail(told, trust.root_version if trust else 0).encode()
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise
            ending = fail(_disk_error(error), 0).encode()
        connection.sendall(ending)
    except ConnectionError as error:
        raise GoneError from error
    finally:
        reader.close()


def _disk_error(error: OSError) -> LittoralError:
    text = f"the metadata folder cannot be used: {error}"
    return NoRoomError(text) if error.errno in (errno.ENOSPC, errno.EDQUOT) else LittoralError(text)


def main(argv: list[str]) -> int:
    with socket.socket(fileno=int(argv[1])) as connection:
        try:
            serve(connection, time.time())
        except GoneError:
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
