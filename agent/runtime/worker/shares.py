"""Memory that a client shares with its worker: a memfd passed once, named by number and offset afterwards.

Only what is sealed against shrinking is mapped, and only for reading: its owner could otherwise end this process by
truncating it. What the owner writes there meanwhile spoils its own answers and nothing else.
"""

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from mmap import MAP_SHARED, PROT_READ, mmap

from littoral.errors import ProtocolError, ShareError
from littoral.wire.query import Frame, Place


@dataclass(frozen=True, slots=True)
class _Share:
    """One memory, mapped for reading."""

    descriptor: int
    memory: mmap
    size_bytes: int


class Shares:
    """Those of one connection, within its limits. It owns their descriptors."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._shares: dict[int, _Share] = {}
        self.next = 0  # the number of the next one; none is used twice

    def adopt(self, descriptors: Sequence[int], named: tuple[tuple[int, int], ...], next: int) -> None:
        """Takes over what another worker had accepted. Raises OSError; the descriptors are then still the caller's."""
        taken = zip(descriptors, named, strict=True)
        self._shares = {number: _Share(fd, mmap(fd, size, MAP_SHARED, PROT_READ), size) for fd, (number, size) in taken}
        self.next = next

    def obey(self, frame: Frame, descriptor: int | None) -> dict[str, int]:
        """Does what SHARE asks for, with the descriptor that came beside it; gives the body of its INFO. Raises
        ShareError.
        """
        kept = False
        try:
            body = frame.json()
            size_bytes, drop = body.get("size"), body.get("drop")
            if type(drop) is int:
                self._drop(drop)
                return {"dropped": drop}
            if type(size_bytes) is not int or descriptor is None:
                raise ShareError("SHARE holds a size, and a memfd beside it; or the number of the share to drop")
            number, kept = self._add(descriptor, size_bytes), True
            return {"share": number, "size": size_bytes}
        except ProtocolError as error:
            raise ShareError(error.cause) from error
        finally:
            if descriptor is not None and not kept:
                os.close(descriptor)

    def view(self, place: Place, size_bytes: int) -> memoryview:
        """The bytes at `place`, where they are. Raises ShareError."""
        share = self._shares.get(place.share)
        if share is None:
            raise ShareError(f"there is no share {place.share}")
        end = place.offset + size_bytes
        if end > share.size_bytes:
            raise ShareError(f"bytes {place.offset} to {end} of share {place.share}, which has {share.size_bytes}")
        return memoryview(share.memory)[place.offset : end]

    def named(self) -> tuple[tuple[int, int], ...]:
        """Number and size of each."""
        return tuple((number, share.size_bytes) for number, share in self._shares.items())

    def descriptors(self) -> tuple[int, ...]:
        """In the order of `named`; they stay the owner's."""
        return tuple(share.descriptor for share in self._shares.values())

    def close(self) -> None:
        """A memory that is being read now is unmapped when that is done."""
        for share in self._shares.values():
            os.close(share.descriptor)
        self._shares.clear()

    def _add(self, descriptor: int, size_bytes: int) -> int:
        """Its number. Raises ShareError; the descriptor is then still the caller's."""
        if size_bytes <= 0:
            raise ShareError(f"{size_bytes} bytes of shared memory")
        if len(self._shares) >= self._most:
            raise ShareError(f"{len(self._shares)} shared memories are there, the most there may be")
        total = size_bytes + sum(share.size_bytes for share in self._shares.values())
        if total > self._most_bytes:
            raise ShareError(f"{total} bytes of shared memory, the limit of a connection is {self._most_bytes}")
        try:
            seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        except OSError as error:
            raise ShareError(f"the descriptor is no memfd: {error.strerror}") from error
        if not seals & fcntl.F_SEAL_SHRINK:
            raise ShareError("the memfd is not sealed against shrinking")
        if (found := os.fstat(descriptor).st_size) < size_bytes:
            raise ShareError(f"the memfd has {found} bytes, SHARE announces {size_bytes}")
        try:
            memory = mmap(descriptor, size_bytes, MAP_SHARED, PROT_READ)
        except OSError as error:
            raise ShareError(f"it cannot be mapped: {error.strerror}") from error
        number, self.next = self.next, self.next + 1
        self._shares[number] = _Share(descriptor, memory, size_bytes)
        return number

    def _drop(self, number: int) -> None:
        """Raises ShareError."""
        if number not in self._shares:
            raise ShareError(f"there is no share {number}")
        os.close(self._shares.pop(number).descriptor)
