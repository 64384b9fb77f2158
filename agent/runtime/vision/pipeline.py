"""DETECT without the socket and the engine: a frame to the input's bytes, and the outputs' bytes to results."""

from dataclasses import dataclass

import numpy as np

from agent.runtime.vision import keepsake
from agent.runtime.vision.decoders import DECODERS
from agent.runtime.vision.items import Items
from agent.runtime.vision.placement import Placement, place
from agent.runtime.vision.preparation import Preparation
from agent.runtime.vision.selection import want
from agent.runtime.vision.stored import Outputs
from agent.runtime.vision.windows import Samples
from littoral.bundle.task import Picture, Task, Window
from littoral.errors import PictureError
from littoral.wire.vision import Layout, Options


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the model is run on. width and height are the frame's, in pixels; of a window, its samples and channels.
    placement: where the frame lies in the input.
    """

    data: bytes
    width: int
    height: int
    placement: Placement


class Pipeline:
    """What DETECT does with one model. It keeps nothing of what passes through, so that threads may share it."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._preparation = Preparation(task.input) if isinstance(task.input, Picture) else None
        self._samples = Samples(task.input, task.interface) if isinstance(task.input, Window) else None
        self._decode = DECODERS[task.output.decoder](task)

    def prepare(self, layout: Layout, data: bytes | memoryview) -> Prepared:
        """Raises PictureError."""
        filled, placement = self._of_pictures().prepare(layout, data)
        return Prepared(filled, placement.width, placement.height, placement)

    def keep(self, layout: Layout, data: bytes) -> bytes:
        """A small JPEG of the frame. Raises PictureError."""
        return keepsake.keep(self._of_pictures(), layout, data)

    def sketch(self, layout: Layout, data: bytes) -> bytes:
        """The frame's 8x8 grey means. Raises PictureError."""
        return keepsake.sketch(self._of_pictures(), layout, data)

    def window(self, so_far: bytes, layout: Layout, data: bytes | memoryview) -> tuple[bytes, Prepared | None]:
        """(what to give as `so_far` with the next samples of this stream, the whole window where another hop is
        complete). `so_far` is empty at first; one of another release is known as such, and begins anew. Raises
        PictureError.
        """
        if not self._samples:
            raise PictureError("this model looks at pictures, and these are samples")
        so_far, window = self._samples.add(so_far, layout, data)
        size = self._samples.length, self._samples.channels
        return so_far, Prepared(window, *size, place("stretch", *size, *size)) if window else None

    def _of_pictures(self) -> Preparation:
        if not self._preparation:
            raise PictureError("this model takes windows of samples, and this is a picture")
        return self._preparation

    def decode(self, outputs: bytes, prepared: Prepared, options: Options) -> Items:
        """Raises PictureError for a label that the model does not have."""
        wanted = want(self._task, options)
        # A model may give infinity or NaN, and exp() may: no score of that kind reaches a threshold.
        with np.errstate(all="ignore"):
            return self._decode(Outputs(self._task.interface, outputs), prepared.placement, wanted)
