"""Whether raw tensors hold NaN or infinity. No engine tells, and numpy is not at hand.

All bits of the exponent are set in such a number. The highest byte of each shows at once that most have none.
"""

import math
import struct
from dataclasses import dataclass

from littoral.tensors import Tensor

# dtype: (struct code, the highest bytes that a number which is not finite can have)
_FLOATS = {
    "float16": ("e", (*range(0x7C, 0x80), *range(0xFC, 0x100))),
    "float32": ("f", (0x7F, 0xFF)),
    "float64": ("d", (0x7F, 0xFF)),
}


@dataclass(frozen=True, slots=True)
class _Part:
    """The bytes of one float output."""

    start: int
    end: int
    width: int
    code: str
    suspects: tuple[int, ...]


class Finite:
    """Looks through all outputs of one interface, laid one after the other."""

    def __init__(self, outputs: tuple[Tensor, ...]) -> None:
        self._parts: list[_Part] = []
        at = 0
        for tensor in outputs:
            if tensor.dtype in _FLOATS:
                code, suspects = _FLOATS[tensor.dtype]
                width = struct.calcsize(code)
                self._parts.append(_Part(at, at + tensor.size_bytes, width, code, suspects))
            at += tensor.size_bytes

    def __call__(self, data: bytes) -> bool:
        return all(_finite(data, part) for part in self._parts)


def _finite(data: bytes, part: _Part) -> bool:
    highest = data[part.start + part.width - 1 : part.end : part.width]
    if not any(suspect in highest for suspect in part.suspects):
        return True
    numbers = struct.unpack(f"<{len(highest)}{part.code}", data[part.start : part.end])
    return all(map(math.isfinite, numbers))
