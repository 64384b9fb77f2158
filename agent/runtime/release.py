"""One release as it lies on this device: releases/<bundle>/ with bundle.json and its blobs under their roles."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from agent import slots
from littoral import canonical
from littoral.bundle import card, manifest
from littoral.errors import BundleError, DigestError, ManifestError

Stamp = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Release:
    """A release whose bundle.json was read; blobs are read on demand.

    known: by role, the files whose bytes were compared with their digest before, which takes longer than reading them.
    """

    bundle: str
    folder: Path
    manifest: manifest.Manifest
    known: Mapping[str, Stamp] = field(default_factory=dict)

    def blob(self, role: str) -> bytes:
        """The blob's bytes, empty where the release has none. Raises BundleError, or DigestError for other bytes."""
        named = self.manifest.blobs.get(role)
        if named is None:
            return b""
        try:
            with (self.folder / role).open("rb") as file:
                stamp = stamp_of(os.fstat(file.fileno()))
                data = file.read()
        except OSError as error:
            raise BundleError(f"{role} of release {self.manifest.release} cannot be read: {error}") from error
        if stamp != self.known.get(role) and (got := canonical.digest(data)) != named.sha256:
            raise DigestError(named.sha256, got)
        return data

    def stamps(self) -> dict[str, Stamp]:
        """Of the files that are there now."""
        found = {}
        for role in self.manifest.blobs:
            with suppress(OSError):  # reading it will say so
                found[role] = stamp_of((self.folder / role).stat())
        return found

    def labels(self) -> tuple[str, ...]:
        return parse_labels(self.blob("labels"))

    def card(self) -> card.Card:
        """Raises CardError."""
        return card.parse(self.blob("card").decode(errors="replace"))


def stamp_of(status: os.stat_result) -> Stamp:
    """What changes with any writing to a file, or its replacement."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


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
