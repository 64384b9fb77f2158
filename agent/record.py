"""A small value that survives anything: two 4 KiB copies in one preallocated file, the older one overwritten.

One decision is one write and one fdatasync; it works on a full disk and survives a bad block. The value is a JSON
object. Whoever only reads needs no right to write.
"""

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
    try:
        data = fsio.read(path)
    except FileNotFoundError:
        return None
    copies = [_decode(data[at : at + COPY_BYTES]) for at in (0, COPY_BYTES)]
    whole = [copy for copy in copies if copy is not None]
    if not whole:
        raise RecordError(f"{path}: neither copy of the record is whole")
    return max(whole, key=lambda copy: copy[0])


def write(path: Path, value: dict[str, Any]) -> None:
    """Makes `value` the newest copy, durably. Raises OSError, or ValueError where it does not fit."""
    data = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode(errors="replace")
    if len(data) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a record of {len(data)} bytes, at most {MAX_PAYLOAD_BYTES} fit")
    try:
        newest = read(path)
    except RecordError:
        newest = (0, {})  # both copies are lost already: nothing is risked by going on
    if newest is None:
        fsio.write_file(path, _encode(1, data) + bytes(COPY_BYTES))
        return
    sequence = newest[0] + 1
    fsio.write_at(path, _encode(sequence, data), (sequence + 1) % 2 * COPY_BYTES)


def _encode(sequence: int, data: bytes) -> bytes:
    head = _HEAD.pack(_MAGIC, _SCHEMA, sequence, len(data), _crc(sequence, data))
    return (head + data).ljust(COPY_BYTES, b"\0")


def _decode(copy: bytes) -> tuple[int, dict[str, Any]] | None:
    if len(copy) < _HEAD.size:
        return None
    magic, schema, sequence, length, crc = _HEAD.unpack_from(copy)
    data = copy[_HEAD.size : _HEAD.size + length]
    if magic != _MAGIC or schema != _SCHEMA or len(data) != length or _crc(sequence, data) != crc:
        return None
    return sequence, json.loads(data)


def _crc(sequence: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(sequence.to_bytes(8, "little")))
