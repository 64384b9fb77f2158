"""A frame as the camera has it, for DETECT: what of it goes over the socket. It reads no pixel."""

from dataclasses import dataclass
from typing import Any

from littoral import errors
from littoral.client.shares import Slot
from littoral.client.tensors import Array
from littoral.wire.vision import Format, Layout

JPEG_START = b"\xff\xd8"


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame of width x height pixels; of JPEG both are 0, of SAMPLES they are samples and channels.

    data: its bytes, or a slot of shared memory that begins with them (then `size_bytes` says how many there are; 0: the
    whole slot). strides: bytes from one row to the next of each plane, 0 where rows follow one another. offsets: bytes
    from the first byte to each plane, 0 where a plane follows the one before.
    """

    format: Format
    width: int
    height: int
    data: bytes | bytearray | memoryview | Slot
    strides: tuple[int, ...] = ()
    offsets: tuple[int, ...] = ()
    size_bytes: int = 0

    @property
    def layout(self) -> Layout:
        return Layout(self.format, self.width, self.height, _three(self.strides), _three(self.offsets))


def picture_of(value: Any, format: Format | None = None) -> Picture:
    """A Picture; bytes of a JPEG file; or a uint8 array: height x width x 3 (RGB, or BGR24 by `format`), height x width
    (grey). With format SAMPLES an array of n, or n x channels.

    Raises PictureError.
    """
    if isinstance(value, Picture):
        return value
    if isinstance(value, Array):
        return _of_array(value, format)
    try:
        data = memoryview(value).cast("B")
    except TypeError as error:
        remedy = "Give the bytes of a JPEG file, a uint8 array, or a Picture."
        raise errors.PictureError(f"{type(value).__name__} is no picture", remedy=remedy) from error
    if bytes(data[:2]) != JPEG_START:
        raise errors.PictureError("bytes that are no JPEG", remedy="Say what they are with Picture(format, ...).")
    return Picture(Format.JPEG, 0, 0, data)


def _of_array(array: Array, format: Format | None) -> Picture:
    shape = tuple(array.shape)
    if format is Format.SAMPLES and len(shape) in (1, 2):
        return Picture(format, shape[0], shape[1] if len(shape) == 2 else 1, _bytes_of(array))
    channels = shape[2] if len(shape) == 3 else 1
    usual = {(3, 3): Format.RGB24, (2, 1): Format.GREY, (3, 1): Format.GREY}.get((len(shape), channels))
    chosen = format or usual
    fits = usual is not None and chosen in ((Format.RGB24, Format.BGR24) if channels == 3 else (Format.GREY,))
    if chosen is None or not fits or array.dtype.name != "uint8" or 0 in shape:
        raise errors.PictureError(
            f"an array of {array.dtype.name}{list(shape)} is no picture",
            remedy="Give uint8 of height x width x 3 or height x width, or a Picture.",
        )
    return Picture(chosen, shape[1], shape[0], _bytes_of(array))


def _bytes_of(array: Any) -> bytes | memoryview:
    """The array's own memory where it lies in one piece."""
    view = memoryview(array)
    return view.cast("B") if view.c_contiguous else bytes(array.tobytes())


def _three(values: tuple[int, ...]) -> tuple[int, int, int]:
    first, second, third = (*values, 0, 0, 0)[:3]
    return first, second, third
