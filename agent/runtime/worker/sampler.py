"""Chooses which inputs are kept in the ring (agent/runtime/ring.py): once a second at most, and never while a request
waits for its answer.

An input is taken when it is answered (a copy, nothing more) and looked at on the worker's next tick. One that looks
like one that is held is dropped; when all places are taken, the oldest of the commonest answer leaves. So a day's
stream fills the ring with what the day had, a night frame stays, and a fixed camera's ring spans as long as it takes.
No user holds more than half of the places against another one.
"""

import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from agent.runtime import ring
from agent.runtime.ring import Kept, Kind
from littoral.errors import PictureError
from littoral.tensors import Interface, Tensor

ALIKE = 4.0  # mean difference of two sketches, of 255, up to which one input is like the other
SIDE = 8  # of a sketch
ROWS = 4  # of the picture's, that are looked at for each row of a sketch
BLOCK_VALUES = 64  # of other tensors, for each value of a sketch
MOST_ANSWER_BYTES = 65_536  # of an output in which the greatest value is looked for
_CODES = {
    "float32": "f", "float16": "e", "float64": "d", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H",
    "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "bool": "B",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Taken:
    """What was asked, copied, and all outputs of the answer. sketch, keep: make a sketch and a JPEG of `data`, where
    that is a frame; None where it is tensors.
    """

    uid: int
    interface: Interface
    data: bytes
    outputs: bytes
    sketch: Callable[[bytes], bytes] | None = None
    keep: Callable[[bytes], bytes] | None = None


class Sampler:
    """`due`: the next input answered is to be handed to take(). The ring is another process's too; what it held before
    is read when the first input comes.
    """

    def __init__(self, descriptor: int, most_bytes: int) -> None:
        self.due = True
        self._descriptor = descriptor
        self._most_bytes = most_bytes
        self._taken: Taken | None = None
        self._held: dict[int, Kept] | None = None  # by place, without their data
        self._sizes: dict[int, int] = {}

    def take(self, taken: Taken) -> None:
        self._taken, self.due = taken, False

    def tick(self) -> None:
        """Looks at what was taken, and asks for the next."""
        taken, self._taken, self.due = self._taken, None, True
        if taken is None:
            return
        if self._held is None:
            self._held = {}
            for place, kept in ring.read_all(self._descriptor).items():
                self._hold(place, kept)
        try:
            sketch = _sketch(taken)
            if not self._is_held(sketch):
                self._keep(_kept(taken, sketch))
        except (PictureError, MemoryError):
            return

    def _keep(self, kept: Kept) -> None:
        held = self._held
        assert held is not None
        if kept.size_bytes > min(self._most_bytes, ring.PLACE_BYTES):
            return
        while len(held) >= ring.PLACES or sum(self._sizes.values()) + kept.size_bytes > self._most_bytes:
            leaves = self._leaves(kept)
            del held[leaves], self._sizes[leaves]
            ring.write(self._descriptor, leaves, None)
        place = next(place for place in range(ring.PLACES) if place not in held)
        ring.write(self._descriptor, place, kept)
        self._hold(place, kept)

    def _hold(self, place: int, kept: Kept) -> None:
        assert self._held is not None
        self._held[place] = replace(kept, data=b"")
        self._sizes[place] = kept.size_bytes

    def _leaves(self, comes: Kept) -> int:
        """The oldest of the commonest answer; of one user's alone, where that one has half of the places or more: first
        of all whoever asks.
        """
        held = self._held
        assert held
        users = Counter(kept.uid for kept in held.values())
        user = comes.uid if 2 * users[comes.uid] >= len(held) else max(users, key=users.__getitem__)
        crowds = 2 * users[user] >= len(held)
        among = {place: kept for place, kept in held.items() if kept.uid == user or not crowds}
        answers = Counter(kept.answer for kept in among.values())
        commonest = max(answers.values())
        return min(
            (place for place, kept in among.items() if answers[kept.answer] == commonest),
            key=lambda place: among[place].kept_ns,
        )

    def _is_held(self, sketch: bytes) -> bool:
        assert self._held is not None
        return any(distance(sketch, kept.sketch) <= ALIKE for kept in self._held.values())


def distance(one: bytes, other: bytes) -> float:
    """Mean difference, of 255."""
    return sum(map(abs, map(int.__sub__, one, other))) / len(one)


def inputs_digest(interface: Interface) -> bytes:
    """16 bytes that name what tensors of these inputs mean."""
    return bytes.fromhex(replace(interface, outputs=(), labels=()).digest)


def _sketch(taken: Taken) -> bytes:
    if taken.sketch is not None:
        return taken.sketch(taken.data)
    return sketch_of(taken.interface.inputs[0], taken.data)


def _kept(taken: Taken, sketch: bytes) -> Kept:
    kind, data = (Kind.TENSORS, taken.data) if taken.keep is None else (Kind.PICTURE, taken.keep(taken.data))
    interface, answer = inputs_digest(taken.interface), answer_of(taken.interface, taken.outputs)
    return Kept(kind, taken.uid, answer, time.monotonic_ns(), interface, sketch, data)


def answer_of(interface: Interface, outputs: bytes) -> int:
    """Where the greatest value stands: of the output with a value for each label, else of the first."""
    at = 0
    for tensor in interface.outputs:
        if tensor.size_bytes == len(interface.labels) * _size(tensor):
            break
        at += tensor.size_bytes
    else:
        tensor, at = interface.outputs[0], 0
    if tensor.size_bytes > MOST_ANSWER_BYTES:
        return 0
    numbers = _numbers(tensor, outputs[at : at + tensor.size_bytes])
    return max(range(len(numbers)), key=numbers.__getitem__, default=0)


def sketch_of(tensor: Tensor, data: bytes) -> bytes:
    """8x8 means of an input, 0 to 255: grey means of a picture's parts; of other tensors, means of 64 parts."""
    shape = tensor.shape
    if is_picture(tensor) and shape[3] in (1, 3) and min(shape[1:3]) >= SIDE:
        means = _picture_means(tensor, data, shape[1], shape[2] * shape[3])
    elif is_picture(tensor):
        plane = shape[2] * shape[3] * _size(tensor)
        planes = [
            _picture_means(tensor, data[at : at + plane], shape[2], shape[3]) for at in range(0, len(data), plane)
        ]
        means = [sum(parts) / len(parts) for parts in zip(*planes, strict=True)]
    else:
        means = _part_means(tensor, data)
    return bytes(min(255, max(0, round(mean))) for mean in _as_bytes(tensor, means))


def is_picture(tensor: Tensor) -> bool:
    """Whether its sketch shows a picture, of one or three colours, which may come first or last."""
    shape = tensor.shape
    if len(shape) != 4 or shape[0] != 1:
        return False
    return (shape[3] in (1, 3) and min(shape[1:3]) >= SIDE) or (shape[1] in (1, 3) and min(shape[2:]) >= SIDE)


def _picture_means(tensor: Tensor, data: bytes, rows: int, row_values: int) -> list[float]:
    """Of a few rows of each part, whole: a sum over neighbours costs a sixth of a step through Python."""
    size = _size(tensor)
    sums, counts = [0.0] * (SIDE * SIDE), [0] * (SIDE * SIDE)
    edges = [row_values * part // SIDE for part in range(SIDE + 1)]
    for down in range(SIDE):
        top, bottom = rows * down // SIDE, rows * (down + 1) // SIDE
        step = max(1, (bottom - top) // ROWS)
        for row in range(top, bottom, step):
            values = _numbers(tensor, data[row * row_values * size : (row + 1) * row_values * size])
            for across in range(SIDE):
                part = values[edges[across] : edges[across + 1]]
                sums[down * SIDE + across] += sum(part)
                counts[down * SIDE + across] += len(part)
    return [total / count for total, count in zip(sums, counts, strict=True)]


def _part_means(tensor: Tensor, data: bytes) -> list[float]:
    size = _size(tensor)
    count = len(data) // size
    edges = [count * part // ring.SKETCH_BYTES for part in range(ring.SKETCH_BYTES + 1)]
    means: list[float] = []
    for start, end in pairwise(edges):
        step = max(1, (end - start) // BLOCK_VALUES)
        values = [struct.unpack_from(f"<{_CODES[tensor.dtype]}", data, at * size)[0] for at in range(start, end, step)]
        means.append(sum(values) / len(values) if values else (means[-1] if means else 0.0))
    return means


def _numbers(tensor: Tensor, data: bytes) -> Sequence[float]:
    """The stored values. One byte each is looked at where it lies."""
    match code := _CODES[tensor.dtype]:
        case "B":
            return memoryview(data)
        case "b":
            return memoryview(data).cast("b")
        case _:
            return struct.unpack(f"<{len(data) // _size(tensor)}{code}", data)


def _as_bytes(tensor: Tensor, means: list[float]) -> list[float]:
    """From 0 to 255: the whole range of an 8-bit tensor; of others, the range that such values mostly have."""
    match tensor.dtype:
        case "uint8":
            return means
        case "int8":
            return [mean + 128 for mean in means]
        case _:
            real = [tensor.scale * (mean - tensor.zero_point) if tensor.scale else mean for mean in means]
            least, most = min(real), max(real)
            if least >= 0:
                return [255 * value for value in real] if most <= 1 else real
            return (
                [127.5 * (value + 1) for value in real] if max(-least, most) <= 1 else [value + 128 for value in real]
            )


def _size(tensor: Tensor) -> int:
    return struct.calcsize(_CODES[tensor.dtype])
