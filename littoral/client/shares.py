"""Memory that app and runtime both see, for frames written straight into it: a sealed memfd, divided into slots.

A slot belongs to the runtime from the request that names it until that request is answered; writing there earlier
spoils the app's own answer and nothing else.
"""

import fcntl
import mmap
import os
import weakref
from dataclasses import dataclass


class Share:
    """`slots` slots of `slot_bytes` each. Made by Client.share, which passes it to the runtime, and again after each
    reconnect.
    """

    def __init__(self, slot_bytes: int, slots: int) -> None:
        self.slot_bytes = slot_bytes
        self.slots = slots
        self.size_bytes = slot_bytes * slots
        self.number = -1  # by which the present connection knows it
        if slot_bytes < 1 or slots < 1:
            raise ValueError(f"{slots} slots of {slot_bytes} bytes")
        self._memfd = os.memfd_create("littoral-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._closing = weakref.finalize(self, os.close, self._memfd)
        os.ftruncate(self._memfd, self.size_bytes)
        # Else whoever holds it could end the reader with SIGBUS, by truncating it.
        fcntl.fcntl(self._memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        self._memory = mmap.mmap(self._memfd, self.size_bytes)

    def fileno(self) -> int:
        return self._memfd

    def slot(self, number: int) -> "Slot":
        """Slot 0 to slots - 1."""
        if not 0 <= number < self.slots:
            raise IndexError(f"slot {number} of {self.slots}")
        return Slot(self, number * self.slot_bytes)

    def close(self) -> None:
        """Gives up this end's descriptor, as the end of the share's last user does; its views stay as they are."""
        self._closing()

    def view(self, offset: int) -> memoryview:
        return memoryview(self._memory)[offset : offset + self.slot_bytes]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a share: give it to infer or detect in place of bytes."""

    share: Share
    offset: int

    @property
    def size_bytes(self) -> int:
        return self.share.slot_bytes

    @property
    def view(self) -> memoryview:
        """The slot's bytes, to write into; `numpy.frombuffer(slot.view, ...)` is an array in it."""
        return self.share.view(self.offset)
