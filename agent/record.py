"""A small value that survives anything: two 4 KiB copies in one preallocated file, the older one overwritten.

One decision is one write and one fdatasync; it works on a full disk and survives a bad block. The value is a JSON
object. Whoever only reads needs no right to write.
"""

import contextlib
import errno
import json
import zlib
from pathlib import Path
from struct import Struct
from typing import Any

from agent import fsio
from littoral.errors import RecordError

COPY_BYTES = 4_096
_HEAD = Struct("<4sIQII")  # magic, schema, sequence, payload length, crc32 of sequence, length and payload
_MAGIC = b"LtRc"
_SCHEMA = 1
MAX_PAYLOAD_BYTES = COPY_BYTES - _HEAD.size


def read(path: Path) -> tuple[int, dict[str, Any]] | None:
    """(sequence, value) of the newest whole copy; None where there is no file.

    Raises RecordError where there is one and neither copy is whole.
    """
    newest = _newest(path)
    return None if newest is None else (newest[0], json.loads(newest[1]))


def write(path: Path, value: dict[str, Any]) -> None:
    """Makes `value` the newest copy, durably. Raises OSError, or ValueError where it does not fit."""
    data = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode(errors="replace")
    if len(data) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a record of {len(data)} bytes, at most {MAX_PAYLOAD_BYTES} fit")
    try:
        newest = _newest(path)
    except RecordError:
        newest = (0, b"")  # both copies are lost already: nothing is risked by going on
    if newest is None:
        _create(path, _encode(1, data) + bytes(COPY_BYTES))
        return
    sequence = newest[0] + 1
    older = (sequence + 1) % 2 * COPY_BYTES
    try:
        fsio.write_at(path, _encode(sequence, data), older)
    except OSError:
        # Nobody knows what reached the disk. What is read back must not count as the newest: the next write would go
        # over the last copy that is surely there.
        with contextlib.suppress(OSError):
            fsio.put(path, bytes(COPY_BYTES), older)
        raise


def _create(path: Path, data: bytes) -> None:
    try:
        fsio.write_file(path, data)
    except OSError:
        with contextlib.suppress(OSError):
            fsio.remove(path)  # its name may not last, and the next write would rest on it
        raise


def _newest(path: Path) -> tuple[int, bytes] | None:
    """(sequence, payload) of the newest whole copy; None where there is no file. Raises RecordError or OSError."""
    try:
        data = _content(path)
    except FileNotFoundError:
        return None
    copies = [_decode(data[at : at + COPY_BYTES]) for at in (0, COPY_BYTES)]
    whole = [copy for copy in copies if copy is not None]
    if not whole:
        raise RecordError(f"{path}: neither copy of the record is whole")
    return max(whole)


def _content(path: Path) -> bytes:
    """Both copies, of one moment; a copy that the disk cannot read any more is zeros."""
    try:
        return fsio.read(path)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    return b"".join(_copy(path, at) for at in (0, COPY_BYTES))


def _copy(path: Path, offset: int) -> bytes:
    try:
        return fsio.read(path, offset, COPY_BYTES)
    except OSError:
        return bytes(COPY_BYTES)


def _decode(copy: bytes) -> tuple[int, bytes] | None:
    if len(copy) < _HEAD.size:
        return None
    magic, schema, sequence, length, crc = _HEAD.unpack_from(copy)
    data = copy[_HEAD.size : _HEAD.size + length]
    if magic != _MAGIC or schema != _SCHEMA or len(data) != length or _crc(sequence, data) != crc:
        return None
    return sequence, data


def _encode(sequence: int, data: bytes) -> bytes:
    head = _HEAD.pack(_MAGIC, _SCHEMA, sequence, len(data), _crc(sequence, data))
    return (head + data).ljust(COPY_BYTES, b"\0")


def _crc(sequence: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(sequence.to_bytes(8, "little")))
