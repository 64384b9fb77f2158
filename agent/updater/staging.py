"""Releases on disk: from verified blobs to a folder that appears as a whole, and the removal of what nothing names.

`blobs/<sha256>` once over all models; `releases/<bundle>/` holds bundle.json and hard links named by role. A release
appears only by rename, after every file and folder was synced.
"""

from collections.abc import Iterable
from pathlib import Path

from agent import fsio
from agent.slots import SlotRecord, release_folder
from agent.updater import fetch
from littoral.bundle import manifest
from littoral.bundle.manifest import Blob, Manifest
from littoral.errors import ManifestError


def missing_blobs(state: Path, wanted: Manifest) -> dict[str, Blob]:
    """Blobs of `wanted` by role that this device does not hold yet."""
    return {role: b for role, b in wanted.blobs.items() if not fsio.exists(state / "blobs" / b.sha256)}


def drop_damaged(state: Path, wanted: Manifest, bundle: str) -> None:
    """Removes what this device holds of a release and the disk has spoiled, so that it is fetched again.

    A blob under another content than its name goes; so does a staged release that is not whole. Raises OSError.
    """
    damaged = False
    for blob in wanted.blobs.values():
        path = state / "blobs" / blob.sha256
        if fsio.exists(path) and fsio.digest_of(path) != blob.sha256:
            fsio.remove(path)
            damaged = True
    folder = release_folder(state, bundle)
    if fsio.exists(folder) and (damaged or not all(fsio.exists(folder / role) for role in wanted.blobs)):
        fsio.remove(folder)


def is_staged(state: Path, bundle: str) -> bool:
    return fsio.exists(release_folder(state, bundle) / "bundle.json")


def stage(state: Path, encoded: bytes, wanted: Manifest, bundle: str) -> None:
    """Makes releases/<bundle>/ of whole partial files and blobs held already.

    Raises ManifestError where a blob's chunks are all right and the blob is not: the signed manifest contradicts
    itself. Raises OSError.
    """
    if is_staged(state, bundle):
        return
    for folder in ("blobs", "releases"):
        fsio.make_folder(state / folder)
    for blob in missing_blobs(state, wanted).values():
        partial = state / "partial" / blob.sha256
        if not fsio.exists(partial):
            continue  # two roles with the same bytes: the first one moved it
        if not fetch.finish(partial, blob, state / "blobs" / blob.sha256):
            fsio.remove(partial)
            raise ManifestError(f"the chunks of blob {blob.sha256} make another blob")
    building = state / "releases" / f".{bundle}.new"
    fsio.remove(building)
    fsio.make_folder(building)
    fsio.write_new(building / "bundle.json", encoded)
    for role, blob in wanted.blobs.items():
        fsio.link(state / "blobs" / blob.sha256, building / role)
    fsio.sync_folder(building)
    fsio.rename(building, release_folder(state, bundle))


def manifest_of(state: Path, bundle: str) -> Manifest:
    """Manifest of a staged release. Raises ManifestError or OSError."""
    return manifest.parse(fsio.read(release_folder(state, bundle) / "bundle.json"))


def collect(state: Path, records: Iterable[SlotRecord]) -> list[str]:
    """Removes releases that no record names, blobs that no release links, and partial files no update wants.

    Gives the bundles removed. Call it only with every record of the device as it is on disk.
    """
    named: set[str] = set()
    updating = False
    for record in records:
        named |= {slot.bundle for slot in (record.a, record.b) if slot is not None}
        if record.update is not None:
            named.add(record.update.bundle)
            updating = True
    removed = []
    for name in fsio.names(state / "releases"):
        if name not in named:
            fsio.remove(state / "releases" / name)
            removed.append(name)
    if updating:
        return removed  # the blobs of a release that is being staged have no link yet
    for blob in fsio.names(state / "blobs"):
        if fsio.links(state / "blobs" / blob) == 1:
            fsio.remove(state / "blobs" / blob)
    for partial in fsio.names(state / "partial"):
        fsio.remove(state / "partial" / partial)
    return removed
