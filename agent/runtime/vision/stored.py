"""Real values and the values that tensors store: real = scale * (stored - zero point).

Eight-bit pixels have 256 values, so that scaling and quantizing them is one look into a table. Outputs stay as they are
stored; only what passed a threshold is made real.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from littoral.tensors import Interface, Tensor

Array = npt.NDArray[np.generic]
Reals = npt.NDArray[np.float32]


def pixel_table(tensor: Tensor, scaling: Sequence[tuple[float, float]]) -> Array:
    """What is stored for each pixel value, of shape [channels, 256]; [1, 256] where the channels are alike.

    Unasked (no scaling) an 8-bit input takes pixels as its whole range of stored values; other quantized inputs and
    floats take pixel / 255; other integers the pixel itself.
    """
    values = np.arange(256, dtype=np.float64)
    if scaling:
        alike = len(set(scaling)) == 1
        return np.stack([quantized((values - mean) * scale, tensor) for mean, scale in scaling[: 1 if alike else None]])
    dtype = np.dtype(tensor.dtype)
    if dtype.itemsize == 1:
        return (values + np.iinfo(dtype).min).astype(dtype)[np.newaxis]
    as_they_are = dtype.kind in "iu" and not tensor.scale
    return quantized(values if as_they_are else values / 255, tensor)[np.newaxis]


def pixels(raw: bytes, channels: int, table: Array, planar: bool) -> bytes:
    """Interleaved 8-bit pixels as the input stores them; planar: one whole channel after the other."""
    flat = np.frombuffer(raw, np.uint8).reshape(-1, channels)
    found: Array
    if len(table) == 1:
        found = table[0].take(flat)
    else:
        found = np.stack([table[channel].take(flat[:, channel]) for channel in range(channels)], axis=1)
    return (found.T if planar else found).tobytes()


def quantized(real: npt.NDArray[np.floating], tensor: Tensor) -> Array:
    """As the tensor stores it: rounded half to even, and kept within its range; NaN as the zero point."""
    dtype = np.dtype(tensor.dtype)
    # A float of the caller's may be too large for what is done with it here: then it is stored as the largest.
    with np.errstate(all="ignore"):
        if dtype.kind == "f":
            return real.astype(dtype)
        if tensor.scale:
            real = real.astype(np.float64) / tensor.scale + tensor.zero_point
        real = np.nan_to_num(real.astype(np.float64), nan=tensor.zero_point)
        limits = np.iinfo(dtype)
        whole: npt.NDArray[np.floating] = np.clip(np.rint(real), limits.min, limits.max)
        return whole.astype(dtype)


class Outputs:
    """The outputs of one run, as they are stored."""

    def __init__(self, interface: Interface, data: bytes | memoryview) -> None:
        self._tensors = interface.outputs
        self.data = bytes(data)
        self._arrays = []
        at = 0
        for tensor in interface.outputs:
            array: Array = np.ndarray(tensor.shape, np.dtype(tensor.dtype), data, at)
            self._arrays.append(array)
            at += tensor.size_bytes

    def stored(self, number: int) -> Array:
        return self._arrays[number]

    def real(self, number: int) -> Reals:
        return dequantized(self._arrays[number], self._tensors[number])


def dequantized(stored: Array, tensor: Tensor) -> Reals:
    real = stored.astype(np.float32)
    if tensor.scale:
        real -= np.float32(tensor.zero_point)
        real *= np.float32(tensor.scale)
    return real


def activated(real: Reals, activation: str) -> Reals:
    """Scores out of what a model gives: none, sigmoid, or softmax over the last axis."""
    if activation == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-real)), np.float32)
    if activation == "softmax":
        powers = np.exp(real - real.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)
    return real


def least_stored(threshold: float, activation: str, tensor: Tensor) -> float:
    """A stored value below which no score reaches the threshold. Scores above it are compared again when they are
    real: rounding must not lose one that is just the threshold.
    """
    least = threshold
    if activation != "none":
        possible = activation == "sigmoid" and 0 < threshold < 1
        least = math.log(threshold / (1 - threshold)) if possible else -math.inf
    dtype = np.dtype(tensor.dtype)
    if dtype.kind not in "iu":
        return least - abs(least) * 1e-3 if math.isfinite(least) else least
    limits = np.iinfo(dtype)
    if tensor.scale and math.isfinite(least):
        least = math.floor(least / tensor.scale + tensor.zero_point - 1e-3)
    return int(min(max(least, limits.min), limits.max))
