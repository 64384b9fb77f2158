"""The ring of recent inputs: distinct ones that a model was really asked, kept to rehearse its next release on.

It lies in an anonymous memory file that the host makes for each model, workers write and rehearsals read. So it
outlives every worker, is on no disk, and is gone with the host. Whoever reads while another writes sees an input whole
or not at all. Which inputs are kept is decided in agent/runtime/worker/sampler.py.
"""

import ctypes
import os
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from zlib import crc32

PLACES = 64  # inputs; of 32 the comparison is three times as uncertain, of 128 hardly more certain
PLACE_BYTES = 16 * 1024 * 1024  # from one to the next: only what is written takes memory
SKETCH_BYTES = 64
# magic, kind, reserved, uid, answer, kept_ns, interface, sketch, length, crc of all before and of the data
_HEAD = Struct(f"<4sBBHIQQ16s{SKETCH_BYTES}sI")
_CRC = Struct("<I")
_MAGIC = b"LRI1"
_HEAD_BYTES = _HEAD.size + _CRC.size
_PAGE_BYTES = 4_096
_PUNCH_HOLE = 0x03  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)


class Kind(IntEnum):
    """What is kept of a request: its tensors as they came, or its picture as a small JPEG."""

    TENSORS = 1
    PICTURE = 2


@dataclass(frozen=True, slots=True)
class Kept:
    """One input. uid: whose; answer: what groups it with others that were answered alike; kept_ns: when (monotonic
    clock). interface: 16 bytes that name what `data` of kind TENSORS was made for. sketch: 8x8 grey means, row by row.
    """

    kind: Kind
    uid: int
    answer: int
    kept_ns: int
    interface: bytes
    sketch: bytes
    data: bytes

    @property
    def size_bytes(self) -> int:
        """Of memory, in whole pages."""
        return -(-(_HEAD_BYTES + len(self.data)) // _PAGE_BYTES) * _PAGE_BYTES


def make() -> int:
    """A new ring: its descriptor. Raises OSError."""
    descriptor = os.memfd_create("ring", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, PLACES * PLACE_BYTES)
    return descriptor


def size_bytes(descriptor: int) -> int:
    """Memory that it takes."""
    return os.fstat(descriptor).st_blocks * 512


def write(descriptor: int, place: int, kept: Kept | None) -> None:
    """Puts an input in its place, and gives back the memory of what was there. None leaves it empty."""
    at = place * PLACE_BYTES
    _LIBC.fallocate(descriptor, _PUNCH_HOLE, at, PLACE_BYTES)
    if kept is None:
        return
    head = _HEAD.pack(
        *(_MAGIC, kept.kind, 0, 0, kept.uid, kept.answer, kept.kept_ns, kept.interface, kept.sketch, len(kept.data))
    )
    os.pwrite(descriptor, kept.data, at + _HEAD_BYTES)
    os.pwrite(descriptor, head + _CRC.pack(crc32(kept.data, crc32(head))), at)


def read(descriptor: int, place: int) -> Kept | None:
    """None where the place is empty, or just being written."""
    at = place * PLACE_BYTES
    begins = os.pread(descriptor, _HEAD_BYTES, at)
    if len(begins) < _HEAD_BYTES or not begins.startswith(_MAGIC):
        return None
    head = begins[: _HEAD.size]
    _, kind, _, _, uid, answer, kept_ns, interface, sketch, length = _HEAD.unpack(head)
    data = os.pread(descriptor, length, at + _HEAD_BYTES)
    if len(data) != length or begins[_HEAD.size :] != _CRC.pack(crc32(data, crc32(head))):
        return None
    return Kept(Kind(kind), uid, answer, kept_ns, interface, sketch, data)


def count(descriptor: int) -> int:
    """How many inputs it holds."""
    return sum(os.pread(descriptor, len(_MAGIC), place * PLACE_BYTES) == _MAGIC for place in range(PLACES))


def read_all(descriptor: int) -> dict[int, Kept]:
    """By their place."""
    return {place: kept for place in range(PLACES) if (kept := read(descriptor, place)) is not None}
