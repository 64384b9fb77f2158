"""Events and metrics on their way to the fleet server, kept over restarts until the broker has confirmed them.

A bounded queue in SQLite. It reports and never drives: a full, broken or unwritable disk loses reports, which are
counted, and raises nothing. The receiver knows each by its id, so that one sent twice counts once.
"""

import _sqlite3 as sqlite3  # without what `sqlite3` adds for dates, half a megabyte
import contextlib
from pathlib import Path
from typing import Protocol

from agent.link.events import Delivered, Disconnected, Event, Refused
from littoral.wire.messages import MAX_MESSAGE_BYTES
from littoral.wire.topics import Topics

KINDS = ("event", "metrics")  # the last part of their topics
WINDOW = 8  # sent and not yet confirmed
REFUSED_PAUSE_S = 60.0  # after the broker refused one, which is about its rules and not about the message

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    payload BLOB NOT NULL,
    UNIQUE (kind, id)
)
"""


class Publisher(Protocol):
    """What the outbox needs of the link."""

    @property
    def connected(self) -> bool: ...

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> int | None: ...


class Outbox:
    """`limit` holds for each kind by itself: a month of metrics does not push out the events of that month.

    Attributes:
        dropped: reports lost since this process began, by want of room or by the disk.
        problem: why the disk cannot be used; "" when it can.
    """

    def __init__(self, path: Path, topics: Topics, device: str, limit: int) -> None:
        self.dropped = 0
        self.problem = ""
        self._path = path
        self._topics = {kind: topics.up(device, kind) for kind in KINDS}
        self._limit = limit
        self._counts = dict.fromkeys(KINDS, 0)
        self._in_flight: dict[int, tuple[int, str]] = {}  # mid: (seq, kind)
        self._sent_up_to = 0  # seq of the newest that was sent over this connection
        self._more = True  # whether rows after _sent_up_to may exist
        self._paused_until = 0.0
        self._database = self._open()

    def __len__(self) -> int:
        """Reports that are not confirmed yet."""
        return sum(self._counts.values())

    def add(self, kind: str, id: str, payload: bytes) -> None:
        """Keeps a report until it is confirmed; one of the same kind and id is kept once. Raises ValueError for a
        kind that is not in KINDS, and nothing else."""
        if kind not in KINDS:
            raise ValueError(f"no kind of report: {kind!r}")
        if len(payload) > MAX_MESSAGE_BYTES:
            self.dropped += 1
            return
        try:
            with self._database:
                row = (kind, id, payload)
                cursor = self._database.execute(
                    "INSERT OR IGNORE INTO outbox (kind, id, payload) VALUES (?, ?, ?)", row
                )
                added = max(cursor.rowcount, 0)
                excess = self._counts[kind] + added - self._limit
                if excess > 0:
                    self._drop_oldest(kind, excess)
        except sqlite3.Error as error:
            self.dropped += 1
            self._fail(error)
            return
        if self._on_disk:
            self.problem = ""
        self._counts[kind] = self._counts[kind] + added - max(excess, 0)
        self.dropped += max(excess, 0)
        self._more = True

    def heard(self, event: Event) -> None:
        """Takes note of what the link said: confirmed reports are deleted, a lost connection starts over."""
        if isinstance(event, Delivered):
            found = self._in_flight.pop(event.mid, None)
            if found is not None:
                self._delete(*found)
        elif isinstance(event, Refused):
            if self._in_flight.pop(event.mid, None) is not None:
                self._start_over()
                self._paused_until = float("inf")  # until pump() says what time it is
        elif isinstance(event, Disconnected):
            self._start_over()

    def pump(self, link: Publisher, now_s: float) -> None:
        """Sends what may be sent now, oldest first."""
        if not link.connected or not self._more:
            return
        if self._paused_until == float("inf"):
            self._paused_until = now_s + REFUSED_PAUSE_S
        if now_s < self._paused_until:
            return
        room = WINDOW - len(self._in_flight)
        rows = self._next_rows(room) if room > 0 else []
        for seq, kind, payload in rows:
            mid = link.publish(self._topics[kind], payload)
            if mid is None:
                return
            self._in_flight[mid] = (seq, kind)
            self._sent_up_to = seq
        self._more = room <= 0 or len(rows) == room

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._database.close()

    def _start_over(self) -> None:
        self._in_flight.clear()
        self._sent_up_to = 0
        self._more = True
        self._paused_until = 0.0

    def _next_rows(self, count: int) -> list[tuple[int, str, bytes]]:
        query = "SELECT seq, kind, payload FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?"
        try:
            return self._database.execute(query, (self._sent_up_to, count)).fetchall()
        except sqlite3.Error as error:
            self._fail(error)
            return []

    def _delete(self, seq: int, kind: str) -> None:
        try:
            with self._database:
                deleted = self._database.execute("DELETE FROM outbox WHERE seq = ?", (seq,)).rowcount
        except sqlite3.Error as error:
            self._fail(error)  # it stays, and is sent once more on the next connection
            return
        self._counts[kind] -= max(deleted, 0)

    def _drop_oldest(self, kind: str, count: int) -> None:
        oldest = "SELECT seq FROM outbox WHERE kind = ? ORDER BY seq LIMIT ?"
        self._database.execute(f"DELETE FROM outbox WHERE seq IN ({oldest})", (kind, count))

    def _fail(self, error: sqlite3.Error) -> None:
        """A disk that is full may have room later; a file that is damaged is given up with what it held."""
        self.problem = f"{self._path}: {error}"
        if isinstance(error, sqlite3.OperationalError):  # full, locked, read-only, input/output error
            return
        self.dropped += len(self)
        self.close()
        self._remove()
        self._start_over()
        self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        """The queue on disk; anew where the file is damaged; in memory where the disk takes none."""
        for attempt in (1, 2):
            try:
                self._on_disk = True
                return self._connect(str(self._path))
            except sqlite3.Error as error:
                self.problem = f"{self._path}: {error}"
                if attempt == 1 and not isinstance(error, sqlite3.OperationalError):
                    self._remove()
        self._on_disk = False
        return self._connect(":memory:")

    def _connect(self, name: str) -> sqlite3.Connection:
        database = sqlite3.connect(name, timeout=1.0)
        try:
            # A power cut may take the last reports and never the file; an addition costs no sync.
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            with database:
                database.execute(_SCHEMA)
            counted = dict(database.execute("SELECT kind, count(*) FROM outbox GROUP BY kind").fetchall())
        except sqlite3.Error:
            database.close()
            raise
        self._counts = {kind: int(counted.get(kind, 0)) for kind in KINDS}
        return database

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                self._path.with_name(self._path.name + suffix).unlink()
