"""A frame as the model's input: resized, in the model's colours, with fill around, scaled and quantized.

Resizing comes before the change of colours: it is the same arithmetic in either order but for rounding, and the frame
has many times more pixels than the input. Resizing averages all pixels it drops (Pillow's bilinear filter).
"""

import math

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from agent.runtime.vision import frames, stored
from agent.runtime.vision.placement import Placement, place
from littoral.bundle.task import Picture
from littoral.wire.vision import Format, Layout

LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # Kr and Kb of ITU-R BT.601 and BT.709
REDUCING_GAP = 3.0
"""Large frames are first shrunk by a whole number, as long as they stay three times too large: up to three times
faster, and pixels of photographs differ by 0.2 to 0.5 of 255 on average; at two by 0.5 to 1.8."""

JPEG_GAP = 2
"""A JPEG may be decoded at a half, a quarter or an eighth of its size, as long as it stays twice too large: pixels
differ by 0.4 to 1.8 of 255; without a gap by up to 4, and an image classifier's score by 0.2."""


class Preparation:
    """What one model's card asks for, worked out once."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._grey = picture.colour == "grey"
        self._matrix = _matrix(picture.matrix, picture.range)
        self._greys = _greys(picture.range)
        self._table = stored.pixel_table(picture.tensor, picture.scaling)

    def prepare(self, layout: Layout, data: bytes | memoryview) -> tuple[bytes, Placement]:
        """The input's raw bytes, and where in it the frame lies. Raises PictureError."""
        wanted = self._picture
        jpeg, (width, height) = _opened(layout, data)
        placement = place(wanted.resize, width, height, wanted.width, wanted.height)
        image = self._image(jpeg, layout, data, placement)
        return self._stored(_filled(image, placement, wanted)), placement

    def picture(self, layout: Layout, data: bytes | memoryview, most_side: int) -> Image.Image:
        """The whole frame in the model's colours (grey, or red, green, blue), no side longer than `most_side` pixels.
        Raises PictureError.
        """
        jpeg, (width, height) = _opened(layout, data)
        part = min(1.0, most_side / max(width, height))
        placement = place("stretch", width, height, max(1, round(width * part)), max(1, round(height * part)))
        return self._image(jpeg, layout, data, placement)

    def _image(
        self, jpeg: JpegImageFile | None, layout: Layout, data: bytes | memoryview, placement: Placement
    ) -> Image.Image:
        """The part of the frame that is seen, at the size it has in the picture, in the model's colours."""
        if jpeg is not None:
            width, height = jpeg.size
            needed = math.ceil(JPEG_GAP * width / placement.x[0]), math.ceil(JPEG_GAP * height / placement.y[0])
            image = _resized(frames.decode_jpeg(jpeg, self._mode, *needed), placement)
        elif layout.format in (Format.NV12, Format.YUV420):
            image = self._from_yuv(layout, data, placement)
        else:
            (plane,) = frames.planes(layout, data)
            image = _resized(plane, placement)
        return _in_mode(image, self._mode)

    @property
    def _mode(self) -> str:
        return "L" if self._grey else "RGB"

    def _from_yuv(self, layout: Layout, data: bytes | memoryview, placement: Placement) -> Image.Image:
        luma, *chroma = (
            _resized(plane, placement) for plane in frames.planes(layout, data, wanted=1 if self._grey else 3)
        )
        if self._grey:
            return luma.point(self._greys)
        if layout.format is Format.NV12:
            chroma = [chroma[0].getchannel(0), chroma[0].getchannel(1)]
        return Image.merge("RGB", (luma, *chroma)).convert("RGB", self._matrix)

    def _stored(self, image: Image.Image) -> bytes:
        channels, order = (1, "L") if self._grey else (3, self._picture.colour.upper())
        return stored.pixels(image.tobytes("raw", order), channels, self._table, self._picture.planar)


def _opened(layout: Layout, data: bytes | memoryview) -> tuple[JpegImageFile | None, tuple[int, int]]:
    """(the JPEG, where it is one; width and height). Raises PictureError."""
    jpeg = frames.open_jpeg(data) if layout.format is Format.JPEG else None
    return jpeg, jpeg.size if jpeg else frames.size(layout)


def _resized(image: Image.Image, placement: Placement) -> Image.Image:
    """The part of the frame that is seen, at the size it has in the picture. `image` may be smaller than the frame: a
    plane of chroma, or a JPEG that was decoded at half its size.
    """
    inner = (placement.inner_width, placement.inner_height)
    across, down = _part(image.width, placement.width), _part(image.height, placement.height)
    left, top, right, bottom = placement.box
    box = (left * across, top * down, min(right * across, image.width), min(bottom * down, image.height))
    return image.resize(inner, Image.Resampling.BILINEAR, box, REDUCING_GAP)


def _part(pixels: int, frame_pixels: int) -> float:
    """How many of a smaller image's pixels lie over one of the frame: an exact half, quarter or eighth, where the last
    of them may stand over the frame's edge.
    """
    return 1 / round(frame_pixels / pixels)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _filled(image: Image.Image, placement: Placement, wanted: Picture) -> Image.Image:
    if image.size == (wanted.width, wanted.height):
        return image
    colour = wanted.fill if image.mode == "L" else (wanted.fill,) * 3
    picture = Image.new(image.mode, (wanted.width, wanted.height), colour)
    picture.paste(image, (placement.left, placement.top))
    return picture


def _matrix(standard: str, levels: str) -> tuple[float, ...]:
    """From Y, Cb, Cr to R, G, B: three rows of three factors and what is added (ITU-R BT.601 and BT.709)."""
    red, blue = LUMA[standard]
    green = 1 - red - blue
    luma, chroma, black = (255 / 219, 255 / 224, 16) if levels == "video" else (1.0, 1.0, 0)
    to_red, to_blue = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma
    rows = ((0.0, to_red), (-to_blue * blue / green, -to_red * red / green), (to_blue, 0.0))
    return tuple(value for cb, cr in rows for value in (luma, cb, cr, -black * luma - 128 * (cb + cr)))


def _greys(levels: str) -> list[int]:
    """Luma as grey."""
    if levels == "full":
        return list(range(256))
    return [min(255, max(0, round((luma - 16) * 255 / 219))) for luma in range(256)]
