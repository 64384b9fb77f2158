"""The ring: what is written is read, whole or not at all, and takes no more memory than what is in it."""

import os
from collections.abc import Iterator

import pytest

from agent.runtime import ring
from agent.runtime.ring import Kept, Kind


@pytest.fixture
def held() -> Iterator[int]:
    descriptor = ring.make()
    yield descriptor
    os.close(descriptor)


def kept(data: bytes = b"pixels", **other: int) -> Kept:
    return Kept(Kind.TENSORS, other.get("uid", 1000), other.get("answer", 3), 17, b"i" * 16, bytes(range(64)), data)


def test_what_is_written_is_read(held: int) -> None:
    picture = Kept(Kind.PICTURE, 7, 2**64 - 1, 5, b"j" * 16, b"\xff" * 64, b"jpeg" * 1_000)
    ring.write(held, 0, kept())
    ring.write(held, 63, picture)
    assert ring.read_all(held) == {0: kept(), 63: picture}
    assert ring.count(held) == 2


def test_an_empty_ring_holds_nothing_and_takes_nothing(held: int) -> None:
    assert ring.read_all(held) == {}
    assert ring.count(held) == 0
    assert ring.size_bytes(held) == 0


def test_memory_is_taken_by_what_is_there_and_given_back(held: int) -> None:
    large, small = kept(b"x" * 1_000_000), kept()
    ring.write(held, 5, large)
    assert ring.size_bytes(held) == large.size_bytes
    ring.write(held, 5, small)
    assert ring.size_bytes(held) == small.size_bytes == 4_096
    ring.write(held, 5, None)
    assert (ring.size_bytes(held), ring.read(held, 5)) == (0, None)


@pytest.mark.parametrize("at", [0, 20, 110, 113, 118])
def test_an_input_that_is_half_written_is_not_read(held: int, at: int) -> None:
    ring.write(held, 1, kept())
    byte = os.pread(held, 1, ring.PLACE_BYTES + at)
    os.pwrite(held, bytes([byte[0] ^ 1]), ring.PLACE_BYTES + at)
    assert ring.read(held, 1) is None


def test_another_process_reads_it_through_the_same_descriptor(held: int) -> None:
    ring.write(held, 2, kept(b"from the parent"))
    child = os.fork()
    if child == 0:
        found = ring.read(held, 2)
        ring.write(held, 3, kept(b"from the child"))
        os._exit(0 if found == kept(b"from the parent") else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert ring.read(held, 3) == kept(b"from the child")
