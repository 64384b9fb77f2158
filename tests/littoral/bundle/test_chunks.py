"""Chunks: cutting, naming, and lists of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.bundle import chunks
from littoral.canonical import digest
from littoral.wire.topics import CHUNK_BYTES


@given(st.binary(max_size=500), st.integers(1, 100))
def test_pieces_put_together_are_the_blob_and_the_list_names_each(data: bytes, size: int) -> None:
    pieces = list(chunks.split(data, size))
    assert b"".join(pieces) == data
    assert all(len(piece) == size for piece in pieces[:-1])
    listed = chunks.parse_list(chunks.list_of(iter(pieces)))
    assert listed == tuple(digest(piece) for piece in pieces)
    assert all(chunks.is_named(piece, name) for piece, name in zip(pieces, listed, strict=True))


def test_bytes_that_differ_are_not_what_their_name_says() -> None:
    assert not chunks.is_named(b"other", digest(b"one"))


@pytest.mark.parametrize("size", [0, -1, CHUNK_BYTES + 1])
def test_a_chunk_size_outside_the_limits_is_refused(size: int) -> None:
    with pytest.raises(ValueError):
        next(chunks.split(b"data", size))


@pytest.mark.parametrize("data", [b"\0" * 31, b"\0" * 33, b"\0" * (CHUNK_BYTES + 32)])
def test_a_list_that_is_cut_or_too_long_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        chunks.parse_list(data)


def test_the_longest_list_travels_as_one_chunk() -> None:
    assert chunks.MAX_CHUNKS * chunks.DIGEST_BYTES == CHUNK_BYTES
    assert len(chunks.parse_list(bytes(CHUNK_BYTES))) == chunks.MAX_CHUNKS
