"""Inputs that were kept, as one model's own input bytes; and changes of them, as the probes ask for.

Tensors that were made for one release are quantized anew for another one; a tensor of another shape cannot be shown to
a model, a picture can.
"""

from collections.abc import Sequence

import numpy as np

from agent.runtime.rehearsal.probes import CHANGES
from agent.runtime.ring import Kept, Kind
from agent.runtime.vision import stored
from agent.runtime.vision.pipeline import Pipeline
from agent.runtime.vision.placement import Placement, place
from agent.runtime.vision.stored import Array, Reals
from littoral.bundle.task import Picture, Task
from littoral.tensors import DTYPES, Interface, Tensor
from littoral.wire.vision import Format, Layout

UNIT = 255.0
COLOURS = 3
Prepared = tuple[bytes, Placement | None]


class Inputs:
    """What one model is shown. `made_for`: the interface that kept tensors belong to."""

    def __init__(self, interface: Interface, task: Task | None, made_for: Interface) -> None:
        self._interface = interface
        self._task = task
        self._pipeline = Pipeline(task) if task is not None else None
        self._made_for = made_for
        self._same = interface.inputs == made_for.inputs
        pairs = zip(interface.inputs, made_for.inputs, strict=False)
        self.takes_tensors = len(interface.inputs) == len(made_for.inputs) and all(
            ours.shape == theirs.shape for ours, theirs in pairs
        )

    def of(self, kept: Kept) -> Prepared | None:
        """(the input's bytes, where the frame lies in them); None where this model cannot be shown it. Raises
        PictureError.
        """
        if kept.kind is Kind.PICTURE:
            if self._pipeline is None or not isinstance(self._task and self._task.input, Picture):
                return None
            prepared = self._pipeline.prepare(Layout(Format.JPEG), kept.data)
            return prepared.data, prepared.placement
        if not self.takes_tensors or len(kept.data) != self._made_for.input_bytes:
            return None
        data = kept.data if self._same else self._quantized(kept.data)
        return data, self._placement

    @property
    def _placement(self) -> Placement | None:
        """Of a frame that is the model's picture itself."""
        if self._task is None or not isinstance(self._task.input, Picture):
            return None
        return place("stretch", *self._task.size, *self._task.size)

    def _quantized(self, data: bytes) -> bytes:
        at, parts = 0, []
        for ours, theirs in zip(self._interface.inputs, self._made_for.inputs, strict=True):
            array: Array = np.frombuffer(
                data, np.dtype(theirs.dtype), len(data[at : at + theirs.size_bytes]) // DTYPES[theirs.dtype], at
            )
            parts.append(stored.quantized(stored.dequantized(array, theirs), ours).tobytes())
            at += theirs.size_bytes
        return b"".join(parts)


class Pixels:
    """The first input of a model on the scale of a camera's pixels, 0 to 255.

    By the card where it tells mean and scale; an 8-bit input by its whole range; another one by the range that what was
    seen of it lies in: 0 to 1, -1 to 1, or 0 to 255.
    """

    def __init__(self, tensor: Tensor, task: Task | None, seen: Sequence[bytes]) -> None:
        self._tensor = tensor
        self._dtype = np.dtype(tensor.dtype)
        shape = tensor.shape
        self.is_coloured = len(shape) == 4 and COLOURS in (shape[1], shape[3])
        self._planar = self.is_coloured and shape[3] != COLOURS
        scaling = task.input.scaling if task is not None and isinstance(task.input, Picture) else ()
        self._is_bytes = not scaling and self._dtype.itemsize == 1 and self._dtype.kind in "iu"
        channels = COLOURS if self.is_coloured else 1
        if scaling:
            mean, scale = np.array([scaling[min(n, len(scaling) - 1)] for n in range(channels)], np.float32).T
            self._factor, self._offset = 1 / scale, mean
        else:
            factor, offset = self._unasked(task, seen)
            self._factor, self._offset = np.full(channels, factor, np.float32), np.full(channels, offset, np.float32)

    def change(self, data: bytes, change: str) -> bytes | None:
        """The input with this change of its pixels; None where it has no colours to exchange."""
        if change == "exchange" and not self.is_coloured:
            return None
        size = self._tensor.size_bytes
        real = self._real(np.frombuffer(data[:size], self._dtype).reshape(self._tensor.shape))
        last = np.moveaxis(real, 1, -1) if self._planar else real
        if not self.is_coloured:
            last = last[..., np.newaxis]
        pixels = last * self._factor + self._offset
        changed = np.clip(CHANGES[change](pixels), 0, UNIT)
        back = ((changed - self._offset) / self._factor).astype(np.float32)
        if not self.is_coloured:
            back = back[..., 0]
        return self._stored(np.moveaxis(back, -1, 1) if self._planar else back) + data[size:]

    def _real(self, array: Array) -> Reals:
        """Stored values of 8 bits count as they are where no card tells what they stand for."""
        if self._is_bytes:
            return array.astype(np.float32) - np.float32(np.iinfo(self._dtype).min)
        return stored.dequantized(array, self._tensor)

    def _stored(self, real: Reals) -> bytes:
        if self._is_bytes:
            return (np.rint(real) + np.iinfo(self._dtype).min).astype(self._dtype).tobytes()
        return stored.quantized(real, self._tensor).tobytes()

    def _unasked(self, task: Task | None, seen: Sequence[bytes]) -> tuple[float, float]:
        """(factor, offset) of pixel = factor * value + offset."""
        if self._is_bytes:
            return 1.0, 0.0
        if task is not None and isinstance(task.input, Picture):
            return (UNIT, 0.0) if self._tensor.scale or self._dtype.kind == "f" else (1.0, 0.0)
        size = self._tensor.size_bytes
        arrays = [self._real(np.frombuffer(data[:size], self._dtype)) for data in seen]
        least = min((float(array.min()) for array in arrays), default=0.0)
        most = max((float(array.max()) for array in arrays), default=0.0)
        if least >= 0:
            return (UNIT, 0.0) if most <= 1 else (UNIT / max(most, UNIT), 0.0)
        return UNIT / 2 / max(most, -least, 1.0), UNIT / 2
