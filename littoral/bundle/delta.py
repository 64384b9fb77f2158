"""A blob told by its difference to another one, for devices that hold the other: what a retrained model mostly is.

A delta is an xz stream (no integrity check of its own, dictionary of 1 MiB) of as many bytes as the new blob has: each
is the new byte less the base's byte at the same place, modulo 256; where the base has ended, the new byte itself.
Nothing here knows digests: whoever applies a delta checks what came of it. Neither disk nor numpy is touched.
"""

import lzma
from collections.abc import Iterable, Iterator

from littoral.errors import DeltaError

PIECE_BYTES = 65_536
DICTIONARY_BYTES = 1024 * 1024  # what the reader must hold; a larger one gains little on weights
MAX_READER_BYTES = DICTIONARY_BYTES + 512 * 1024  # that, and what the decoder needs beside it


def make(base: bytes, new: bytes) -> bytes:
    """The delta that makes `new` of `base`."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": DICTIONARY_BYTES}]
    encoder = lzma.LZMACompressor(check=lzma.CHECK_NONE, filters=filters)
    made = bytearray()
    for at in range(0, len(new), PIECE_BYTES):
        piece, old = new[at : at + PIECE_BYTES], base[at : at + PIECE_BYTES]
        made += encoder.compress(_subtract(piece, old[: len(piece)]))
    return bytes(made + encoder.flush())


def apply(base: Iterable[bytes], delta: Iterable[bytes], length: int) -> Iterator[bytes]:
    """The new blob of `length` bytes, piece by piece; `base` and `delta` come in pieces of any size.

    Takes less than 2 MB beside those, whatever the delta says. Raises DeltaError for one that cannot be read or does
    not make `length` bytes.
    """
    old = _Reader(base)
    made = 0
    for piece in _decode(delta):
        made += len(piece)
        if made > length:
            raise DeltaError(f"a delta that makes more than {length} bytes")
        yield _add(piece, old.take(len(piece)))
    if made != length:
        raise DeltaError(f"a delta that makes {made} bytes in place of {length}")


def _decode(delta: Iterable[bytes]) -> Iterator[bytes]:
    """The differences, at most PIECE_BYTES at a time."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_READER_BYTES)
    pieces = iter(delta)
    try:
        while not decoder.eof:
            given = b""
            if decoder.needs_input:
                given = next(pieces, b"")
                if not given:
                    raise DeltaError("a delta that ends too early")
            if piece := decoder.decompress(given, PIECE_BYTES):
                yield piece
    except lzma.LZMAError as error:
        raise DeltaError(f"a delta that cannot be read: {error}") from error
    if decoder.unused_data or next(pieces, b""):
        raise DeltaError("a delta that goes on after its end")


class _Reader:
    """Pieces of any size, read by the number of bytes."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = memoryview(b"")

    def take(self, size: int) -> bytes:
        """The next `size` bytes; fewer only where there are no more."""
        taken = bytearray()
        while len(taken) < size:
            if not self._held:
                piece = next(self._pieces, b"")
                if not piece:
                    break
                self._held = memoryview(piece)
            part = self._held[: size - len(taken)]
            self._held = self._held[len(part) :]
            taken += part
        return bytes(taken)


def _add(one: bytes, other: bytes) -> bytes:
    """Bytewise sum modulo 256 of `other` and as much of `one`; the rest of `one` as it is.

    Both are taken as one number each: the seven low bits of every byte are added, which carries no further than the
    eighth, and the eighth is added without carry.
    """
    size = len(other)
    low, high = _masks(size)
    a, b = int.from_bytes(one[:size]), int.from_bytes(other)
    if a == 0:
        return other + one[size:]
    return (((a & low) + (b & low)) ^ ((a ^ b) & high)).to_bytes(size) + one[size:]


def _subtract(one: bytes, other: bytes) -> bytes:
    """Bytewise difference modulo 256; the rest of `one` as it is."""
    size = len(other)
    low, high = _masks(size)
    a, b = int.from_bytes(one[:size]), int.from_bytes(other)
    return (((a | high) - (b & low)) ^ ((a ^ b ^ high) & high)).to_bytes(size) + one[size:]


def _masks(size: int) -> tuple[int, int]:
    """Seven bits of each byte, and the eighth. Made anew each time: kept, they are 0.15 MB of an agent that is idle."""
    return int.from_bytes(b"\x7f" * size), int.from_bytes(b"\x80" * size)
