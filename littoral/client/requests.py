"""What a client has asked: all it takes to send it, to send it again after a reconnect, and to read its answer."""

from dataclasses import dataclass
from typing import Any

from littoral import errors
from littoral.client.pictures import Picture
from littoral.client.reports import Receipt, receipt
from littoral.client.results import Answer, Detection, read_answer, read_detection
from littoral.client.shares import Slot
from littoral.client.tensors import Inputs, encode, wants_arrays
from littoral.tensors import Interface
from littoral.wire import query, vision


class Served:
    """A WELCOME, and the digest of its interface, which is worked out once."""

    __slots__ = ("digest", "interface", "welcome")

    def __init__(self, welcome: query.Welcome) -> None:
        self.welcome = welcome
        self.interface: Interface = welcome.interface
        self.digest = welcome.interface.digest

    @classmethod
    def told_in(cls, body: dict[str, Any]) -> "Served":
        """The WELCOME in an ERROR stale-interface, or in an EVENT `changed`. Raises ProtocolError."""
        welcome = body.get("welcome")
        return cls(query.parse_welcome(welcome if isinstance(welcome, dict) else {}))


@dataclass(slots=True, eq=False)
class InferRequest:
    """Made for one interface. deadline and not_before are of time.monotonic()."""

    id: int
    inputs: Inputs | Slot
    quantize: bool
    made_for: Served
    data: bytes | memoryview
    deadline: float
    not_before: float = 0.0

    def parts(self, left_us: int) -> list[bytes | memoryview]:
        place = _place(self.inputs)
        return query.infer(query.Infer(self.made_for.digest, self.data, left_us, place), self.id)

    def read(self, frame: query.Frame, served: Served) -> Answer:
        """Raises ProtocolError."""
        if frame.kind is not query.Kind.ANSWER:
            raise errors.ProtocolError(f"{frame.kind.name} in place of ANSWER")
        arrays = not isinstance(self.inputs, Slot) and wants_arrays(self.inputs)
        return read_answer(frame, self.made_for.interface, arrays=arrays, real=arrays and self.quantize)

    def make_anew(self, served: Served) -> None:
        """The same inputs for the interface now served. Raises StaleInterfaceError where they may not be."""
        before, now = self.made_for.interface, served.interface
        same_to_apps = now.shapes() == before.shapes() and now.labels == before.labels
        if same_to_apps and self.quantize and not isinstance(self.inputs, Slot) and wants_arrays(self.inputs):
            self.data, self.made_for = encode(self.inputs, now, quantize=True), served
            return
        what = "its quantization" if same_to_apps else "shapes or labels"
        error = errors.StaleInterfaceError(f"release {served.welcome.release} of {served.welcome.model} changed {what}")
        error.interface = now
        raise error


@dataclass(slots=True, eq=False)
class DetectRequest:
    """A frame to be looked at; it is made for no interface."""

    id: int
    picture: Picture
    options: bytes
    deadline: float
    not_before: float = 0.0

    def parts(self, left_us: int) -> list[bytes | memoryview]:
        data, layout, place = self.picture.data, self.picture.layout, _place(self.picture.data)
        if isinstance(data, Slot):
            size_bytes = self.picture.size_bytes or data.size_bytes
            return vision.detect(vision.Detect(layout, b"", self.options, left_us, place, size_bytes), self.id)
        return vision.detect(vision.Detect(layout, memoryview(data).cast("B"), self.options, left_us), self.id)

    def read(self, frame: query.Frame, served: Served) -> Detection:
        """Raises ProtocolError."""
        if frame.kind is not query.Kind.RESULT:
            raise errors.ProtocolError(f"{frame.kind.name} in place of RESULT")
        return read_detection(frame, served.interface, served.digest)


@dataclass(slots=True, eq=False)
class ReportRequest:
    """An app's word on an answer, as the frame that says it."""

    id: int
    frame: bytes
    deadline: float
    not_before: float = 0.0

    def parts(self, left_us: int) -> list[bytes | memoryview]:
        return [self.frame]

    def read(self, frame: query.Frame, served: Served) -> Receipt:
        """Raises ProtocolError."""
        return receipt(frame)


Request = InferRequest | DetectRequest | ReportRequest


def _place(data: object) -> query.Place | None:
    return query.Place(data.share.number, data.offset) if isinstance(data, Slot) else None
