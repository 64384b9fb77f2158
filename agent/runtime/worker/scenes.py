"""How many distinct inputs a run of equal answers spans. What tells two inputs apart depends on what they are.

Large inputs of 8-bit or float32 values come from cameras and microphones, whose noise makes every one of them differ
from the last, at night too. They are distinct where more differs than noise, brightness and contrast explain
(`Scenes`); all others where any byte does (`Bytewise`). docs/health.md says how the threshold was chosen.
"""

import math
from struct import Struct
from typing import Protocol

from littoral.bundle.card import Card
from littoral.tensors import Interface

MOST_INPUTS = 1_000  # told apart within one run of equal answers, bytewise ...
MOST_SCENES = 64  # ... and as scenes: each is compared with all before it
LOOK_EVERY = 4  # answers of a run: to look at each would cost more than to count it
SAMPLES = 64  # of 8 bytes, evenly spread
SAMPLED_BYTES = SAMPLES * 8
LEVELS = 5.0  # of 255: the root mean square over the samples that is more than noise
FLOAT_LEVELS = 10.0  # a sample averages two float32, which leaves twice the noise that eight bytes do
_SIGN = 0x80
_BYTES = int.from_bytes(b"\xff\0" * (SAMPLED_BYTES // 2), "little")
_PAIRS = int.from_bytes(b"\xff\xff\0\0" * (SAMPLED_BYTES // 4), "little")
_QUADS = int.from_bytes(b"\xff\xff\xff\xff\0\0\0\0" * SAMPLES, "little")
_SIGNS = int.from_bytes(bytes([_SIGN]) * SAMPLED_BYTES, "little")
_FLOATS = Struct(f"<{2 * SAMPLES}f")
_ZEROS = (0.0,) * SAMPLES
_RANGES = (1.0, 5.0, 255.0)  # of floats that no card explains: pixel / 255, by mean and deviation, and the pixel itself


class Inputs(Protocol):
    """Those of the present run. look_every: how many answers of a run come to one look."""

    look_every: int

    def __len__(self) -> int:
        """How many distinct ones were seen."""
        ...

    def clear(self) -> None: ...
    def add(self, mark: bytes) -> None: ...


class Bytewise:
    """Two inputs are distinct where any byte of their marks is."""

    look_every = 1

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def __len__(self) -> int:
        return len(self._seen)

    def clear(self) -> None:
        self._seen.clear()

    def add(self, mark: bytes) -> None:
        if len(self._seen) < MOST_INPUTS:
            self._seen.add(hash(mark))


class Scenes:
    """Two inputs are distinct where a line through their samples, one against the other, leaves more than noise.

    Each look compares with the scenes of the run, the newest first; at most MOST_SCENES are kept. dtype: int8, uint8
    or float32. level: of a float32, what one of 255 levels of brightness adds to it; 0: it is found from the values.
    """

    look_every = LOOK_EVERY

    def __init__(self, dtype: str, level: float = 0.0) -> None:
        self._signed = dtype == "int8"
        self._floats = dtype == "float32"
        self._level = level
        self._least, self._most = math.inf, -math.inf  # of all floats seen
        threshold = FLOAT_LEVELS if self._floats else LEVELS
        self._beyond = threshold * threshold
        self._kept: list[tuple[tuple[float, ...], float, float]] = []  # samples, their mean, their variance

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        self._kept.clear()

    def add(self, mark: bytes) -> None:
        kept = self._kept
        if len(kept) >= MOST_SCENES:
            return
        data = samples(mark)[:SAMPLED_BYTES]
        seen = self._from_floats(data) if self._floats else _from_bytes(data, self._signed)
        if seen is None:
            return
        mean = sum(seen) / SAMPLES
        variance = max(0.0, math.dist(seen, _ZEROS) ** 2 / SAMPLES - mean * mean)
        if kept and variance <= self._beyond:  # the dark, or a wall: no scene beside others
            return
        if kept and kept[0][2] <= self._beyond:
            kept.clear()
        if all(self._is_apart(seen, mean, variance, *other) for other in reversed(kept)):
            kept.append((seen, mean, variance))

    def _is_apart(
        self,
        seen: tuple[float, ...],
        mean: float,
        variance: float,
        other: tuple[float, ...],
        its_mean: float,
        its_variance: float,
    ) -> bool:
        """Whether the least squares line through the samples of both leaves more of the fainter one than noise."""
        left = min(variance, its_variance)
        apart = math.dist(seen, other) ** 2 / SAMPLES - (mean - its_mean) ** 2
        covariance = (variance + its_variance - apart) / 2
        if covariance > 0:
            left -= covariance * covariance / max(variance, its_variance)
        return left > self._beyond

    def _from_floats(self, data: bytes) -> tuple[float, ...] | None:
        """In levels of brightness; None for what is no number."""
        values = _FLOATS.unpack(data)
        if not math.isfinite(sum(values)):
            return None
        level = self._level
        if not level:
            self._least, self._most = min(self._least, *values), max(self._most, *values)
            level = _whole_range(self._least, self._most) / 255
        half = 0.5 / level
        return tuple([(one + other) * half for one, other in zip(values[::2], values[1::2], strict=True)])


def of(interface: Interface, card: Card) -> Inputs:
    """What tells the inputs of a model apart."""
    dtypes = {tensor.dtype for tensor in interface.inputs}
    if len(dtypes) != 1 or not dtypes <= {"int8", "uint8", "float32"} or interface.input_bytes < SAMPLED_BYTES:
        return Bytewise()
    return Scenes(dtypes.pop(), _level(card))


def samples(data: bytes | memoryview) -> bytes:
    """SAMPLES times 8 bytes and a few more, evenly spread over data of SAMPLED_BYTES and more; a copy."""
    words = memoryview(data)[: len(data) // 8 * 8].cast("Q")
    stride = len(words) // SAMPLES
    if stride >= 6:  # an odd one: rows are often a multiple of 16 bytes, and samples must not all lie in one column
        stride = stride - 1 | 1
    return words[::stride].tobytes()


def _level(card: Card) -> float:
    """What one level of brightness adds to the real value of a picture's input; 0 where the card does not say."""
    for given in card.inputs:
        if given.get("kind") == "image":
            scale = given.get("scale", "1" if "mean" in given else str(1 / 255))
            return abs(float(scale[0] if isinstance(scale, list) else scale))
    return 0.0


def _from_bytes(data: bytes, signed: bool) -> tuple[int, ...]:
    """The mean of each sample's eight bytes, 0 to 255: all lanes of one large integer are added at once."""
    lanes = int.from_bytes(data, "little")
    if signed:
        lanes ^= _SIGNS
    lanes = (lanes & _BYTES) + (lanes >> 8 & _BYTES)
    lanes = (lanes & _PAIRS) + (lanes >> 16 & _PAIRS)
    lanes = (lanes & _QUADS) + (lanes >> 32 & _QUADS)
    return tuple((lanes >> 3).to_bytes(SAMPLED_BYTES, "little")[::8])


def _whole_range(least: float, most: float) -> float:
    """Of floats that were seen from `least` to `most`: as large as is likely, so that noise is not taken for more."""
    far = max(-least, most)
    if least < 0 and far <= 1:
        return 2.0
    return next((known for known in _RANGES if far <= known), most - least)
