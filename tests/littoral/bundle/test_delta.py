"""Deltas: the new blob comes back whatever the base, in little memory, and a bad one is refused."""

import lzma
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.bundle import delta
from littoral.errors import DeltaError


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def rebuild(base: bytes, made: bytes, length: int, size: int = 1000) -> bytes:
    return b"".join(delta.apply(pieces(base, size), pieces(made, size), length))


@given(st.binary(max_size=400), st.binary(max_size=400), st.integers(1, 100))
def test_base_and_delta_make_the_new_blob(base: bytes, new: bytes, size: int) -> None:
    assert rebuild(base, delta.make(base, new), len(new), size) == new


@pytest.mark.parametrize("more", [-delta.PIECE_BYTES - 1, -1, 0, 1, delta.PIECE_BYTES + 1])
def test_the_new_blob_may_be_longer_or_shorter(more: int) -> None:
    base = bytes(range(256)) * 700
    new = bytes(255 - byte for byte in base[: len(base) + more]) + b"x" * max(more, 0)
    assert rebuild(base, delta.make(base, new), len(new), 4321) == new


def test_every_byte_less_every_byte_comes_back() -> None:
    base = bytes(range(256)) * 256
    new = bytes(byte for byte in range(256) for _ in range(256))
    assert rebuild(base, delta.make(base, new), len(new)) == new


def test_what_changed_little_has_a_small_delta() -> None:
    base = bytes(range(256)) * 4000
    new = base[:-1000] + bytes(1000)
    assert len(delta.make(base, new)) < len(new) // 100


def test_a_delta_that_makes_more_than_it_should_is_stopped_there() -> None:
    made = delta.make(b"", bytes(10_000_000))
    came: list[bytes] = []
    with pytest.raises(DeltaError):
        came.extend(delta.apply([], [made], 100_000))
    assert sum(map(len, came)) <= 100_000


def test_a_delta_that_makes_less_is_refused() -> None:
    with pytest.raises(DeltaError):
        rebuild(b"base", delta.make(b"base", b"new"), 4)


@pytest.mark.parametrize("spoil", [lambda d: d[:-1], lambda d: d + b"x", lambda d: b"no delta", lambda d: b""])
def test_a_delta_that_cannot_be_read_is_refused(spoil: object) -> None:
    assert callable(spoil)
    with pytest.raises(DeltaError):
        rebuild(b"base" * 100, spoil(delta.make(b"base" * 100, b"new!" * 100)), 400)


def test_a_delta_that_asks_for_much_memory_is_refused() -> None:
    greedy = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 64 * 1024 * 1024}]
    made = lzma.compress(b"x" * 100, check=lzma.CHECK_NONE, filters=greedy)
    with pytest.raises(DeltaError):
        rebuild(b"", made, 100)


def test_applying_takes_the_same_memory_for_any_size() -> None:
    def base() -> Iterator[bytes]:
        return (bytes([n % 256]) * 65_536 for n in range(300))

    made = delta.make(b"", bytes(300 * 65_536))
    tracemalloc.start()
    try:
        length = sum(len(piece) for piece in delta.apply(base(), [made], 300 * 65_536))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert length == 300 * 65_536
    assert peak < 2_000_000
