"""Golden vectors: reads them, and compares the answers of a model with those expected. Needs numpy, and runs nothing.

The blob holds, case by case, all inputs and then all expected outputs, raw and little-endian, in the interface's order.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass

from littoral.bundle.manifest import Golden
from littoral.errors import GoldenError
from littoral.tensors import Interface, Tensor


@dataclass(frozen=True, slots=True)
class Case:
    """One golden vector: all inputs, and all outputs expected of them."""

    question: bytes
    expected: bytes


def parse(data: bytes, golden: Golden, interface: Interface) -> list[Case]:
    """Raises GoldenError where the blob does not hold what the manifest and the interface say."""
    size = interface.input_bytes + interface.output_bytes
    if len(data) != golden.cases * size:
        raise GoldenError(f"golden vectors of {len(data)} bytes; {golden.cases} cases take {golden.cases * size}")
    cut = interface.input_bytes
    return [Case(data[at : at + cut], data[at + cut : at + size]) for at in range(0, golden.cases * size, size)]


def difference_ppm(interface: Interface, answer: bytes, expected: bytes) -> int:
    """The largest difference of any output value, in millionths of the range of its output.

    The range of a quantized output is all its dtype can express; of another one, the largest magnitude expected of it
    here (1 where all are 0). What is not a number on one side only differs by everything.
    """
    numpy = importlib.import_module("numpy")
    worst = 0
    for tensor, got, wanted in _outputs(interface, answer, expected):
        a = numpy.frombuffer(got, tensor.dtype).astype("float64")
        b = numpy.frombuffer(wanted, tensor.dtype).astype("float64")
        if tensor.scale:
            limits = numpy.iinfo(tensor.dtype)
            full = float(limits.max) - float(limits.min)
        else:
            full = float(numpy.max(numpy.abs(b), initial=0.0)) or 1.0
        with numpy.errstate(invalid="ignore"):
            off = numpy.where(a == b, 0.0, numpy.abs(a - b)) / full
        off = numpy.nan_to_num(numpy.where(numpy.isnan(a) & numpy.isnan(b), 0.0, off), nan=1.0, posinf=1.0)
        worst = max(worst, int(float(numpy.max(off, initial=0.0)) * 1_000_000))
    return worst


def same_top1(interface: Interface, answer: bytes, expected: bytes) -> bool:
    """Whether the greatest value of the first output stands at the same place."""
    numpy = importlib.import_module("numpy")
    tensor, got, wanted = next(_outputs(interface, answer, expected))
    first, second = (numpy.frombuffer(data, tensor.dtype) for data in (got, wanted))
    return int(numpy.argmax(first)) == int(numpy.argmax(second))


def _outputs(interface: Interface, answer: bytes, expected: bytes) -> Iterator[tuple[Tensor, bytes, bytes]]:
    at = 0
    for tensor in interface.outputs:
        end = at + tensor.size_bytes
        yield tensor, answer[at:end], expected[at:end]
        at = end
