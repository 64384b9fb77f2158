"""Releases on disk: from verified blobs to a folder that appears as a whole, and the removal of what nothing names.

`blobs/<sha256>` once over all models; `releases/<bundle>/` holds bundle.json and hard links named by role. A release
appears only by rename, after every file and folder was synced, and goes by rename before any file of it does.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from agent import fsio
from agent.slots import SlotRecord, release_folder
from agent.updater import fetch
from littoral.bundle import chunks, manifest
from littoral.bundle.manifest import Blob, Manifest
from littoral.errors import DigestError, ManifestError


def missing_blobs(state: Path, wanted: Manifest) -> dict[str, Blob]:
    """Blobs of `wanted` by role that this device does not hold yet."""
    return {role: b for role, b in wanted.blobs.items() if not fsio.exists(state / "blobs" / b.sha256)}


def drop_damaged(state: Path, wanted: Manifest, bundle: str) -> None:
    """Removes what this device holds of a release and the disk has spoiled, so that it is fetched again.

    A blob under another content than its name goes; so does a staged release that is not whole: its files need not be
    those under blobs/, which may have come again since. Raises OSError.
    """
    for blob in wanted.blobs.values():
        path = state / "blobs" / blob.sha256
        if fsio.exists(path) and not _is(path, blob):
            fsio.remove(path)
    folder = release_folder(state, bundle)
    if fsio.exists(folder) and not all(_is(folder / role, blob) for role, blob in wanted.blobs.items()):
        remove_release(state, bundle)


def is_whole(state: Path, bundle: str) -> bool:
    """Whether every file of a release is here, and is what its manifest says. Reads them all. Raises OSError."""
    folder = release_folder(state, bundle)
    try:
        found = manifest_of(state, bundle)
    except (FileNotFoundError, ManifestError):
        return False
    return all(_is(folder / role, blob) for role, blob in found.blobs.items())


def is_staged(state: Path, bundle: str) -> bool:
    return fsio.exists(release_folder(state, bundle) / "bundle.json")


def stage(state: Path, encoded: bytes, wanted: Manifest, bundle: str, lists: dict[str, tuple[str, ...]]) -> None:
    """Makes releases/<bundle>/ of whole partial files and blobs held already. `lists` are the chunks by role.

    Raises ManifestError where a blob's chunks are all right and the blob is not: the signed manifest contradicts
    itself. Raises DigestError where the disk has spoiled a chunk since it came: then the rest of the file is good
    still. Raises OSError.
    """
    if is_staged(state, bundle):
        return
    for folder in ("blobs", "releases"):
        fsio.make_folder(state / folder)
    for role, blob in missing_blobs(state, wanted).items():
        partial = state / "partial" / blob.sha256
        if not fsio.exists(partial):
            continue  # two roles with the same bytes: the first one moved it
        if not fetch.finish(partial, blob, state / "blobs" / blob.sha256):
            if tuple(map(chunks.digest_of, fsio.pieces(partial, wanted.chunk_bytes))) != lists[role]:
                raise DigestError(blob.sha256, fsio.digest_of(partial))
            fsio.remove(partial)
            raise ManifestError(f"the chunks of blob {blob.sha256} make another blob")
    building = state / "releases" / f".{bundle}.new"
    fsio.remove(building)
    fsio.make_folder(building)
    fsio.write_new(building / "bundle.json", encoded)
    for role, blob in wanted.blobs.items():
        fsio.link(state / "blobs" / blob.sha256, building / role)
    fsio.sync_folder(building)
    try:
        fsio.rename(building, release_folder(state, bundle))
    except OSError:
        with contextlib.suppress(OSError):
            remove_release(state, bundle)  # its name may not last, and what comes next would rest on it
        raise


def manifest_of(state: Path, bundle: str) -> Manifest:
    """Manifest of a staged release. Raises ManifestError or OSError."""
    return manifest.parse(fsio.read(release_folder(state, bundle) / "bundle.json"))


def blobs_of(state: Path, record: SlotRecord) -> dict[str, tuple[Path, ...]]:
    """Blobs by role of the releases in a model's slots; a release that cannot be read has none."""
    found: dict[str, tuple[Path, ...]] = {}
    for slot in (record.serves, record.other):
        if slot is None:
            continue
        with contextlib.suppress(ManifestError, OSError):
            for role in manifest_of(state, slot.bundle).blobs:
                found[role] = (*found.get(role, ()), release_folder(state, slot.bundle) / role)
    return found


def named(records: Iterable[SlotRecord]) -> set[str]:
    """Bundles that a slot or an update of these records names."""
    found: set[str] = set()
    for record in records:
        found |= {each.bundle for each in (record.a, record.b, record.update) if each is not None}
    return found


def collect(state: Path, records: Iterable[SlotRecord]) -> list[str]:
    """Removes releases that no record names, blobs that no release links, and partial files no update wants.

    Gives the bundles removed. Call it only with every record of the device as it is on disk.
    """
    records = list(records)
    kept, removed = named(records), []
    for name in fsio.names(state / "releases"):
        if name not in kept:
            remove_release(state, name)
            removed.append(name)
    if any(record.update is not None for record in records):
        return removed  # the blobs of a release that is being staged have no link yet
    for blob in fsio.names(state / "blobs"):
        if fsio.links(state / "blobs" / blob) == 1:
            fsio.remove(state / "blobs" / blob)
    for partial in fsio.names(state / "partial"):
        fsio.remove(state / "partial" / partial)
    return removed


def _is(path: Path, blob: Blob) -> bool:
    return fsio.exists(path) and fsio.digest_of(path) == blob.sha256


def remove_release(state: Path, name: str) -> None:
    """Removes releases/<name>, which is there whole or not at all meanwhile; a leftover of staging or of this too."""
    folder = release_folder(state, name)
    if not name.startswith("."):
        going = folder.with_name(f".{name}.old")
        fsio.remove(going)
        fsio.rename(folder, going)
        folder = going
    fsio.remove(folder)
