"""What DETECT and RESULT hold: a frame as the camera has it, and labelled results in that frame's own pixels.

Without I/O, as littoral/wire/query.py, and described byte by byte in docs/protocol.md. It reads no pixel.
"""

import json
import struct
from dataclasses import asdict, dataclass
from enum import IntEnum
from struct import Struct
from typing import Any

from littoral import errors
from littoral.wire.query import FLAG_SHARED, HEADER, MAGIC, VERSION, Frame, Kind, Place, Stage

# deadline_us (0: none), flags, format, width, height, strides, offsets, size, options_bytes, share, reserved, place
DETECT_HEAD = Struct("<QIIII3I3IIIIIQ")
# interface, release, queued_us, prepared_us, invoked_us, decoded_us, width, height, stage, kind, item_bytes, count
RESULT_HEAD = Struct("<16sQIIIIIIBBHI")
CLASS_ITEM = Struct("<If")  # label, score
BOX_ITEM = Struct("<Ifffff")  # label, score, x0, y0, x1, y1; a pose has its points behind it
POINT_ITEM = Struct("<fff")  # x, y, score
MAX_SIDE = 16_384  # pixels
MAX_OPTIONS_BYTES = 8_192
MAX_TOP = 1_000


class Format(IntEnum):
    """How the bytes of a frame are to be read. Planes follow one another; NV12 has two, YUV420 three."""

    RGB24 = 1
    BGR24 = 2
    GREY = 3
    NV12 = 4
    YUV420 = 5
    JPEG = 6
    SAMPLES = 7  # not a picture: the next samples of a sensor or microphone, of the input's dtype or real float32


class ResultKind(IntEnum):
    """What the items of a RESULT are."""

    NOTHING = 0  # a window that is not full yet
    CLASSES = 1
    BOXES = 2
    POSES = 3
    MASK = 4
    EMBEDDING = 5
    RAW = 6


@dataclass(frozen=True, slots=True)
class Layout:
    """How a frame lies in its bytes. Strides: bytes from one row to the next of each plane, 0 where rows follow one
    another. Offsets: bytes from the frame's first byte to each plane, 0 where a plane follows the one before.
    SAMPLES have `width` samples, and `height` channels; JPEG says its size itself, and both are 0.
    """

    format: Format
    width: int = 0
    height: int = 0
    strides: tuple[int, int, int] = (0, 0, 0)
    offsets: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Options:
    """What one request wants of its results; None: as the card says. labels: only these, by name; empty: all.

    threshold: least score, 0 to 1. overlap: the intersection over union above which the weaker of two boxes goes.
    top: at most so many results, the best first.
    """

    threshold: float | None = None
    overlap: float | None = None
    top: int | None = None
    labels: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Empty where nothing is asked for."""
        wanted = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        return json.dumps(wanted, separators=(",", ":")).encode() if wanted else b""


@dataclass(frozen=True, slots=True)
class Detect:
    """One frame to be looked at. `data`: its bytes; or `place` and `size_bytes`: where in shared memory they lie.

    `options` are Options as bytes, so that a receiver can keep what it has read of them.
    """

    layout: Layout
    data: bytes | memoryview = b""
    options: bytes = b""
    deadline_us: int = 0
    place: Place | None = None
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What the model sees in a frame of width x height pixels. Times are microseconds. `items`: count items of
    item_bytes each, the best first (for a mask: rows from the top; for raw: all outputs as in ANSWER, items of 1 byte).
    """

    interface: str
    release: int
    stage: Stage
    queued_us: int
    prepared_us: int
    invoked_us: int
    decoded_us: int
    width: int
    height: int
    kind: ResultKind
    item_bytes: int
    count: int
    items: bytes | memoryview


def detect(value: Detect, id: int) -> list[bytes | memoryview]:
    """The parts of a DETECT frame, to be written one after the other: the frame's bytes are not copied."""
    layout, place = value.layout, value.place
    inside = b"" if place else value.data
    head = DETECT_HEAD.pack(
        value.deadline_us,
        FLAG_SHARED if place else 0,
        layout.format,
        layout.width,
        layout.height,
        *layout.strides,
        *layout.offsets,
        value.size_bytes if place else memoryview(inside).nbytes,
        len(value.options),
        place.share if place else 0,
        0,
        place.offset if place else 0,
    )
    size = len(head) + len(value.options) + memoryview(inside).nbytes
    return [HEADER.pack(MAGIC, VERSION, Kind.DETECT, size, id) + head + value.options, inside]


def parse_detect(value: Frame) -> Detect:
    """Raises PictureError. `data` is a view into the frame's body."""
    try:
        head = DETECT_HEAD.unpack_from(value.body)
        format = Format(head[2])
    except (struct.error, ValueError) as error:
        raise errors.PictureError(f"a DETECT of {len(value.body)} bytes that cannot be read: {error}") from error
    deadline_us, flags, _, width, height = head[:5]
    size_bytes, options_bytes, share, _, offset = head[11:]
    if flags & ~FLAG_SHARED:
        raise errors.PictureError(f"DETECT with flags {flags:#x}")
    if max(width, height) > MAX_SIDE and format is not Format.SAMPLES:
        raise errors.PictureError(f"a frame of {width}x{height} pixels, a side has at most {MAX_SIDE}")
    if options_bytes > MAX_OPTIONS_BYTES:
        raise errors.PictureError(f"options of {options_bytes} bytes, at most {MAX_OPTIONS_BYTES}")
    at = DETECT_HEAD.size + options_bytes
    data = memoryview(value.body)[at:]
    if len(value.body) < at or len(data) != (0 if flags else size_bytes):
        raise errors.PictureError(f"a DETECT of {len(value.body)} bytes, which are not those its head announces")
    return Detect(
        layout=Layout(format, width, height, head[5:8], head[8:11]),
        data=data,
        options=value.body[DETECT_HEAD.size : at],
        deadline_us=deadline_us,
        place=Place(share, offset) if flags else None,
        size_bytes=size_bytes,
    )


def parse_options(data: bytes) -> Options:
    """Raises PictureError."""
    if not data:
        return Options()
    try:
        value = json.loads(data)
        unknown = set(value) - {"threshold", "overlap", "top", "labels"}
        if unknown:
            raise ValueError(f"unknown {', '.join(sorted(unknown))}")
        top, labels = value.get("top"), value.get("labels", [])
        if top is not None and not (type(top) is int and 1 <= top <= MAX_TOP):
            raise ValueError(f"top is {top!r}, it is 1 to {MAX_TOP}")
        if type(labels) is not list or not all(type(label) is str for label in labels):
            raise ValueError("labels is a list of names")
        return Options(_share(value, "threshold"), _share(value, "overlap"), top, tuple(labels))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        remedy = "docs/protocol.md, DETECT, says what options there are."
        raise errors.PictureError(f"options that cannot be read: {error}", remedy=remedy) from error


def _share(value: dict[str, Any], name: str) -> float | None:
    number = value.get(name)
    if number is None:
        return None
    if type(number) not in (int, float) or not 0 <= number <= 1:
        raise ValueError(f"{name} is {number!r}, it is 0 to 1")
    return float(number)


def result(value: Result, id: int) -> list[bytes | memoryview]:
    """The parts of a RESULT frame, to be written one after the other."""
    times = (min(us, 0xFFFF_FFFF) for us in (value.queued_us, value.prepared_us, value.invoked_us, value.decoded_us))
    head = RESULT_HEAD.pack(
        bytes.fromhex(value.interface),
        value.release,
        *times,
        value.width,
        value.height,
        value.stage,
        value.kind,
        value.item_bytes,
        value.count,
    )
    size = len(head) + memoryview(value.items).nbytes
    return [HEADER.pack(MAGIC, VERSION, Kind.RESULT, size, id) + head, value.items]


def parse_result(value: Frame) -> Result:
    """Raises ProtocolError. `items` is a view into the frame's body."""
    try:
        interface, release, *times, width, height, stage, kind, item_bytes, count = RESULT_HEAD.unpack_from(value.body)
        items = memoryview(value.body)[RESULT_HEAD.size :]
        if len(items) != item_bytes * count:
            raise ValueError(f"{len(items)} bytes of items, not {count} of {item_bytes}")
        queued_us, prepared_us, invoked_us, decoded_us = times
        return Result(
            interface.hex(),
            release,
            Stage(stage),
            queued_us,
            prepared_us,
            invoked_us,
            decoded_us,
            width,
            height,
            ResultKind(kind),
            item_bytes,
            count,
            items,
        )
    except (ValueError, struct.error) as error:
        raise errors.ProtocolError(f"a RESULT of {len(value.body)} bytes that cannot be read: {error}") from error
