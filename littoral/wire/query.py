"""The local query protocol, without I/O: frames in and out as bytes (docs/protocol.md describes every byte).

A frame is a 16-byte little-endian header and a body: magic `Lt`, version, kind, body length, request id. INFER, ANSWER,
DETECT, RESULT and REPORT have a fixed head and raw bytes behind it; every other body is one JSON object. DETECT and
RESULT are in littoral/wire/vision.py, REPORT in littoral/wire/report.py.
"""

import json
import struct
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from struct import Struct
from typing import Any

from littoral import errors
from littoral.tensors import Interface

VERSION = 1
MAGIC = b"Lt"
HEADER = Struct("<2sBBIQ")  # magic, version, kind, body length, id
INFER_HEAD = Struct("<16sQII")  # interface, deadline_us (0: none) from receipt, flags, reserved (0)
SHARED = Struct("<IIQ")  # share, reserved (0), offset: in place of the bytes, where flags has FLAG_SHARED
ANSWER_HEAD = Struct("<QIIB7x")  # release, queued_us, invoked_us, stage

MAX_HELLO_BYTES = 4_096  # read by the host before anything is known of the sender
MAX_FRAME_BYTES = 64 * 1024 * 1024  # above any camera frame; a receiver sets its own, smaller limit
FLAG_SHARED = 1  # the bytes are in a shared memory of this connection
SOCKET_PATH_BYTES = 107  # sockaddr_un.sun_path holds 108 with the closing zero


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    WELCOME = 2
    INFER = 3
    ANSWER = 4
    ERROR = 5
    EVENT = 6
    LIST = 7
    STATS = 8
    INFO = 9
    REPORT = 10
    SHARE = 11
    DETECT = 12
    RESULT = 13


class Mode(StrEnum):
    """What a connection is for, said in HELLO."""

    INFER = "infer"
    INFO = "info"
    SUBSCRIBE = "subscribe"
    LEASE = "lease"


class Queue(StrEnum):
    """Which requests of a connection wait, said in HELLO."""

    ALL = "all"
    LATEST = "latest"  # only the newest; the one it displaces is answered `replaced`


class Stage(IntEnum):
    """How far the release that answered is trusted."""

    COMMITTED = 0
    TRIAL = 1
    LOCAL = 2  # a file of this device's own, served by hand: nobody signed it


# The closed list of codes an ERROR frame may carry.
ERROR_CODES: frozenset[str] = frozenset(
    cls.code
    for cls in (
        errors.ProtocolError,
        errors.FrameTooLargeError,
        errors.HandshakeTimeoutError,
        errors.UnknownModelError,
        errors.NoReleaseError,
        errors.WrongSizeError,
        errors.StaleInterfaceError,
        errors.UnsupportedError,
        errors.AccessDeniedError,
        errors.LeaseExpiredError,
        errors.BusyError,
        errors.ReplacedError,
        errors.DeadlineError,
        errors.ShareError,
        errors.PictureError,
        errors.ReportError,
        errors.UnknownAnswerError,
        errors.InferenceError,
        errors.InternalError,
    )
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame. `body` is what follows the header."""

    kind: Kind
    id: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises ProtocolError."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise errors.ProtocolError(f"{self.kind.name} does not hold JSON: {error}") from error
        if not isinstance(value, dict):
            raise errors.ProtocolError(f"{self.kind.name} does not hold a JSON object")
        return value


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame of a connection. `model` is empty only with mode info; it may end in an alias.

    signature: which of the model's signatures INFER and DETECT run; empty: its first.
    """

    model: str
    client: str = ""
    mode: Mode = Mode.INFER
    signature: str = ""
    queue: Queue = Queue.ALL

    @property
    def name(self) -> str:
        """The model's name without the alias."""
        return self.model.partition("@")[0]

    @property
    def alias(self) -> str:
        """baseline, trial, or empty: whichever is served."""
        return self.model.partition("@")[2]


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a connection is bound to, and all a client needs to ask it.

    signatures: all that the model has; signature: the one bound. detect: the kind of RESULT that DETECT gets
    (vision.Kind in lower case), empty where the card describes no picture or window.
    """

    model: str
    release: int
    version: str
    stage: Stage
    engine: str
    interface: Interface
    max_frame_bytes: int
    card: dict[str, Any] = field(default_factory=dict)
    signature: str = ""
    signatures: tuple[str, ...] = ()
    detect: str = ""
    max_shares: int = 0
    max_share_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Infer:
    """One request. `interface` is 32 hex digits; `data` all inputs one after the other; deadline 0 means none.

    place: where the inputs lie instead, in memory shared before; `data` is then empty.
    """

    interface: str
    data: bytes | memoryview
    deadline_us: int = 0
    place: "Place | None" = None


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a shared memory: the number SHARE was answered with, and an offset in bytes."""

    share: int
    offset: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `data` holds all outputs one after the other; times are microseconds."""

    release: int
    stage: Stage
    queued_us: int
    invoked_us: int
    data: bytes | memoryview


class Reader:
    """Takes bytes as they come and gives whole frames.

    It refuses, by raising: other magic or version, an unknown kind (ProtocolError); a body over `max_body_bytes`
    (FrameTooLargeError). After either the stream has no place to go on from and the connection must be closed.
    """

    def __init__(self, max_body_bytes: int, pending: bytes = b"") -> None:
        self.max_body_bytes = max_body_bytes
        self._buffer = bytearray(pending)

    def feed(self, data: bytes | memoryview) -> None:
        self._buffer += data

    def next(self) -> Frame | None:
        """The next whole frame, or None until more bytes came."""
        buffer = self._buffer
        if len(buffer) < HEADER.size:
            if buffer and not MAGIC.startswith(bytes(buffer[:2])):
                raise errors.ProtocolError(f"a frame begins with {bytes(buffer[:2])!r}, not {MAGIC!r}")
            return None
        magic, version, kind, length, request = HEADER.unpack_from(buffer)
        if magic != MAGIC:
            raise errors.ProtocolError(f"a frame begins with {magic!r}, not {MAGIC!r}")
        if version != VERSION:
            raise errors.ProtocolError(f"protocol version {version}, here it is {VERSION}")
        if kind not in _KINDS:
            raise errors.ProtocolError(f"no frame has the kind {kind}")
        if length > self.max_body_bytes:
            raise errors.FrameTooLargeError(f"a body of {length} bytes, the limit is {self.max_body_bytes}")
        end = HEADER.size + length
        if len(buffer) < end:
            return None
        with memoryview(buffer) as view:
            body = bytes(view[HEADER.size : end])
        del buffer[:end]
        return Frame(Kind(kind), request, body)

    def pending(self) -> bytes:
        """The bytes read and not yet given as a frame; they travel with the connection at a hand-over."""
        return bytes(self._buffer)


_KINDS = frozenset(int(k) for k in Kind)


def frame(kind: Kind, body: bytes = b"", id: int = 0) -> bytes:
    return HEADER.pack(MAGIC, VERSION, kind, len(body), id) + body


def json_frame(kind: Kind, value: dict[str, Any], id: int = 0) -> bytes:
    return frame(kind, json.dumps(value, separators=(",", ":")).encode(), id)


def hello(value: Hello) -> bytes:
    fields = {name: getattr(value, name) for name in ("client", "model", "mode", "signature", "queue")}
    return json_frame(Kind.HELLO, {"protocol": VERSION, **fields})


def parse_hello(value: Frame) -> Hello:
    """Raises ProtocolError, or UnsupportedError for an alias this version does not serve."""
    if value.kind is not Kind.HELLO:
        raise errors.ProtocolError(f"a connection begins with HELLO, not {value.kind.name}")
    body = value.json()
    texts = {key: body.get(key, "") for key in ("model", "client", "mode", "signature", "queue")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise errors.ProtocolError("HELLO holds a field that is not a string")
    if body.get("protocol") != VERSION:
        raise errors.ProtocolError(f"protocol {body.get('protocol')!r}, here it is {VERSION}")
    try:
        mode, queue = Mode(texts["mode"] or Mode.INFER), Queue(texts["queue"] or Queue.ALL)
    except ValueError as error:
        raise errors.ProtocolError(f"HELLO names no mode or queue: {error}") from error
    hello = Hello(texts["model"], texts["client"][:80], mode, texts["signature"], queue)
    if hello.alias not in ("", "baseline", "trial"):
        raise errors.UnsupportedError(f"no alias has the name {hello.alias!r}: there are baseline and trial")
    return hello


def welcome(value: Welcome, id: int = 0) -> bytes:
    return json_frame(Kind.WELCOME, welcome_json(value), id)


def welcome_json(value: Welcome) -> dict[str, Any]:
    return {
        "model": value.model,
        "release": value.release,
        "version": value.version,
        "stage": int(value.stage),
        "engine": value.engine,
        "interface": value.interface.digest,
        "limits": {name: getattr(value, name) for name in ("max_frame_bytes", "max_shares", "max_share_bytes")},
        "card": value.card,
        "signature": value.signature,
        "signatures": list(value.signatures),
        "detect": value.detect,
        **value.interface.to_json(),
    }


def parse_welcome(body: dict[str, Any]) -> Welcome:
    """Raises ProtocolError."""
    try:
        return Welcome(
            model=str(body["model"]),
            release=int(body["release"]),
            version=str(body["version"]),
            stage=Stage(body["stage"]),
            engine=str(body["engine"]),
            interface=Interface.from_json(body),
            card=dict(body["card"]),
            signature=str(body.get("signature", "")),
            signatures=tuple(str(name) for name in body.get("signatures", ())),
            detect=str(body.get("detect", "")),
            max_frame_bytes=int(body["limits"]["max_frame_bytes"]),
            max_shares=int(body["limits"].get("max_shares", 0)),
            max_share_bytes=int(body["limits"].get("max_share_bytes", 0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise errors.ProtocolError(f"a WELCOME that cannot be read: {error!r}") from error


def infer(value: Infer, id: int) -> list[bytes | memoryview]:
    """The parts of an INFER frame, to be written one after the other: the tensor bytes are not copied."""
    place = value.place
    head = INFER_HEAD.pack(bytes.fromhex(value.interface), value.deadline_us, FLAG_SHARED if place else 0, 0)
    data = SHARED.pack(place.share, 0, place.offset) if place else value.data
    size = len(head) + memoryview(data).nbytes
    return [HEADER.pack(MAGIC, VERSION, Kind.INFER, size, id) + head, data]


def parse_infer(value: Frame) -> Infer:
    """Raises WrongSizeError where the head itself is not whole, UnsupportedError for flags nobody knows.

    `data` is a view into the frame's body.
    """
    if len(value.body) < INFER_HEAD.size:
        raise errors.WrongSizeError(f"INFER of {len(value.body)} bytes; its head alone has {INFER_HEAD.size}")
    interface, deadline_us, flags, _ = INFER_HEAD.unpack_from(value.body)
    data = memoryview(value.body)[INFER_HEAD.size :]
    if not flags:
        return Infer(interface.hex(), data, deadline_us)
    if flags != FLAG_SHARED:
        raise errors.UnsupportedError(f"INFER with flags {flags:#x}")
    if len(data) != SHARED.size:
        raise errors.WrongSizeError(
            f"INFER of shared memory holds {len(data)} bytes behind its head, not {SHARED.size}"
        )
    share, _, offset = SHARED.unpack(data)
    return Infer(interface.hex(), b"", deadline_us, Place(share, offset))


def answer(value: Answer, id: int) -> list[bytes | memoryview]:
    """The parts of an ANSWER frame, to be written one after the other."""
    clip = 0xFFFF_FFFF
    head = ANSWER_HEAD.pack(value.release, min(value.queued_us, clip), min(value.invoked_us, clip), int(value.stage))
    size = len(head) + memoryview(value.data).nbytes
    return [HEADER.pack(MAGIC, VERSION, Kind.ANSWER, size, id) + head, value.data]


def parse_answer(value: Frame) -> Answer:
    """Raises ProtocolError. `data` is a view into the frame's body."""
    try:
        release, queued_us, invoked_us, stage = ANSWER_HEAD.unpack_from(value.body)
        data = memoryview(value.body)[ANSWER_HEAD.size :]
        return Answer(release, Stage(stage), queued_us, invoked_us, data)
    except (ValueError, struct.error) as error:
        raise errors.ProtocolError(f"an ANSWER of {len(value.body)} bytes that cannot be read: {error}") from error


def error(value: errors.LittoralError, id: int = 0, **facts: Any) -> bytes:
    """An ERROR frame. STALE_INTERFACE carries `welcome`; BUSY carries `retry_after_ms`."""
    code = value.code if value.code in ERROR_CODES else errors.InternalError.code
    return json_frame(Kind.ERROR, {"code": code, "cause": value.cause, "remedy": value.remedy, **facts}, id)


def parse_error(value: Frame) -> errors.LittoralError:
    body = value.json()
    return errors.by_code(str(body.get("code")), str(body.get("cause")), str(body.get("remedy", "")))


def check_socket_path(path: str) -> str:
    """Raises SocketPathError for a path that does not fit into a Unix socket address."""
    size = len(path.encode())
    if size > SOCKET_PATH_BYTES:
        raise errors.SocketPathError(f"{path} has {size} bytes; a Unix socket's path has at most 107")
    return path
