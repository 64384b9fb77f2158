"""A camera's frame as an image: every number of its layout is checked before a byte is read.

The bytes may be shared memory that its owner changes meanwhile. So nothing that is read decides where to read next: a
frame is pixels and no more, and a JPEG is copied before it is parsed. Colours are not converted here.
"""

import io
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin

from littoral.errors import PictureError
from littoral.wire.vision import MAX_SIDE, Format, Layout

MAX_JPEG_PIXELS = 16 * 1024 * 1024
"""A JPEG's size is a claim of a few bytes that costs four times as many bytes of memory: a still camera's 16 million
pixels are 64 MB for a moment, and a device has 512."""

# What Pillow's reader raises over a JPEG that is none, or ends too early.
UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError, struct.error)

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Plane:
    """Rows of pixels. mode: Pillow's name for what a pixel is; halved: two of the frame's pixels a side."""

    mode: str
    raw_mode: str
    bytes_per_pixel: int
    halved: bool = False


# "La" is two bytes that Pillow resizes apart, which "LA" (L and alpha) are not: right for interleaved Cb, Cr.
PLANES: dict[Format, tuple[Plane, ...]] = {
    Format.RGB24: (Plane("RGB", "RGB", 3),),
    Format.BGR24: (Plane("RGB", "BGR", 3),),
    Format.GREY: (Plane("L", "L", 1),),
    Format.NV12: (Plane("L", "L", 1), Plane("La", "La", 2, halved=True)),
    Format.YUV420: (Plane("L", "L", 1), Plane("L", "L", 1, halved=True), Plane("L", "L", 1, halved=True)),
}


def size(layout: Layout) -> tuple[int, int]:
    """Width and height of a frame that is no JPEG. Raises PictureError."""
    if layout.format not in PLANES:
        raise PictureError(f"{layout.format.name} is no picture, and this model looks at pictures")
    if not (1 <= layout.width <= MAX_SIDE and 1 <= layout.height <= MAX_SIDE):
        raise PictureError(f"a frame of {layout.width}x{layout.height} pixels, a side has 1 to {MAX_SIDE}")
    return layout.width, layout.height


def planes(layout: Layout, data: bytes | memoryview, wanted: int = 3) -> list[Image.Image]:
    """The first `wanted` planes of a frame that is no JPEG, in the layout's order. Raises PictureError."""
    width, height = size(layout)
    found: list[Image.Image] = []
    follows = 0
    for plane, stride, offset in zip(PLANES[layout.format], layout.strides, layout.offsets, strict=False):
        columns = (width + 1) // 2 if plane.halved else width
        rows = (height + 1) // 2 if plane.halved else height
        row_bytes = columns * plane.bytes_per_pixel
        stride = stride or row_bytes
        offset = offset or follows
        follows = offset + stride * rows
        end = follows - stride + row_bytes
        if stride < row_bytes or end > len(data):
            raise PictureError(
                f"a {layout.format.name} frame of {width}x{height} pixels with stride {stride} and offset {offset}, "
                f"in {len(data)} bytes: a row has {row_bytes}, the last one ends at {end}"
            )
        if len(found) < wanted:
            pixels: Pixels = np.ndarray((rows, row_bytes), np.uint8, data, offset, (stride, 1))
            found.append(_image(plane, (columns, rows), np.ascontiguousarray(pixels)))
    return found


def _image(plane: Plane, size: tuple[int, int], pixels: Pixels) -> Image.Image:
    # Pillow takes an array where older versions refuse a memoryview; one byte a pixel is not copied.
    return Image.frombuffer(plane.mode, size, pixels, "raw", plane.raw_mode, 0, 1)


def open_jpeg(data: bytes | memoryview) -> JpegImagePlugin.JpegImageFile:
    """A JPEG of which only the head was read. Raises PictureError for one that is none, or is too large."""
    try:
        # Not Image.open: it imports every other format, and a size it finds suspicious is only a warning.
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    except UNREADABLE as error:
        raise PictureError(f"a JPEG of {len(data)} bytes that cannot be read: {error}") from error
    width, height = image.size
    if not (min(image.size) >= 1 and max(image.size) <= MAX_SIDE and width * height <= MAX_JPEG_PIXELS):
        raise PictureError(
            f"a JPEG of {width}x{height} pixels; a side has at most {MAX_SIDE}, and all of it {MAX_JPEG_PIXELS}"
        )
    return image


def decode_jpeg(image: JpegImagePlugin.JpegImageFile, mode: str, width: int, height: int) -> Image.Image:
    """The pixels, in `mode` (RGB or L). The decoder may make the image smaller by itself, which is quick, but not
    below width x height. Raises PictureError for one that ends too early or is damaged.
    """
    try:
        image.draft(mode, (width, height))
        image.load()
        return image if image.mode == mode else image.convert(mode)
    except UNREADABLE as error:
        raise PictureError(f"a JPEG that cannot be decoded: {error}") from error
