"""A camera's frame, kept small: enough of it to show it to another model, whatever that model's input is."""

import io

from PIL import Image

from agent.runtime.vision.preparation import Preparation
from littoral.wire.vision import Layout

MOST_SIDE = 480  # pixels; twice what camera models mostly take
QUALITY = 92
SKETCH_SIDE = 8
GLANCE_SIDE = 64  # pixels; enough for a sketch, and a tenth of the work of keeping a frame


def keep(preparation: Preparation, layout: Layout, data: bytes) -> bytes:
    """A JPEG of the whole frame. Raises PictureError."""
    kept = io.BytesIO()
    preparation.picture(layout, data, MOST_SIDE).save(kept, "JPEG", quality=QUALITY)
    return kept.getvalue()


def sketch(preparation: Preparation, layout: Layout, data: bytes) -> bytes:
    """The frame's 8x8 grey means, row by row. Raises PictureError."""
    image = preparation.picture(layout, data, GLANCE_SIDE).convert("L")
    return image.resize((SKETCH_SIDE,) * 2, Image.Resampling.BOX).tobytes()
