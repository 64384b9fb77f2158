"""A fleet's signed repository for tests, made by the real code, and a folder that answers for it.

`FolderAsker` implements the device's Asker over files, so that a test may change any byte on the way.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fleet import metadata, repo, rotation
from fleet.keys import OPERATOR_ROLES, OperatorKeys
from fleet.repo import Repository
from littoral.bundle import chunks, keys
from littoral.bundle.manifest import Blob, Lineage, Manifest
from littoral.canonical import digest
from littoral.errors import NoAnswerError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)  # later than the build, so that the tests' time is what is judged by
DAY = timedelta(days=1)
CHUNK_BYTES = 1000


def seconds(at: datetime) -> int:
    return int(at.timestamp())


def operator_keys() -> OperatorKeys:
    return OperatorKeys(keys.generate(), keys.generate())


def model_bytes(model: str, release: int) -> bytes:
    """Stands for a model: nothing here loads it."""
    return f"{model} {release} ".encode() * 300


def manifest(model: str, release: int, **changes: Any) -> Manifest:
    data = model_bytes(model, release)
    listed = chunks.list_of(chunks.split(data, CHUNK_BYTES))
    fields: dict[str, Any] = {
        "model": model,
        "release": release,
        "version": f"v{release}",
        "floor": max(release - 1, 0),
        "lineage": Lineage.RETRAINED,
        "blobs": {"model": Blob(digest(data), len(data), digest(listed))},
        "chunk_bytes": CHUNK_BYTES,
        "interface": {"shapes": "s", "labels": "l"},
        **changes,
    }
    return Manifest(**fields)


class Fleet:
    """An operator and a fleet server with its repository in `data`, at the time `now`."""

    def __init__(self, data: Path, now: datetime = NOW) -> None:
        self.data = data
        self.now = now
        self.operator = operator_keys()
        repo.create(data, self.operator, now)
        self.repository = Repository(data)

    def sign(self, made: Manifest) -> dict[str, bytes]:
        """The operator's part of publishing."""
        return metadata.sign_release(self.repository.files(), made.encode(), self.operator, self.now)

    def publish(self, model: str, release: int, **changes: Any) -> str:
        """A release, listed. Gives the digest of its bundle.json."""
        made = manifest(model, release, **changes)
        self.repository.accept(made.encode(), self.sign(made), self.now)
        return digest(made.encode())

    def write(self, folder: Path) -> None:
        """What the server would publish: `meta/<file>` and `chunk/<sha256>`, the first chunks of models left out."""
        small = dict(self.repository.small_targets())
        for release in self.repository.releases():
            data = model_bytes(release.model, release.release)
            listed = chunks.list_of(chunks.split(data, release.chunk_bytes))
            small[digest(listed)] = listed
        write_files(folder / "meta", self.repository.files())
        write_files(folder / "chunk", small)


def rotate(fleet: Fleet, *roles: str) -> None:
    """What `littoral-fleet keys rotate` does between the two sides: new keys for `roles`, and a new root."""
    following = replace(fleet.operator, **{role: keys.generate() for role in roles if role in OPERATOR_ROLES})
    online = fleet.repository.next_keys([role for role in roles if role not in OPERATOR_ROLES])
    signed = rotation.sign(fleet.repository.files(), fleet.operator, following, online, fleet.now)
    fleet.repository.rotate(signed, fleet.now)
    fleet.operator = following


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


@dataclass
class FolderAsker:
    """Answers from files: what is no file is absent; what is in `silent` is not answered."""

    folder: Path
    silent: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def get(self, name: str, max_bytes: int) -> bytes | None:
        self.asked.append(name)
        if name in self.silent:
            raise NoAnswerError(f"nobody answered for {name}")
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
