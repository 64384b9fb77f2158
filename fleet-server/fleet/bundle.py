"""A bundle as a folder on the operator's machine: bundle.json and blobs/<sha256>, the blobs and deltas and their
chunk lists.

Read whole and checked before anything of it is shown or uploaded.
"""

from dataclasses import dataclass
from pathlib import Path

from fleet import modelfile
from fleet.modelfile import ModelFile
from littoral import canonical
from littoral.bundle import chunks, manifest
from littoral.bundle.manifest import Manifest
from littoral.errors import BundleError
from littoral.tensors import Interface


@dataclass(frozen=True, slots=True)
class Bundle:
    """A whole bundle folder: every blob, delta and chunk list is there and is what its name says."""

    folder: Path
    manifest: Manifest
    manifest_bytes: bytes

    @property
    def digest(self) -> str:
        """The bundle's name."""
        return canonical.digest(self.manifest_bytes)

    def blob(self, sha256: str) -> bytes:
        """Raises BundleError."""
        return _read_blob(self.folder, sha256)

    def digests(self) -> list[str]:
        """Every file to upload: chunk lists, blobs and deltas, each once."""
        named = self.manifest.parts.values()
        return list(dict.fromkeys([*(blob.chunks for blob in named), *(blob.sha256 for blob in named)]))


def read(folder: Path) -> Bundle:
    """Raises BundleError for a folder that is not complete, ManifestError for a bundle.json that makes no sense."""
    try:
        data = (folder / "bundle.json").read_bytes()
    except OSError as error:
        raise BundleError(
            f"{folder} is no bundle: {error}", remedy="`littoral-fleet bundle build` makes one."
        ) from error
    bundle = Bundle(folder, manifest.parse(data), data)
    for role, blob in bundle.manifest.parts.items():
        content = bundle.blob(blob.sha256)
        pieces = chunks.split(content, bundle.manifest.chunk_bytes)
        if len(content) != blob.length or bundle.blob(blob.chunks) != chunks.list_of(pieces):
            raise BundleError(f"{role} in {folder} is not cut as bundle.json says", remedy="Build it anew.")
    return bundle


def describe(bundle: Bundle) -> tuple[Interface, ModelFile]:
    """The interface (with its labels) and what the model's file says. Raises NotAModelError, BundleError."""
    model = bundle.blob(bundle.manifest.blobs["model"].sha256)
    listed = bundle.manifest.blobs.get("labels")
    return interface_of(model, bundle.blob(listed.sha256) if listed else None), modelfile.read(model)


def interface_of(model: bytes, labels: bytes | None) -> Interface:
    """What a model takes and gives, with its labels. Raises NotAModelError, BundleError."""
    file = modelfile.read(model)
    return Interface(file.interface.inputs, file.interface.outputs, () if labels is None else parse_labels(labels))


def _read_blob(folder: Path, sha256: str) -> bytes:
    try:
        data = (folder / "blobs" / sha256).read_bytes()
    except OSError as error:
        raise BundleError(f"a blob is missing: {error}", remedy="Build the bundle anew.") from error
    if not chunks.is_named(data, sha256):
        raise BundleError(f"blobs/{sha256} in {folder} is not what its name says", remedy="Build the bundle anew.")
    return data


def parse_labels(data: bytes) -> tuple[str, ...]:
    """Labels: UTF-8, one a line. Raises BundleError for what readers could split in different ways."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BundleError("the labels are not UTF-8") from error
    lines = [line.rstrip() for line in text.removesuffix("\n").split("\n")]
    strange = [index for index, line in enumerate(lines) if len(line.splitlines()) > 1 or "\0" in line]
    if strange:
        raise BundleError(f"label {strange[0]} holds a line break of another kind")
    if not any(lines):
        raise BundleError("the labels are empty")
    return tuple(lines)
