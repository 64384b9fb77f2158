"""A camera's frame, kept small: enough of it to show it to another model, whatever that model's input is."""

import io

from PIL import Image

from agent.runtime.vision.preparation import Preparation
from littoral.wire.vision import Layout

MOST_SIDE = 480  # pixels; twice what camera models mostly take
QUALITY = 92
SKETCH_SIDE = 8


def keep(preparation: Preparation, layout: Layout, data: bytes) -> tuple[bytes, bytes]:
    """(a JPEG of the whole frame, its 8x8 grey means row by row). Raises PictureError."""
    image = preparation.picture(layout, data, MOST_SIDE)
    kept = io.BytesIO()
    image.save(kept, "JPEG", quality=QUALITY)
    return kept.getvalue(), image.convert("L").resize((SKETCH_SIDE,) * 2, Image.Resampling.BOX).tobytes()
