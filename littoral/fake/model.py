"""What a fake model takes, answers and sees. It holds no state: one question has one answer."""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from littoral import errors
from littoral.client.results import Box, Class, Items, Mask, Point, Pose
from littoral.tensors import Interface, Tensor
from littoral.wire import query, vision
from littoral.wire.vision import Layout, Options, ResultKind

MAX_SHARES = 8
MAX_SHARE_BYTES = 64 * 1024 * 1024
LEASE_HOLD_S = 3600.0
_KINDS = {Class: ResultKind.CLASSES, Box: ResultKind.BOXES, Pose: ResultKind.POSES, float: ResultKind.EMBEDDING}


@dataclass(frozen=True, slots=True)
class FakeModel:
    """One release of a model.

    answer: the outputs, all one after the other, as bytes or as a function of the inputs' bytes; None: bytes made of a
    digest of the inputs. sees: what DETECT gives, as a tuple of Class, Box, Pose or float, a Mask, or bytes (raw), or a
    function of (Layout, bytes of the frame, Options) that gives one; None: DETECT is unsupported. Labels are named;
    threshold, labels and top of the request are kept to. kind: which of these `sees` gives, where that does not show.
    Either function may raise a named error, which is then the answer. refuses: what HELLO is refused with.
    """

    inputs: tuple[Tensor, ...] = (Tensor("image", "uint8", (1, 8, 8, 3), 1 / 255, 0),)
    outputs: tuple[Tensor, ...] = (Tensor("scores", "uint8", (1, 4), 1 / 256, 0),)
    labels: tuple[str, ...] = ()
    release: int = 1
    stage: query.Stage = query.Stage.COMMITTED
    answer: Callable[[bytes], bytes] | bytes | None = None
    sees: Callable[[Layout, bytes, Options], Items] | Items | None = None
    kind: ResultKind | None = None
    signatures: tuple[str, ...] = ()
    refuses: errors.LittoralError | None = None
    invoked_us: int = 10  # what every answer says of its time in the engine

    @property
    def interface(self) -> Interface:
        return Interface(self.inputs, self.outputs, self.labels)

    def welcome(self, name: str, signature: str) -> query.Welcome:
        """Raises UnsupportedError for a signature it does not have."""
        if signature and signature not in self.signatures:
            raise errors.UnsupportedError(
                f"no signature {signature!r}; there are {', '.join(self.signatures) or 'none'}"
            )
        return query.Welcome(
            model=name,
            release=self.release,
            version=f"v{self.release}",
            stage=self.stage,
            engine="fake 1",
            interface=self.interface,
            max_frame_bytes=query.MAX_FRAME_BYTES,
            signature=signature or (self.signatures[0] if self.signatures else ""),
            signatures=self.signatures,
            detect=kind.name.lower() if (kind := self.result_kind) is not None else "",
            max_shares=MAX_SHARES,
            max_share_bytes=MAX_SHARE_BYTES,
        )

    @property
    def result_kind(self) -> ResultKind | None:
        if self.kind is not None or self.sees is None:
            return self.kind
        if isinstance(self.sees, Mask):
            return ResultKind.MASK
        if isinstance(self.sees, tuple) and self.sees:
            return _KINDS[type(self.sees[0])]
        if isinstance(self.sees, bytes):
            return ResultKind.RAW
        raise ValueError("say which kind of result this is: FakeModel(sees=..., kind=...)")

    def infer(self, data: bytes) -> bytes:
        """Raises what `answer` raises."""
        size = self.interface.output_bytes
        if self.answer is None:
            return hashlib.shake_256(data).digest(size)
        return self.answer(data) if callable(self.answer) else self.answer

    def detect(self, layout: Layout, data: bytes, options: Options) -> tuple[ResultKind, int, int, bytes]:
        """Kind, bytes of one item, number of items, and items. Raises what `sees` raises, UnsupportedError."""
        kind = self.result_kind
        if kind is None or self.sees is None:
            raise errors.UnsupportedError("the model's card describes no picture")
        items = self.sees(layout, data, options) if callable(self.sees) else self.sees
        return (kind, *_encode(self._wanted(items, options), self.labels))

    def _wanted(self, items: Any, options: Options) -> Any:
        if strange := set(options.labels) - set(self.labels):
            raise errors.PictureError(f"the model has no label {', '.join(sorted(strange))}")
        if not isinstance(items, tuple) or (items and isinstance(items[0], float)):
            return items
        least = options.threshold or 0.0
        kept = [i for i in items if i.score >= least and (not options.labels or i.label in options.labels)]
        return tuple(sorted(kept, key=lambda item: -item.score)[: options.top])


def _encode(items: Any, labels: tuple[str, ...]) -> tuple[int, int, bytes]:
    if isinstance(items, Mask):
        return items.width, items.height, items.data
    if isinstance(items, bytes):
        return 1, len(items), items
    encoded = [_item(item, labels) for item in items]
    return len(encoded[0]) if encoded else 0, len(encoded), b"".join(encoded)


def _item(item: Class | Box | Pose | float, labels: tuple[str, ...]) -> bytes:
    if isinstance(item, float):
        return struct.pack("<f", item)
    index = item.index if item.index >= 0 else labels.index(item.label)
    if isinstance(item, Class):
        return vision.CLASS_ITEM.pack(index, item.score)
    box = vision.BOX_ITEM.pack(index, item.score, item.x0, item.y0, item.x1, item.y1)
    points = item.points if isinstance(item, Pose) else ()
    return box + b"".join(vision.POINT_ITEM.pack(point.x, point.y, point.score) for point in points)


def from_json(value: dict[str, Any]) -> FakeModel:
    """A model as a file describes it: `inputs` and `outputs` as in WELCOME, `labels`, `release`, `answer` (a list of
    bytes), and one of `classes`, `boxes`, `poses` (lists of their fields in order; a pose's points are lists too),
    `embedding` (a list of numbers). Every field may be left out.

    Raises ConfigError.
    """
    known = {"inputs", "outputs", "labels", "release", "answer", "classes", "boxes", "poses", "embedding"}
    try:
        if unknown := set(value) - known:
            raise ValueError(f"unknown {', '.join(sorted(unknown))}")
        fields: dict[str, Any] = {"labels": tuple(value.get("labels", ())), "release": int(value.get("release", 1))}
        for side in ("inputs", "outputs"):
            if side in value:
                fields[side] = tuple(Tensor.from_json(tensor) for tensor in value[side])
        if "answer" in value:
            fields["answer"] = bytes(value["answer"])
        for name in ("classes", "boxes", "poses", "embedding"):
            if name in value:
                fields["kind"] = ResultKind[name.upper()]
                fields["sees"] = tuple(_MAKE[name](item) for item in value[name])
        return FakeModel(**fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise errors.ConfigError(f"a fake model that cannot be read: {error}") from error


_MAKE: dict[str, Callable[[Any], Any]] = {
    "classes": lambda item: Class(*item),
    "boxes": lambda item: Box(*item),
    "poses": lambda item: Pose(*item[:6], *[tuple(Point(*point) for point in item[6])]),
    "embedding": float,
}
