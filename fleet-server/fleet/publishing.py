"""What must hold of a bundle before the fleet server lists it: every blob there, whole, and cut as its list says, and
every delta makes the blob that it is for."""

import hashlib

from fleet.store import Blobs, Piece
from littoral import canonical
from littoral.bundle import delta as deltas
from littoral.bundle.chunks import parse_list
from littoral.bundle.manifest import Blob, Delta, Manifest
from littoral.errors import BundleError, DeltaError


def pieces_of(manifest: Manifest, blobs: Blobs) -> list[Piece]:
    """Every chunk list and chunk of the bundle. Raises BundleError."""
    found: dict[str, Piece] = {}
    for role, blob in manifest.parts.items():
        for piece in _pieces_of_blob(role, blob, manifest.chunk_bytes, blobs):
            found.setdefault(piece.digest, piece)
    for delta in manifest.deltas:
        _check_delta(delta, manifest.blobs[delta.role], blobs)
    return list(found.values())


def _check_delta(delta: Delta, blob: Blob, blobs: Blobs) -> None:
    """Raises BundleError where the delta does not make the blob, or that cannot be seen here."""
    if not blobs.has(delta.base):
        raise BundleError(
            f"a delta from {delta.base}, which was never published here",
            remedy="Build it anew, with --delta-from releases of this server only.",
        )
    made = hashlib.sha256()
    try:
        for part in deltas.apply(blobs.parts(delta.base), blobs.parts(delta.sha256), blob.length):
            made.update(part)
    except DeltaError as error:
        raise BundleError(f"the delta from {delta.base}: {error.cause}") from error
    if made.hexdigest() != blob.sha256:
        raise BundleError(f"the delta from {delta.base} makes another blob than {blob.sha256}")


def _pieces_of_blob(role: str, blob: Blob | Delta, chunk_bytes: int, blobs: Blobs) -> list[Piece]:
    for name, what in ((blob.sha256, f"the blob {role}"), (blob.chunks, f"the chunk list of {role}")):
        if not blobs.has(name):
            raise BundleError(f"{what} ({name}) was not sent")
    size = blobs.path(blob.sha256).stat().st_size
    if size != blob.length:
        raise BundleError(f"{role} has {size} bytes, bundle.json says {blob.length}")
    try:
        digests = parse_list(blobs.read(blob.chunks))
    except ValueError as error:
        raise BundleError(f"{role}: {error}") from error
    starts = range(0, size, chunk_bytes)
    if len(starts) != len(digests):
        raise BundleError(f"{role} has {len(starts)} chunks, its list names {len(digests)}")
    pieces = [Piece(blob.chunks, blob.chunks, 0, len(digests) * 32)]
    for start, digest in zip(starts, digests, strict=True):
        length = min(chunk_bytes, size - start)
        if canonical.digest(blobs.read(blob.sha256, start, length)) != digest:
            raise BundleError(f"the chunk at {start} of {role} is not what its list says")
        pieces.append(Piece(digest, blob.sha256, start, length))
    return pieces
