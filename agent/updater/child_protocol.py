"""What the agent and its updater child say over their socket, without I/O.

The agent sends one Request, a JSON line. The child asks `GET <name> <max>` as often as it likes; the agent
answers `HAVE <length>` and the bytes, `ABSENT`, or `NOANSWER`. The child ends with `PLAN <length>` or
`FAIL <length>` and JSON.
The child reads hostile bytes, so the agent believes no more of what it says than this grammar allows.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from littoral.errors import DigestError, LittoralError, by_code
from littoral.wire.topics import CHUNK_BYTES

MAX_LINE_BYTES = 256
MAX_BODY_BYTES = 4 * 1024 * 1024  # a plan of eight full chunk lists is 1.1 MB
ABSENT = b"ABSENT\n"
NOANSWER = b"NOANSWER\n"

_NAME = re.compile(r"meta/[a-z0-9.-]{1,120}|chunk/[0-9a-f]{64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Request:
    """One job. `desired`: verify the desired state in `desired`. `plan`: find `release` of `model`, whose
    bundle.json has the digest `bundle`.

    `root` is the path of the first trusted root.json, `metadata_dir` the folder of the metadata known so far. With
    `folder` the child reads that repository folder and asks the agent nothing.
    """

    job: str
    root: str
    metadata_dir: str
    tenant: str = ""
    device: str = ""
    known_time: int = 0  # seconds since 1970
    desired: str | None = None
    model: str = ""
    release: int = 0
    bundle: str = ""
    folder: str = ""
    held: tuple[str, ...] = ()  # blobs (sha256) that are on this device: what a delta can be applied to

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


def parse_request(line: bytes) -> Request:
    """Raises ValueError or TypeError for what is no Request."""
    value = json.loads(line)
    request = Request(**{**value, "held": tuple(value.get("held", ()))})
    if request.job not in ("desired", "plan"):
        raise ValueError(f"unknown job {request.job!r}")
    return request


@dataclass(frozen=True, slots=True)
class Get:
    """The child asks for `name`, at most `max_bytes` long. It waits until it is answered."""

    name: str
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """It verified.

    For a release `manifest` is the text of bundle.json and `chunks` the chunk digests per role, and per
    `delta:<index>` of the deltas that make a blob this device lacks of one it holds; for a desired state `keyid`
    is the director key that signed it. `time` is when it was judged (seconds since 1970), `root_version` the version
    of the newest root that verified.
    """

    manifest: str = ""
    chunks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    keyid: str = ""
    time: int = 0
    root_version: int = 0

    def encode(self) -> bytes:
        return _body(b"PLAN", asdict(self))


@dataclass(frozen=True, slots=True)
class Fail:
    """It did not. `code` is that of a named error; `wanted` and `got` are set for wrong bytes. `root_version` is the
    version of the newest root, which verified all the same; 0 where none did.
    """

    code: str
    cause: str
    wanted: str = ""
    got: str = ""
    root_version: int = 0

    def encode(self) -> bytes:
        return _body(b"FAIL", asdict(self))

    def error(self) -> LittoralError:
        """The named error it stands for."""
        if self.code == DigestError.code:
            return DigestError(self.wanted, self.got)
        return by_code(self.code, self.cause)


def fail(error: LittoralError, root_version: int) -> Fail:
    """The message for a named error."""
    wanted, got = (error.wanted, error.got) if isinstance(error, DigestError) else ("", "")
    return Fail(error.code, error.cause, wanted, got, root_version)


def have(data: bytes) -> bytes:
    """The answer to a Get whose bytes are there."""
    return b"HAVE %d\n" % len(data) + data


def get(name: str, max_bytes: int) -> bytes:
    return f"GET {name} {max_bytes}\n".encode()


class ChildReader:
    """The agent's end: bytes in, messages out. After an error the child is to be given up."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._ending: tuple[str, int] | None = None
        self._ended = False

    def feed(self, data: bytes) -> list[Get | Plan | Fail]:
        """The messages that `data` completes. Raises ValueError for anything outside the grammar."""
        self._buffer += data
        messages: list[Get | Plan | Fail] = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def _next(self) -> Get | Plan | Fail | None:
        if self._ended:
            if self._buffer:
                raise ValueError("the updater child goes on after its end")
            return None
        if self._ending is not None:
            return self._body(*self._ending)
        end = self._buffer.find(b"\n", 0, MAX_LINE_BYTES)
        if end < 0:
            if len(self._buffer) >= MAX_LINE_BYTES:
                raise ValueError("the updater child writes a line without end")
            return None
        words = self._buffer[:end].decode("ascii", "replace").split(" ")
        del self._buffer[: end + 1]
        match words:
            case ["GET", name, size] if _NAME.fullmatch(name):
                return Get(name, _length(size, CHUNK_BYTES))
            case ["PLAN" | "FAIL" as kind, size]:
                self._ending = (kind, _length(size, MAX_BODY_BYTES))
                return self._next()
        raise ValueError(f"the updater child wrote {' '.join(words)!r}")

    def _body(self, kind: str, length: int) -> Plan | Fail | None:
        if len(self._buffer) < length:
            return None
        value = json.loads(self._buffer[:length])
        del self._buffer[:length]
        self._ended = True
        return _plan(value) if kind == "PLAN" else _fail(value)


def _plan(value: Any) -> Plan:
    try:
        lists = {str(role): tuple(_digest(d) for d in digests) for role, digests in value["chunks"].items()}
        return Plan(str(value["manifest"]), lists, str(value["keyid"]), int(value["time"]), int(value["root_version"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a plan that cannot be read: {error!r}") from error


def _fail(value: Any) -> Fail:
    try:
        code, cause, wanted, got = (str(value[name]) for name in ("code", "cause", "wanted", "got"))
        return Fail(code, cause, wanted, got, int(value["root_version"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"a failure that cannot be read: {error!r}") from error


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError(f"no digest: {value!r}")
    return value


def _length(text: str, limit: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > limit:
        raise ValueError(f"the updater child names a length of {text[:20]!r}, the limit is {limit}")
    return int(text)


def _body(word: bytes, value: dict[str, Any]) -> bytes:
    data = json.dumps(value).encode()
    return b"%s %d\n" % (word, len(data)) + data
