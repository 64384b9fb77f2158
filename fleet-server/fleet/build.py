"""`bundle build`: makes a bundle folder (bundle.py) of a model and what belongs to it.

Nothing is signed here, and the model is run only for `--golden-inputs`, in a child process.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fleet import bundle as bundles
from fleet import durable, golden, modelfile
from fleet.bundle import interface_of
from fleet.golden import Measured, Vectors
from fleet.modelfile import ModelFile
from littoral import canonical
from littoral.bundle import card as cards
from littoral.bundle import chunks, delta, manifest
from littoral.bundle.card import Card
from littoral.bundle.manifest import Blob, Delta, Golden, Lineage, Manifest, Needs
from littoral.errors import (
    BundleError,
    CardError,
    InterfaceChangeError,
    LimitsError,
    ManifestError,
    ReleaseNumberError,
)
from littoral.names import check_name
from littoral.tensors import Interface, Tensor
from littoral.wire.topics import CHUNK_BYTES

MAX_VERSION_CHARS = 200
DELTA_SHARE = 0.8  # of the model: a larger delta is not worth the rebuilding
MAX_DELTAS = 8  # bundle.json has 16 KiB
ENOUGH_CASES = 100  # labelled by people
LARGE_GOLDEN_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """What `bundle build` was asked for.

    floor None: the one it replaces, see `default_floor`. delta_from: bundles whose models devices may hold, beside
    those that `Before` brings.
    """

    model: Path
    name: str
    release: int
    version: str
    out: Path
    card: Path | None = None
    labels: Path | None = None
    golden_inputs: Path | None = None
    golden: Path | None = None
    floor: int | None = None
    lineage: Lineage = Lineage.RETRAINED
    chunk_bytes: int = CHUNK_BYTES
    interface_change: bool = False
    delta_from: tuple[Path, ...] = ()
    accept_explained: bool = False


@dataclass(frozen=True, slots=True)
class Before:
    """What is known of the model's releases so far: the last listed one, and which one this replaces (0: none).
    models: the blobs to make deltas from."""

    manifest: Manifest
    interface: Interface
    replaces: int
    models: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Built:
    """A bundle in its folder. `difference` and `notes` are lines for the operator to read."""

    manifest: Manifest
    bundle: str
    interface: Interface
    measured: Measured | None
    difference: tuple[str, ...]
    notes: tuple[str, ...]


def build(request: Request, before: Before | None = None) -> Built:
    """Makes the bundle in `request.out`, which must be absent or empty.

    Raises NotAModelError, UnsupportedError, CardError, GoldenError, ModelLoadError, LimitsError, InterfaceChangeError,
    ReleaseNumberError, ManifestError, BundleError, OSError.
    """
    check_name(request.name, "model")
    if request.out.exists() and (not request.out.is_dir() or any(request.out.iterdir())):
        raise BundleError(f"{request.out} is there already", remedy="Choose another --out, or remove it.")
    model = _read(request.model, "the model")
    file = modelfile.read(model)
    interface = interface_of(model, _read(request.labels, "the labels") if request.labels else None)
    card_bytes = _read(request.card, "the card") if request.card else b""
    card = _card(card_bytes)
    check_limits(card, len(model), None)
    difference = _compare(request, before, interface)
    vectors = _vectors(request, interface, model, card)
    if vectors is not None:
        check_limits(card, len(model), vectors.measured)
    blobs = {"model": model, "card": card_bytes, "golden": vectors.blob if vectors else b""}
    blobs["labels"] = "".join(f"{label}\n" for label in interface.labels).encode()
    blobs = {role: data for role, data in blobs.items() if data}
    deltas = _deltas(model, [*_models_of(request.delta_from), *(before.models if before else ())])
    made = Manifest(
        model=request.name,
        release=request.release,
        version=request.version,
        floor=default_floor(request, before),
        lineage=request.lineage,
        blobs={role: _describe(role, data, request.chunk_bytes) for role, data in blobs.items()},
        chunk_bytes=request.chunk_bytes,
        interface=interface.declared(),
        interface_change=request.interface_change,
        needs=_needs(card, file),
        limits=card.limits,
        health=card.health,
        golden=_golden(card, vectors),
        deltas=tuple(_describe_delta(base, data, request.chunk_bytes) for base, data in deltas.items()),
        accept_explained=request.accept_explained,
    )
    encoded = _encode(made)
    _write(request.out, encoded, [*blobs.values(), *deltas.values()], request.chunk_bytes)
    notes = (*_notes(file, interface), *_golden_notes(vectors, len(model)))
    measured = vectors.measured if vectors else None
    return Built(made, canonical.digest(encoded), interface, measured, difference, notes)


def _needs(card: Card, file: ModelFile) -> Needs:
    """The card's; where it names no engine, LiteRT, or a tflite-runtime that has the model's operators."""
    if card.needs.engines or not file.least_tflite:
        return card.needs
    return replace(card.needs, engines=("litert", f"tflite>={file.least_tflite}"))


def default_floor(request: Request, before: Before | None) -> int:
    """--floor; else the release this one replaces; where that is not known, the number below its own."""
    if request.floor is not None:
        return request.floor
    return max(request.release - 1, 0) if before is None else max(before.replaces, before.manifest.floor)


def check_limits(card: Card, model_bytes: int, measured: Measured | None) -> None:
    """Raises LimitsError where the model is over a limit that its own card sets, as far as can be seen here."""
    limits = card.limits
    if limits.memory_bytes and model_bytes > limits.memory_bytes:
        raise LimitsError(f"the model has {model_bytes} bytes, its card allows {limits.memory_bytes} of memory")
    if measured is None:
        return
    if limits.memory_bytes and measured.memory_bytes > limits.memory_bytes:
        raise LimitsError(f"the model took {measured.memory_bytes} bytes, its card allows {limits.memory_bytes}")
    if limits.p95_us and measured.p95_us > limits.p95_us:
        raise LimitsError(f"the model took {measured.p95_us} us (p95) on this machine, its card allows {limits.p95_us}")


# --- the release before ------------------------------------------------------------------------------------------


def differences(before: Interface, after: Interface) -> list[str]:
    """What an app or a device notices, a line each; nothing where raw bytes mean the same as before."""
    lines = []
    for side in ("inputs", "outputs"):
        old: tuple[Tensor, ...] = getattr(before, side)
        new: tuple[Tensor, ...] = getattr(after, side)
        for index in range(max(len(old), len(new))):
            was, now = (_text_at(tensors, index) for tensors in (old, new))
            if was != now:
                lines.append(f"{side[:-1]} {index}: {was} -> {now}")
    if before.labels != after.labels:
        lines.append(f"labels: {_labels_text(before.labels, after.labels)}")
    return lines


def tensor_text(tensor: Tensor) -> str:
    """A tensor in one line, for people."""
    shape = "x".join(str(size) for size in tensor.shape) or "scalar"
    quantized = f" scale {tensor.scale:.9g} zero point {tensor.zero_point}" if tensor.scale else ""
    return f"{tensor.name!r} {tensor.dtype} {shape}{quantized}"


def _text_at(tensors: tuple[Tensor, ...], index: int) -> str:
    return tensor_text(tensors[index]) if index < len(tensors) else "none"


def _labels_text(before: tuple[str, ...], after: tuple[str, ...]) -> str:
    if len(before) != len(after):
        return f"{len(before)} -> {len(after)}"
    index = next(i for i, (was, now) in enumerate(zip(before, after, strict=True)) if was != now)
    return f"number {index} was {before[index]!r} and is {after[index]!r}"


def _compare(request: Request, before: Before | None, interface: Interface) -> tuple[str, ...]:
    """The difference to the last release. Raises ReleaseNumberError, InterfaceChangeError."""
    if before is None:
        return ()
    last = before.manifest
    if request.release <= last.release:
        raise ReleaseNumberError(
            f"release {request.release} of {request.name} is not above {last.release}, the last one"
        )
    lines = differences(before.interface, interface)
    if interface.declared() != last.interface and not request.interface_change:
        raise InterfaceChangeError(f"shapes or labels differ from release {last.release}: {'; '.join(lines)}")
    return tuple(lines)


# --- parts -------------------------------------------------------------------------------------------------------


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{what} cannot be read: {error}") from error


def _card(data: bytes) -> Card:
    try:
        return cards.parse(data.decode())
    except UnicodeDecodeError as error:
        raise CardError("the card is not UTF-8") from error


def _vectors(request: Request, interface: Interface, model: bytes, card: Card) -> Vectors | None:
    if request.golden and request.golden_inputs:
        raise BundleError("both --golden and --golden-inputs", remedy="Golden vectors come from one of them.")
    if request.golden:
        return golden.given(request.golden, interface, card)
    if request.golden_inputs:
        return golden.copied(request.golden_inputs, interface, model)
    return None


def _golden(card: Card, vectors: Vectors | None) -> Golden | None:
    if vectors is None:
        return None
    if vectors.expected == "labelled":
        return Golden(vectors.cases, "top1", card.tolerance_ppm, "labelled", card.right_ppm)
    return Golden(vectors.cases, card.compare, card.tolerance_ppm, vectors.expected)


def _describe(role: str, data: bytes, chunk_bytes: int) -> Blob:
    if not 1 <= chunk_bytes <= CHUNK_BYTES:
        raise BundleError(f"chunks of {chunk_bytes} bytes", remedy=f"--chunk-bytes is from 1 to {CHUNK_BYTES}.")
    if len(data) > chunk_bytes * chunks.MAX_CHUNKS:
        raise BundleError(
            f"{role} has {len(data)} bytes: more than {chunks.MAX_CHUNKS} chunks of {chunk_bytes}",
            remedy=f"Give larger --chunk-bytes (at most {CHUNK_BYTES}), or fewer golden vectors.",
        )
    listed = chunks.list_of(chunks.split(data, chunk_bytes))
    return Blob(canonical.digest(data), len(data), canonical.digest(listed))


def _models_of(folders: Sequence[Path]) -> Iterator[bytes]:
    for folder in folders:
        known = bundles.read(folder)
        yield known.blob(known.manifest.blobs["model"].sha256)


def _deltas(model: bytes, bases: Iterable[bytes]) -> dict[str, bytes]:
    """Deltas that make `model`, by the digest of what each is made from: those that are worth it."""
    distinct = {canonical.digest(base): base for base in bases}
    distinct.pop(canonical.digest(model), None)
    if len(distinct) > MAX_DELTAS:
        raise BundleError(
            f"deltas from {len(distinct)} models", remedy=f"Give --delta-from at most {MAX_DELTAS} times."
        )
    made = {digest: delta.make(base, model) for digest, base in distinct.items()}
    return {digest: data for digest, data in made.items() if len(data) < DELTA_SHARE * len(model)}


def _describe_delta(base: str, data: bytes, chunk_bytes: int) -> Delta:
    blob = _describe("a delta", data, chunk_bytes)
    return Delta("model", base, blob.sha256, blob.length, blob.chunks)


def _encode(made: Manifest) -> bytes:
    """The bytes that will be signed, as every reader will read them. Raises ManifestError."""
    if not 1 <= len(made.version) <= MAX_VERSION_CHARS:
        raise ManifestError(f"a version of {len(made.version)} characters; it has 1 to {MAX_VERSION_CHARS}")
    encoded = made.encode()
    if manifest.parse(encoded) != made:
        raise ManifestError("bundle.json would not be read as it was written")
    return encoded


def _write(out: Path, encoded: bytes, blobs: Iterable[bytes], chunk_bytes: int) -> None:
    """The whole folder or none of it. Raises OSError."""
    scratch = out.with_name(f".{out.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    durable.make_folder(scratch / "blobs")
    for data in blobs:
        listed = chunks.list_of(chunks.split(data, chunk_bytes))
        for content in (data, listed):
            durable.write_file(scratch / "blobs" / canonical.digest(content), content)
    durable.write_file(scratch / "bundle.json", encoded)
    scratch.replace(out)
    durable.sync_folder(out.parent)


def _notes(file: ModelFile, interface: Interface) -> list[str]:
    notes = []
    if file.custom_operators or file.unknown_operators:
        names = ", ".join((*file.custom_operators, *file.unknown_operators))
        notes.append(f"operators that an engine may not have: {names}")
    if interface.labels and all(t.shape[-1:] != (len(interface.labels),) for t in interface.outputs):
        notes.append(f"{len(interface.labels)} labels, and no output whose last axis has that length")
    return notes


def _golden_notes(vectors: Vectors | None, model_bytes: int) -> list[str]:
    """What the golden vectors do not prove, and what they cost."""
    if vectors is None:
        return ["no golden vectors: the self-test only sees that the model loads and runs"]
    notes = []
    if vectors.expected == "copied":
        notes.append(
            "the expected answers were copied from this very model: they prove that it repeats itself, not that it "
            "is right. Give answers from elsewhere by --golden, best of all labels by people"
        )
    elif vectors.expected == "labelled" and vectors.cases < ENOUGH_CASES:
        notes.append(
            f"{vectors.cases} labelled cases: by fewer than {ENOUGH_CASES} a worse model may pass, and a good one fail"
        )
    if len(vectors.blob) > max(model_bytes, LARGE_GOLDEN_BYTES):
        notes.append(
            f"the golden vectors have {len(vectors.blob)} bytes, the model {model_bytes}: every device fetches both"
        )
    return notes
