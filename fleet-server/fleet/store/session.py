"""The one connection to the database, its lock and its tables."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlite_utils import Database

TABLES: dict[str, tuple[dict[str, type], tuple[str, ...]]] = {
    "settings": ({"key": str, "value": str}, ("key",)),
    "admins": ({"token": str, "cookie": str}, ("token",)),
    "tokens": ({"token": str, "expires": int, "used": int, "device": str, "key": str}, ("token",)),
    "devices": (
        {
            "id": str,
            "tags": str,
            "architecture": str,
            "enrolled": int,
            "online": int,
            "seen": int,
            "agent": str,
            "generation": int,
            "reported": str,
        },
        ("id",),
    ),
    "releases": (
        {"model": str, "release": int, "bundle": str, "manifest": str, "published": int},
        ("model", "release"),
    ),
    "chunks": ({"digest": str, "bundle": str, "blob": str, "start": int, "length": int}, ("digest", "bundle")),
    "published": ({"digest": str, "cleared": int}, ("digest",)),
    "rollouts": (
        {
            "id": int,
            "model": str,
            "release": int,
            "bundle": str,
            "attempt": int,
            "selector": str,
            "state": str,
            "created": int,
            "ended": int,
            "reason": str,
            "window": str,
            "urgent": int,
            "gate": str,
            "shadow_s": int,
        },
        ("id",),
    ),
    "standings": ({"rollout": int, "device": str, "outcome": str, "standing": str}, ("rollout", "device")),
    "desired": ({"device": str, "generation": int, "issued": str, "models": str}, ("device",)),
    "events": (
        {
            "device": str,
            "id": str,
            "at": int,
            "received": int,
            "kind": str,
            "model": str,
            "release": int,
            "text": str,
            "facts": str,
        },
        ("device", "id"),
    ),
    "judgements": (
        {"device": str, "model": str, "release": int, "at": int, "received": int, "evidence": str},
        ("device", "model"),
    ),
    "metrics": (
        {"device": str, "boot": str, "seq": int, "at": int, "received": int, "window_s": int, "models": str},
        ("device", "boot", "seq"),
    ),
}
INDEXES = (
    ("events", "received"),
    ("judgements", "received"),
    ("metrics", "received"),
    ("standings", "device"),
    ("standings", "outcome"),
    ("chunks", "bundle"),
    ("chunks", "blob"),
)


class Session:
    """One SQLite connection for all threads, to a database that has all tables."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error."""
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db = Database(connection)
        self._lock = threading.RLock()
        try:
            self._db.enable_wal()
            self._db.execute("PRAGMA synchronous=FULL")  # a used token must not come back after a power cut
            self._create_tables()
        except BaseException:
            self._db.close()
            raise

    def _create_tables(self) -> None:
        with self.atomic() as db:
            for name, (columns, key) in TABLES.items():
                made = db.table(name).create(columns, pk=key if len(key) > 1 else key[0], if_not_exists=True)
                there = made.columns_dict
                for column in (each for each in columns if each not in there):  # the database of an older version
                    made.add_column(column, columns[column], not_null_default=columns[column]())
            for table, column in INDEXES:
                db.table(table).create_index([column], if_not_exists=True)

    @contextmanager
    def atomic(self) -> Iterator[Database]:
        """One transaction under the lock; nested ones join the outermost."""
        with self._lock, self._db.atomic():
            yield self._db

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        with self._lock:
            return list(self._db.query(sql, list(parameters)))

    def row(self, sql: str, *parameters: Any) -> dict[str, Any] | None:
        found = self.rows(sql, *parameters)
        return found[0] if found else None

    def close(self) -> None:
        with self._lock:
            self._db.close()
