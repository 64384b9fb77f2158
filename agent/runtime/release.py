"""One release as it lies on this device: releases/<bundle>/ with bundle.json and its blobs under their roles."""

from dataclasses import dataclass
from pathlib import Path

from agent import slots
from littoral import canonical
from littoral.bundle import card, manifest
from littoral.errors import BundleError, DigestError, ManifestError


@dataclass(frozen=True, slots=True)
class Release:
    """A release whose bundle.json was read; blobs are read on demand."""

    bundle: str
    folder: Path
    manifest: manifest.Manifest

    def blob(self, role: str) -> bytes:
        """The blob's bytes, empty where the release has none. Raises BundleError, or DigestError for other bytes."""
        named = self.manifest.blobs.get(role)
        if named is None:
            return b""
        try:
            data = (self.folder / role).read_bytes()
        except OSError as error:
            raise BundleError(f"{role} of release {self.manifest.release} cannot be read: {error}") from error
        if (got := canonical.digest(data)) != named.sha256:
            raise DigestError(named.sha256, got)
        return data

    def labels(self) -> tuple[str, ...]:
        return parse_labels(self.blob("labels"))

    def card(self) -> card.Card:
        """Raises CardError."""
        return card.parse(self.blob("card").decode(errors="replace"))


def read(state: Path, bundle: str) -> Release:
    """Raises BundleError where there is none, ManifestError where it makes no sense."""
    folder = slots.release_folder(state, bundle)
    try:
        data = (folder / "bundle.json").read_bytes()
    except OSError as error:
        raise BundleError(f"release {bundle[:12]} is not on this device: {error}") from error
    if (got := canonical.digest(data)) != bundle:
        raise DigestError(bundle, got)
    return Release(bundle, folder, manifest.parse(data))


def parse_labels(data: bytes) -> tuple[str, ...]:
    """Labels: UTF-8, one a line. Raises ManifestError."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ManifestError("the labels are not UTF-8") from error
    lines = [line.rstrip("\r") for line in text.split("\n")]
    return tuple(lines[:-1] if lines[-1] == "" else lines)
