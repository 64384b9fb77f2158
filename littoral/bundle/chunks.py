"""Blobs as chunks: a blob is cut into pieces of one size, and the list of their digests is a blob itself."""

import hashlib
from collections.abc import Iterator

from littoral import canonical
from littoral.wire.topics import CHUNK_BYTES

DIGEST_BYTES = 32
MAX_CHUNKS = CHUNK_BYTES // DIGEST_BYTES  # the list travels as one chunk: 1,920 pieces, 118 MB at 61,440 bytes


def split(data: bytes, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Pieces of `chunk_bytes`, the last one shorter. Empty data has no piece."""
    if not 1 <= chunk_bytes <= CHUNK_BYTES:
        raise ValueError(f"chunks have 1 to {CHUNK_BYTES} bytes, not {chunk_bytes}")
    for start in range(0, len(data), chunk_bytes):
        yield data[start : start + chunk_bytes]


def list_of(pieces: Iterator[bytes]) -> bytes:
    """The chunk list: the pieces' sha256 as raw 32-byte digests, one after the other."""
    return b"".join(hashlib.sha256(piece).digest() for piece in pieces)


def parse_list(data: bytes) -> tuple[str, ...]:
    """Digests (64 hex digits each) of a chunk list. Raises ValueError."""
    if len(data) % DIGEST_BYTES or len(data) > CHUNK_BYTES:
        raise ValueError(f"a chunk list of {len(data)} bytes")
    return tuple(data[at : at + DIGEST_BYTES].hex() for at in range(0, len(data), DIGEST_BYTES))


def digest_of(data: bytes) -> str:
    """The name of a chunk or blob."""
    return canonical.digest(data)


def is_named(data: bytes, sha256: str) -> bool:
    """Whether `data` is what its name says."""
    return digest_of(data) == sha256
