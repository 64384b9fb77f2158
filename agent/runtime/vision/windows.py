"""A stream of samples as windows: kept as the model stores them, and given out whenever another hop is complete."""

import numpy as np

from agent.runtime.vision import stored
from littoral.bundle.task import Window
from littoral.errors import PictureError
from littoral.tensors import DTYPES, Interface
from littoral.wire.vision import Format, Layout


class Samples:
    """What one model's card asks for. The stream itself is the caller's to keep, as bytes: the interface they were
    made for (samples quantized for another release would be misread in silence), and the samples.
    """

    def __init__(self, window: Window, interface: Interface) -> None:
        self.length = window.length
        self.channels = window.channels
        self._window = window
        self._made_for = bytes.fromhex(interface.digest)

    def add(self, so_far: bytes, layout: Layout, data: bytes | memoryview) -> tuple[bytes, bytes]:
        """(the stream from now on, the window or nothing). Raises PictureError."""
        tensor, hop = self._window.tensor, self._window.hop
        self._check(layout, data)
        kept = so_far.removeprefix(self._made_for) if so_far.startswith(self._made_for) else b""
        kept += self._stored(data, layout.width)
        if len(kept) < tensor.size_bytes:
            return self._made_for + kept, b""
        step = hop * self.channels * DTYPES[tensor.dtype]
        return self._made_for + kept[step:], kept[: tensor.size_bytes]

    def _check(self, layout: Layout, data: bytes | memoryview) -> None:
        if layout.format is not Format.SAMPLES:
            raise PictureError(f"{layout.format.name} is a picture, and this model takes windows of samples")
        if layout.height != self.channels or not 1 <= layout.width <= self._window.hop:
            raise PictureError(
                f"{layout.width} samples of {layout.height} channels; "
                f"the model takes 1 to {self._window.hop} of {self.channels} at a time"
            )
        dtype = self._window.tensor.dtype
        values = layout.width * layout.height
        if len(data) not in (values * DTYPES[dtype], values * DTYPES["float32"]):
            raise PictureError(f"{values} values in {len(data)} bytes, which are neither {dtype} nor float32")

    def _stored(self, data: bytes | memoryview, width: int) -> bytes:
        tensor = self._window.tensor
        if len(data) == width * self.channels * DTYPES[tensor.dtype] and tensor.dtype != "float32":
            return bytes(data)
        real = np.frombuffer(data, np.float32).reshape(width, self.channels)
        if self._window.scaling:
            mean, scale = np.array(self._window.scaling, np.float32).T
            with np.errstate(all="ignore"):
                real = (real - mean) * scale
        return stored.quantized(real, tensor).tobytes()
