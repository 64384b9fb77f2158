"""Golden vectors: reads them, and compares the answers of a model with those expected. Runs nothing, needs no numpy.

The blob holds, case by case, all inputs and then all expected outputs, raw and little-endian, in the interface's order;
of labelled cases the number of the right class, int32, in place of the outputs.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from littoral.bundle import task
from littoral.bundle.card import Card
from littoral.bundle.manifest import LABEL_BYTES, Golden
from littoral.errors import GoldenError
from littoral.tensors import DTYPES, Interface, Tensor

_CODES = {
    "float32": "f", "float16": "e", "float64": "d", "bool": "?", "int8": "b", "uint8": "B", "int16": "h",
    "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
}  # fmt: skip


NO_CARD = Card()
Question = bytes | memoryview  # all inputs of a run


@dataclass(frozen=True, slots=True)
class Case:
    """One golden vector: all inputs, and all outputs expected of them, or the label. Both are views of the blob, of
    which labelled cases by the hundred make many megabytes."""

    question: Question
    expected: Question

    @property
    def label(self) -> int:
        """The right class, of a labelled case."""
        return int.from_bytes(self.expected, "little", signed=True)


def parse(data: bytes, golden: Golden, interface: Interface, card: Card = NO_CARD) -> list[Case]:
    """Raises GoldenError where the blob does not hold what the manifest and the interface say, CardError as
    `task.scores` does."""
    labelled = golden.expected == "labelled"
    cut = interface.input_bytes
    size = cut + (LABEL_BYTES if labelled else interface.output_bytes)
    if len(data) != golden.cases * size:
        raise GoldenError(f"golden vectors of {len(data)} bytes; {golden.cases} cases take {golden.cases * size}")
    view = memoryview(data)
    cases = [Case(view[at : at + cut], view[at + cut : at + size]) for at in range(0, len(data), size)]
    if labelled:
        classes = interface.outputs[task.scores(card, interface)[0]].shape[-1]
        if strange := {case.label for case in cases if not 0 <= case.label < classes}:
            raise GoldenError(f"a golden case of class {min(strange)}; the model's classes are 0 to {classes - 1}")
    return cases


def top_class(interface: Interface, output: int, answer: bytes) -> int:
    """The place of the greatest value in one output."""
    at = sum(tensor.size_bytes for tensor in interface.outputs[:output])
    tensor = interface.outputs[output]
    return _top(_numbers(tensor, answer[at : at + tensor.size_bytes]))


def difference_ppm(interface: Interface, answer: bytes, expected: bytes) -> int:
    """The largest difference of any output value, in millionths of the range of its output.

    The range of a quantized output is all its dtype can express; of another one, the largest magnitude expected of it
    here (1 where all are 0). What is not a number on one side only differs by everything.
    """
    return max((_part_ppm(*part) for part in _outputs(interface, answer, expected)), default=0)


def same_top1(interface: Interface, answer: bytes, expected: bytes) -> bool:
    """Whether the greatest value of the first output stands at the same place."""
    tensor, got, wanted = next(_outputs(interface, answer, expected))
    return _top(_numbers(tensor, got)) == _top(_numbers(tensor, wanted))


def _part_ppm(tensor: Tensor, got: bytes, wanted: bytes) -> int:
    if got == wanted:
        return 0
    ours, theirs = _numbers(tensor, got), _numbers(tensor, wanted)
    if tensor.scale:
        full = float(2 ** (8 * DTYPES[tensor.dtype]) - 1)
    else:
        full = float(max(map(abs, theirs))) or 1.0
    differing = {abs(a - b) for a, b in zip(ours, theirs, strict=True) if not (a == b or (a != a and b != b))}
    worst = max((off / full if math.isfinite(off) else 1.0 for off in differing), default=0.0)
    return int(worst * 1_000_000) if math.isfinite(worst) else 1_000_000


def _numbers(tensor: Tensor, data: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(data) // DTYPES[tensor.dtype]}{_CODES[tensor.dtype]}", data)


def _top(numbers: tuple[float, ...]) -> int:
    return max(range(len(numbers)), key=numbers.__getitem__)


def _outputs(interface: Interface, answer: bytes, expected: bytes) -> Iterator[tuple[Tensor, bytes, bytes]]:
    at = 0
    for tensor in interface.outputs:
        end = at + tensor.size_bytes
        yield tensor, answer[at:end], expected[at:end]
        at = end
