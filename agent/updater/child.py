"""The updater child: verifies one desired state, or one release, and ends.

Started as `python -m agent.updater.child <fd>`. It alone holds tuf and cryptography, and reads hostile bytes; it has
no network and asks the agent for everything (child_protocol.py). It keeps nothing but the folder of verified
metadata.
"""

import errno
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from agent.updater import clock
from agent.updater.child_protocol import MAX_LINE_BYTES, Plan, Request, fail, get, parse_request
from agent.updater.trust import Asker, Trust
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


def work(request: Request, asker: Asker, now: float) -> Plan:
    """Does the one job. Raises the named errors of Trust, and OSError."""
    at = clock.judged_by(now, request.known_time)
    trust = Trust(asker, Path(request.metadata_dir), Path(request.root).read_bytes(), at)
    if request.job == "desired":
        signed = trust.desired((request.desired or "").encode(), request.tenant, request.device)
        return Plan(keyid=signed.keyid, time=at, root_version=trust.root_version)
    data, manifest = trust.release(request.model, request.release, request.bundle)
    lists = {role: trust.chunk_list(blob, manifest.chunk_bytes) for role, blob in manifest.blobs.items()}
    return Plan(manifest=data.decode(), chunks=lists, time=at, root_version=trust.root_version)


def serve(connection: socket.socket, now: float) -> None:
    """Reads the request, works, writes how it ended. Raises GoneError."""
    reader = connection.makefile("rb")
    try:
        line = reader.readline(MAX_REQUEST_BYTES)
        if not line.endswith(b"\n"):
            raise GoneError
        try:
            ending = work(parse_request(line), SocketAsker(reader, connection.sendall), now).encode()
        except LittoralError as error:
            ending = fail(error).encode()
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise
            ending = fail(_disk_error(error)).encode()
        connection.sendall(ending)
    except ConnectionError as error:
        raise GoneError from error


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
