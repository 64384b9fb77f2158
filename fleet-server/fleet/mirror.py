"""A repository as a folder: what a web server offers to devices as a mirror, and what a stick carries to them.

    meta/<file>      signed metadata, and meta/index with their names
    chunk/<sha256>   what travels by digest and is no piece of a blob: bundle.json, director.json, chunk lists
    blob/<sha256>    whole blobs and deltas, read by offset

Nothing is signed here, and nothing on it has to be trusted: devices check it like what comes over MQTT.
"""

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet import durable
from littoral.errors import ConflictError, DigestError
from littoral.wire.messages import encode_names, parse_names

READ_BYTES = 1 << 20
TIMESTAMP = "timestamp.json"
INDEX = "index"
FOLDERS = {"meta", "chunk", "blob"}
_DIGEST = re.compile(r"[0-9a-f]{64}")
_METADATA = re.compile(r"[0-9]+\.[a-z0-9-]+\.json")


@dataclass(frozen=True, slots=True)
class Contents:
    """What a repository folder holds. metadata: files by name. small: bundle.json of its releases, and director.json,
    by digest. chunk_lists, blobs: digests, deltas among the blobs."""

    metadata: Mapping[str, bytes]
    small: Mapping[str, bytes]
    chunk_lists: Collection[str]
    blobs: Collection[str]

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Contents":
        """From the server's answer (`views.folder_view`)."""
        return cls(
            metadata={name: text.encode() for name, text in value["metadata"].items()},
            small={digest: text.encode() for digest, text in value["small"].items()},
            chunk_lists=value["chunk_lists"],
            blobs=value["blobs"],
        )


def check_folder(folder: Path) -> None:
    """Raises ConflictError for a folder that holds anything else than a repository: what it does not list is removed
    there."""
    if not folder.exists():
        return
    if not folder.is_dir() or {each.name for each in folder.iterdir()} - FOLDERS:
        raise ConflictError(f"{folder} holds something else", remedy="Choose an absent or empty folder.")


def write(folder: Path, contents: Contents, read: Callable[[str], Iterable[bytes]]) -> int:
    """Brings `folder` to hold these and nothing else of its kind; gives the bytes written.

    `read` gives a blob or chunk list in parts, by digest; it is asked only for what is not there and whole. Whatever
    timestamp.json leads to is there before it. Metadata that the folder listed until now stay until the next time,
    for whoever is reading them. Raises DigestError for a blob that is not its name, OSError, and what `read` raises;
    what was listed before is whole then.
    """
    blobs, chunks, meta = folder / "blob", folder / "chunk", folder / "meta"
    for each in (blobs, chunks, meta):
        durable.make_folder(each)
    written = sum(_copy(blobs / digest, read) for digest in sorted(contents.blobs))
    written += sum(_copy(chunks / digest, read) for digest in sorted(contents.chunk_lists))
    written += sum(_put(chunks / digest, data) for digest, data in contents.small.items())
    before = _listed(meta / INDEX)
    files = dict(contents.metadata)
    last = {INDEX: encode_names(sorted(files)), TIMESTAMP: files.pop(TIMESTAMP)}
    written += sum(_put(meta / name, data) for name, data in (files | last).items())
    _remove(blobs, contents.blobs)
    _remove(chunks, {*contents.chunk_lists, *contents.small})
    _remove(meta, {*before, *files, *last})
    return written


def _copy(path: Path, read: Callable[[str], Iterable[bytes]]) -> int:
    """Bytes written: none where the file is there and whole."""
    if path.is_file() and _digest_of(path) == path.name:
        return 0
    new, found, size = path.with_name(f".{path.name}.new"), hashlib.sha256(), 0
    with new.open("wb") as file:
        for part in read(path.name):
            size += file.write(part)
            found.update(part)
        file.flush()
        os.fsync(file.fileno())
    if found.hexdigest() != path.name:
        new.unlink()
        raise DigestError(path.name, found.hexdigest())
    new.replace(path)
    durable.sync_folder(path.parent)
    return size


def _put(path: Path, data: bytes) -> int:
    if path.is_file() and path.read_bytes() == data:
        return 0
    durable.write_file(path, data)
    return len(data)


def _digest_of(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(READ_BYTES):
            found.update(part)
    return found.hexdigest()


def _listed(index: Path) -> set[str]:
    """The metadata files that were listed until now; none where the index is not there, or spoilt."""
    try:
        return set(parse_names(index.read_bytes()))
    except (OSError, ValueError):
        return set()


def _remove(folder: Path, wanted: Collection[str]) -> None:
    """Removes what is of the repository's own kind and not wanted: anything else in there is somebody's."""
    for path in folder.iterdir():
        ours = _DIGEST.fullmatch(path.name) or _METADATA.fullmatch(path.name) or path.name.endswith(".new")
        if ours and path.name not in wanted:
            path.unlink()
