"""What the runtime answers: tensors to INFER; to DETECT what the model sees, labelled, in the frame's own pixels."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from littoral import errors
from littoral.client.tensors import decode
from littoral.tensors import Interface
from littoral.wire import query, vision


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    outputs: by tensor name, as bytes, or as numpy arrays where arrays were given; with quantize=True those of quantized
    outputs hold real values. data: all outputs as raw bytes. interface: the one they are to be read with. queued_us and
    invoked_us: microseconds in the runtime's queue and in the engine. id: by which `report` names it.
    """

    release: int
    stage: query.Stage
    queued_us: int
    invoked_us: int
    interface: Interface
    data: bytes
    outputs: dict[str, Any]
    id: int = 0


@dataclass(frozen=True, slots=True)
class Class:
    """One class of the whole frame. label: its name, empty where the model has none for `index`."""

    label: str
    score: float
    index: int = -1


@dataclass(frozen=True, slots=True)
class Box:
    """One thing in the frame, from (x0, y0) to (x1, y1) in pixels; x to the right, y down."""

    label: str
    score: float
    x0: float
    y0: float
    x1: float
    y1: float
    index: int = -1


@dataclass(frozen=True, slots=True)
class Point:
    """One keypoint, in pixels."""

    x: float
    y: float
    score: float


@dataclass(frozen=True, slots=True)
class Pose:
    """One thing in the frame and its keypoints, in the order the model has them."""

    label: str
    score: float
    x0: float
    y0: float
    x1: float
    y1: float
    points: tuple[Point, ...]
    index: int = -1


@dataclass(frozen=True, slots=True)
class Mask:
    """A label's index per element, 255 for none; rows from the top. It covers the whole frame, whatever its size."""

    width: int
    height: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Detection:
    """What one frame of width x height pixels was answered with.

    kind says which of classes, boxes, poses (the best first), mask, embedding and raw (all outputs as in Answer.data)
    is filled; NOTHING: a window that is not full yet. Times are microseconds: waiting, preparing the frame, in the
    engine, decoding. interface: of the release that answered. id: by which `report` names it.
    """

    release: int
    stage: query.Stage
    queued_us: int
    prepared_us: int
    invoked_us: int
    decoded_us: int
    width: int
    height: int
    interface: Interface
    kind: vision.ResultKind
    classes: tuple[Class, ...] = ()
    boxes: tuple[Box, ...] = ()
    poses: tuple[Pose, ...] = ()
    mask: Mask | None = None
    embedding: tuple[float, ...] = ()
    raw: bytes = b""
    id: int = 0

    @property
    def labels(self) -> tuple[str, ...]:
        """The name of each index."""
        return self.interface.labels


Result = Answer | Detection
Items = tuple[Class, ...] | tuple[Box, ...] | tuple[Pose, ...] | Mask | tuple[float, ...] | bytes


def read_answer(frame: query.Frame, interface: Interface, *, arrays: bool = False, real: bool = False) -> Answer:
    """An ANSWER, its outputs decoded as tensors.decode says. Raises ProtocolError."""
    answer = query.parse_answer(frame)
    if len(answer.data) != interface.output_bytes:
        raise errors.ProtocolError(f"{len(answer.data)} bytes of outputs, not {interface.output_bytes}")
    data = bytes(answer.data)
    outputs = decode(data, interface, arrays=arrays, real=real)
    times = answer.queued_us, answer.invoked_us
    return Answer(answer.release, answer.stage, *times, interface, data, outputs, frame.id)


def read_detection(frame: query.Frame, interface: Interface, digest: str) -> Detection:
    """A RESULT of this interface. Raises ProtocolError, also for one of another interface: nobody told its labels."""
    result = vision.parse_result(frame)
    if result.interface != digest:
        raise errors.ProtocolError(f"a RESULT of the interface {result.interface}, which no WELCOME or EVENT told")
    try:
        items = _items(result, interface.labels)
    except struct.error as error:
        raise errors.ProtocolError(f"a RESULT of items that cannot be read: {error}") from error
    filled: dict[str, Any] = {} if result.kind is vision.ResultKind.NOTHING else {result.kind.name.lower(): items}
    return Detection(
        result.release,
        result.stage,
        result.queued_us,
        result.prepared_us,
        result.invoked_us,
        result.decoded_us,
        result.width,
        result.height,
        interface,
        result.kind,
        id=frame.id,
        **filled,
    )


def _items(result: vision.Result, labels: tuple[str, ...]) -> Items:
    """Bytes behind what a kind's item holds are skipped, as the protocol says."""
    match result.kind:
        case vision.ResultKind.CLASSES:
            return tuple(
                Class(_name(labels, index), score, index)
                for index, score in (vision.CLASS_ITEM.unpack_from(item) for item in _each(result))
            )
        case vision.ResultKind.BOXES:
            return tuple(_box(item, labels) for item in _each(result))
        case vision.ResultKind.POSES:
            return tuple(_pose(item, labels) for item in _each(result))
        case vision.ResultKind.MASK:
            return Mask(result.item_bytes, result.count, bytes(result.items))
        case vision.ResultKind.EMBEDDING:
            return tuple(struct.unpack_from("<f", item)[0] for item in _each(result))
        case _:
            return bytes(result.items)


def _each(result: vision.Result) -> Iterator[memoryview]:
    view, size = memoryview(result.items), result.item_bytes
    return (view[number * size : (number + 1) * size] for number in range(result.count))


def _box(item: memoryview, labels: tuple[str, ...]) -> Box:
    index, score, x0, y0, x1, y1 = vision.BOX_ITEM.unpack_from(item)
    return Box(_name(labels, index), score, x0, y0, x1, y1, index)


def _pose(item: memoryview, labels: tuple[str, ...]) -> Pose:
    box = _box(item, labels)
    whole = (len(item) - vision.BOX_ITEM.size) // vision.POINT_ITEM.size * vision.POINT_ITEM.size
    points = vision.POINT_ITEM.iter_unpack(item[vision.BOX_ITEM.size : vision.BOX_ITEM.size + whole])
    points_of = tuple(Point(*point) for point in points)
    return Pose(box.label, box.score, box.x0, box.y0, box.x1, box.y1, points_of, box.index)


def _name(labels: tuple[str, ...], index: int) -> str:
    return labels[index] if index < len(labels) else ""
