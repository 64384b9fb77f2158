"""What the fleet server remembers: one SQLite file and a folder of blobs.

Each module holds one noun. They share one connection behind one lock, so every call may come from any thread, and
calls within `Store.atomic()` succeed or fail together. Nothing here decides anything.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.store.access import Access, Token
from fleet.store.blobs import Blobs
from fleet.store.devices import Device, Devices
from fleet.store.judgements import Judgement, Judgements
from fleet.store.published import Published
from fleet.store.releases import Piece, Releases
from fleet.store.reports import Report, Reports
from fleet.store.rollouts import Rollouts, StoredDesired
from fleet.store.session import Session
from fleet.store.settings import Settings
from littoral.errors import ConfigError

__all__ = [
    "Access",
    "Blobs",
    "Device",
    "Devices",
    "Judgement",
    "Judgements",
    "Piece",
    "Published",
    "Releases",
    "Report",
    "Reports",
    "Rollouts",
    "Settings",
    "Store",
    "StoredDesired",
    "Token",
    "create",
]

DATABASE = "fleet.db"


def create(data: Path) -> str:
    """Makes the database in the folder `data`. Returns the first administrator's API token, which is kept only
    as a digest."""
    data.mkdir(parents=True, exist_ok=True)
    session = Session(data / DATABASE)
    try:
        return Access(session).add_admin()
    finally:
        session.close()


class Store:
    """The open store of one fleet server."""

    def __init__(self, data: Path) -> None:
        """Raises ConfigError where `data` is no fleet's folder, sqlite3.Error where its database is damaged."""
        if not (data / DATABASE).is_file():
            raise ConfigError(f"{data} holds no fleet", remedy="`littoral-fleet init DATA` makes one.")
        self._session = Session(data / DATABASE)
        self.settings = Settings(self._session)
        self.access = Access(self._session)
        self.devices = Devices(self._session)
        self.releases = Releases(self._session)
        self.published = Published(self._session)
        self.rollouts = Rollouts(self._session)
        self.reports = Reports(self._session)
        self.judgements = Judgements(self._session)
        self.blobs = Blobs(data / "blobs")

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """One transaction; other threads wait."""
        with self._session.atomic():
            yield

    def close(self) -> None:
        self._session.close()
