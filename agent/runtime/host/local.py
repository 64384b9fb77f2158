"""One file of this device's own, served as if it were a release: no slot record, no signature, stage `local`.

What is served this way is for trying a model out; every answer says so.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.config import Config, Runtime
from agent.runtime.release import Release, parse_labels
from agent.slots import Slot, SlotRecord
from littoral import canonical
from littoral.bundle import card as cards
from littoral.bundle.manifest import Blob, Lineage, Manifest
from littoral.errors import ConfigError
from littoral.names import check_name


class LocalShelf:
    """A shelf (shelf.py) with one model, made of links in `folder` to where the files lie."""

    def __init__(self, folder: Path, release: Release) -> None:
        self.folder = folder
        self._release = release

    @property
    def name(self) -> str:
        return self._release.manifest.model

    def models(self) -> list[str]:
        return [self.name]

    def record(self, model: str) -> SlotRecord | None:
        manifest = self._release.manifest
        slot = Slot(manifest.release, self._release.bundle, manifest.version)
        return SlotRecord(model, slot, None, "a", "local") if model == self.name else None

    def release(self, bundle: str) -> Release:
        return self._release

    def loaded(self, bundle: str) -> None:
        """Nothing is remembered: whoever tries a file out may change it."""


@contextmanager
def shelf(file: Path, labels: Path | None, card: Path | None, name: str) -> Iterator[LocalShelf]:
    """Raises ConfigError for a file that cannot be read, BadNameError for a name that no model can have, CardError and
    ManifestError for a card and labels that make no sense.
    """
    files = {"model": file, "labels": labels, "card": card}
    with tempfile.TemporaryDirectory(prefix="littoral-") as made:
        folder = Path(made)
        blobs = {}
        for role, path in files.items():
            if path is None:
                continue
            try:
                data = path.read_bytes()
            except OSError as error:
                raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
            if role == "card":
                cards.parse(data.decode(errors="replace"))
            elif role == "labels":
                parse_labels(data)
            blobs[role] = Blob(canonical.digest(data), len(data), "")
            (folder / role).symlink_to(path.absolute())
        manifest = Manifest(
            model=check_name(name, "model") if name else _name_of(file),
            release=0,
            version=file.name,
            floor=0,
            lineage=Lineage.OTHER,
            blobs=blobs,
            chunk_bytes=1,
        )
        yield LocalShelf(folder, Release(canonical.digest(manifest.encode()), folder, manifest))


def settings(shelf: LocalShelf, socket: Path | None, engine: str) -> Config:
    """All defaults. The control socket lies where nobody looks for it, as no agent is to come."""
    return Config(
        state=shelf.folder,
        query_socket=(socket or _socket()).absolute(),
        control_socket=shelf.folder / "control.sock",
        runtime=Runtime(engine=engine, socket_mode="0600"),
    )


def hint(shelf: LocalShelf, config: Config) -> str:
    """What to type next."""
    inputs = shelf.release("").card().inputs
    sees = any(given.get("kind") == "image" for given in inputs)
    command = f"detect {shelf.name} IMAGE" if sees else f"infer {shelf.name} --input FILE"
    return (
        f"{shelf.name}, which nobody signed, is served until Ctrl-C. In another terminal:\n"
        f"  export LITTORAL_SOCKET={config.query_socket}\n"
        f"  littoral {command}"
    )


def _socket() -> Path:
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(folder) / "littoral.sock" if folder else Path(f"/tmp/littoral-{os.getuid()}.sock")


def _name_of(file: Path) -> str:
    """A model's name made of a file's: person_detect.v2.tflite is person-detect-v2."""
    return re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-")[:63].rstrip("-") or "model"
