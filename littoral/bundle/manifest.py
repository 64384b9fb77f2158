"""bundle.json: what one release is made of and what it asks for. Canonical JSON, integers and strings, 16 KiB at most.

Its sha256 is the bundle's name everywhere. The Update Framework signs it as the target `<model>/<release>.json`.
"""

import json
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from littoral import canonical
from littoral.errors import BadNameError, ManifestError
from littoral.names import check_name
from littoral.wire.topics import CHUNK_BYTES

SCHEMA = 1
MAX_MANIFEST_BYTES = 16_384
MAX_BLOB_BYTES = 512 * 1024 * 1024  # above any model a 512 MB device could serve
LABEL_BYTES = 4  # of a labelled golden case
WHOLE_PPM = 1_000_000
_ENGINE = re.compile(r"(?P<name>[a-z0-9-]{1,32})(>=(?P<least>[0-9]{1,6}(\.[0-9]{1,6}){0,3}))?")
ROLES = ("model", "labels", "card", "golden", "model_card", "licence", "sbom", "provenance")


class Lineage(StrEnum):
    """What the release says it is, against the one before. It chooses how strictly answers are compared."""

    REBUILD = "rebuild"
    RETRAINED = "retrained"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Blob:
    """One file of the bundle. `chunks` is the sha256 of its chunk list."""

    sha256: str
    length: int
    chunks: str


@dataclass(frozen=True, slots=True)
class Delta:
    """One blob of the bundle, made anew of one that a device may hold: fetched in its place where it is held.

    role: of the blob it makes. base: sha256 of what it is applied to (littoral/bundle/delta.py). The rest as in Blob,
    of the delta itself.
    """

    role: str
    base: str
    sha256: str
    length: int
    chunks: str


@dataclass(frozen=True, slots=True)
class Needs:
    """What a device must have. Empty and 0 mean: no demand."""

    architectures: tuple[str, ...] = ()  # as uname -m: x86_64, aarch64, armv7l
    engines: tuple[str, ...] = ()  # any of these will do: litert, tflite; "tflite>=2.14": no older one
    memory_bytes: int = 0
    disk_bytes: int = 0
    delegate: str = ""  # a kind, as a device's configuration has it: edgetpu, gpu ...
    cpu: str = "fallback"  # where there is no such delegate: run on the CPU, or refuse


@dataclass(frozen=True, slots=True)
class Limits:
    """What the release promises to stay within. 0 means: no promise."""

    p95_us: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """What its author calls normal for the release while it answers, in parts per million. 0: he does not say."""

    errors_ppm: int = 0  # of requests, that fail
    late_ppm: int = 0  # of answers, that take longer than limits.p95_us


@dataclass(frozen=True, slots=True)
class Golden:
    """Inputs with the answers expected of them; the blob holds per case all inputs, then all outputs, raw.

    expected: given; copied: made by this very model, so it proves only that it repeats itself; labelled: by people, the
    number of the right class in place of the outputs, as int32. Then `right_ppm` is the share that must be right.
    """

    cases: int
    compare: str = "tolerance"  # or top1
    tolerance_ppm: int = 20_000  # of the range of a quantized output, else of the largest expected magnitude
    expected: str = "given"
    right_ppm: int = 0

    @property
    def right_cases(self) -> int:
        """How many labelled cases must be answered right at least."""
        return -(-self.cases * self.right_ppm // WHOLE_PPM)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One release of one model.

    `interface` names what an app depends on: {"shapes": digest, "labels": digest}; `interface_change` says the
    publisher knows that it differs from the release before. `accept_explained`: the publisher knows that comparing it
    with the release before will find a named fault, which is that one's.
    """

    model: str
    release: int
    version: str
    floor: int
    lineage: Lineage
    blobs: dict[str, Blob]
    chunk_bytes: int
    interface: dict[str, str] = field(default_factory=dict)
    interface_change: bool = False
    needs: Needs = Needs()
    limits: Limits = Limits()
    health: Health = Health()
    golden: Golden | None = None
    deltas: tuple[Delta, ...] = ()
    accept_explained: bool = False

    @property
    def target(self) -> str:
        """The name under which the Update Framework signs it."""
        return target_name(self.model, self.release)

    @property
    def size_bytes(self) -> int:
        """Disk that its blobs take."""
        return sum(blob.length for blob in self.blobs.values())

    @property
    def parts(self) -> dict[str, Blob | Delta]:
        """All that travels as chunks: blobs by role, and deltas by `delta:<index>`."""
        return {**self.blobs, **{f"delta:{index}": delta for index, delta in enumerate(self.deltas)}}

    def delta_for(self, role: str, held: Collection[str]) -> int | None:
        """Index of the smallest delta that makes the blob of `role` of one in `held` (sha256), if it saves anything."""
        limit = self.blobs[role].length
        fits = [
            (delta.length, index)
            for index, delta in enumerate(self.deltas)
            if delta.role == role and delta.base in held and delta.length < limit
        ]
        return min(fits)[1] if fits else None

    def encode(self) -> bytes:
        """Fields younger than the first version are left out where they say nothing: what was read of an older
        bundle.json gives the same bytes again, and so the same name."""
        value = {**asdict(self), "schema": SCHEMA}
        if not self.accept_explained:
            del value["accept_explained"]
        if self.health == Health():
            del value["health"]
        if self.golden is not None and self.golden.expected != "labelled":
            del value["golden"]["right_ppm"]
        return canonical.encode(value)


def target_name(model: str, release: int) -> str:
    return f"{model}/{release}.json"


def role_name(model: str) -> str:
    """The delegated role that signs a model's releases."""
    return f"m-{model}"


def parse_engine(text: str) -> tuple[str, tuple[int, ...]]:
    """An entry of `Needs.engines`: the engine's name, and its least version, () for any. Raises ValueError."""
    found = _ENGINE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no engine; it is one as in litert or tflite>=2.14")
    return found["name"], tuple(int(part) for part in (found["least"] or "").split(".") if part)


def parse(data: bytes) -> Manifest:
    """Raises ManifestError for anything that is not a whole and sensible bundle.json."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"bundle.json of {len(data)} bytes, the limit is {MAX_MANIFEST_BYTES}")
    try:
        value = json.loads(data)
        if value["schema"] != SCHEMA:
            raise ManifestError(f"bundle.json of schema {value['schema']!r}, this version reads {SCHEMA}")
        manifest = Manifest(
            model=check_name(value["model"], "model"),
            release=_number(value["release"], 1),
            version=str(value["version"])[:200],
            floor=_number(value["floor"]),
            lineage=Lineage(value["lineage"]),
            blobs={_role(role): _blob(blob) for role, blob in value["blobs"].items()},
            chunk_bytes=_number(value["chunk_bytes"], 1),
            interface={str(k): str(v) for k, v in value["interface"].items()},
            interface_change=value["interface_change"] is True,
            needs=_needs(value["needs"]),
            limits=Limits(_number(value["limits"]["p95_us"]), _number(value["limits"]["memory_bytes"])),
            health=_health(value.get("health", {})),  # older ones do not have it
            golden=None if value["golden"] is None else _golden(value["golden"]),
            deltas=tuple(_delta(each) for each in value.get("deltas", ())),  # older ones do not have it
            accept_explained=value.get("accept_explained") is True,
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, BadNameError) as error:
        raise ManifestError(f"bundle.json that cannot be read: {error!r}") from error
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    if "model" not in manifest.blobs or manifest.blobs["model"].length < 1:
        raise ManifestError("bundle.json names no model blob")
    if manifest.chunk_bytes > CHUNK_BYTES:
        raise ManifestError(f"chunks of {manifest.chunk_bytes} bytes, the limit is {CHUNK_BYTES}")
    if manifest.floor > manifest.release:
        raise ManifestError(f"the floor {manifest.floor} is above the release {manifest.release} itself")
    if not all(delta.role in manifest.blobs for delta in manifest.deltas):
        raise ManifestError("a delta for a blob that the bundle does not have")
    if (manifest.golden is None) != ("golden" not in manifest.blobs):
        raise ManifestError("golden vectors without a description, or a description without vectors")


def _needs(value: dict[str, Any]) -> Needs:
    return Needs(
        architectures=tuple(str(a) for a in value["architectures"]),
        engines=tuple(_engine(e) for e in value["engines"]),
        memory_bytes=_number(value["memory_bytes"]),
        disk_bytes=_number(value["disk_bytes"]),
        delegate=str(value["delegate"]),
        cpu=_choice(value.get("cpu", "fallback"), ("fallback", "refuse")),  # older ones do not have it
    )


def _engine(value: Any) -> str:
    parse_engine(value)
    return str(value)


def _choice(value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return str(value)


def _health(value: dict[str, Any]) -> Health:
    shares = (_number(value.get("errors_ppm", 0)), _number(value.get("late_ppm", 0)))
    if max(shares) >= 1_000_000:
        raise ValueError(f"no shares in parts per million: {shares}")
    return Health(*shares)


def _golden(value: dict[str, Any]) -> Golden:
    compare = _choice(value["compare"], ("tolerance", "top1"))
    expected = _choice(value["expected"], ("given", "copied", "labelled"))
    cases, tolerance_ppm, right_ppm = _number(value["cases"], 1), _number(value["tolerance_ppm"]), 0
    if expected == "labelled":
        right_ppm = _number(value["right_ppm"])
        if compare != "top1" or right_ppm > WHOLE_PPM:
            raise ValueError(f"labelled cases compared by {compare}, of which {right_ppm} ppm must be right")
    return Golden(cases, compare, tolerance_ppm, expected, right_ppm)


def _blob(value: dict[str, Any]) -> Blob:
    length = _number(value["length"])
    if length > MAX_BLOB_BYTES:
        raise ValueError(f"a blob of {length} bytes, the limit is {MAX_BLOB_BYTES}")
    return Blob(_digest(value["sha256"]), length, _digest(value["chunks"]))


def _delta(value: dict[str, Any]) -> Delta:
    blob = _blob(value)
    return Delta(_role(value["role"]), _digest(value["base"]), blob.sha256, blob.length, blob.chunks)


def _role(name: str) -> str:
    if name not in ROLES:
        raise ValueError(f"unknown role {name!r}")
    return name


def _digest(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise ValueError(f"no digest: {value!r}")
    return value


def _number(value: Any, least: int = 0) -> int:
    if type(value) is not int or not least <= value < 2**53:
        raise ValueError(f"no number from {least} up: {value!r}")
    return value
