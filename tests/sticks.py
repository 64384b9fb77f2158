"""A folder as `littoral-fleet export` writes it, of a fleet of tests/repository.py, by the real code."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from fleet import exporting, mirror, views
from littoral.bundle import chunks
from littoral.canonical import digest
from tests.repository import DAY, Fleet, model_bytes


def write(fleet: Fleet, folder: Path, at: datetime, days: int = exporting.DAYS, *models: str) -> Path:
    """What the fleet server gives out at the time `at`: the newest release of `models`, of all where none is named."""
    chosen = exporting.choose(fleet.repository.releases(), models, None)
    held: dict[str, bytes] = {}
    for one in chosen:
        data = model_bytes(one.model, one.release)
        listed = chunks.list_of(chunks.split(data, one.chunk_bytes))
        held |= {digest(data): data, digest(listed): listed}

    def read(name: str) -> Iterator[bytes]:
        yield held[name]

    metadata = fleet.repository.export(days * DAY, at)
    blobs = [blob for one in chosen for blob in one.blobs.values()]
    view = views.folder_view(metadata, fleet.repository.small_targets(), chosen, blobs)
    mirror.write(folder, mirror.Contents.from_json(view), read)
    return folder
