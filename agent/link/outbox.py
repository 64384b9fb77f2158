"""Events and metrics on their way to the fleet server, kept over restarts until the broker has confirmed them.

A bounded queue in SQLite. It reports and never drives: a full, broken or unwritable disk loses reports, which are
counted, and raises nothing. The receiver knows each by its id, so that one sent twice counts once.

What comes all the time is held in memory first, and mostly confirmed before it would have to be written: a window of
metrics each minute, written and deleted, were 60 MB of flash a day.
"""

import _sqlite3 as sqlite3  # without what `sqlite3` adds for dates, half a megabyte
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.link.events import Delivered, Disconnected, Event, Refused
from littoral.wire.messages import MAX_MESSAGE_BYTES
from littoral.wire.topics import Topics

KINDS = ("event", "metrics")  # the last part of their topics
WINDOW = 8  # sent and not yet confirmed
HOLD_S = 900.0  # then what is held is written, all of it at once; a crash loses no more than that
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


@dataclass(frozen=True, slots=True)
class _Held:
    """A report in memory. since_s: on a clock that nobody sets."""

    kind: str
    payload: bytes
    since_s: float


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
        self._held: dict[str, _Held] = {}  # by id
        self._in_flight: dict[int, tuple[int | str, str]] = {}  # mid: (seq, or the id of what is held; kind)
        self._sent_up_to = 0  # seq of the newest that was sent over this connection
        self._more = True  # whether rows after _sent_up_to may exist
        self._paused_until = 0.0
        self._database = self._open()

    def __len__(self) -> int:
        """Reports that are not confirmed yet."""
        return sum(self._counts.values()) + len(self._held)

    def hold(self, kind: str, id: str, payload: bytes, now_s: float) -> None:
        """Keeps a report as add() does, but writes it only when it is not confirmed for long, or at close()."""
        self._held[id] = _Held(kind, payload, now_s)

    def add(self, kind: str, id: str, payload: bytes) -> None:
        """Keeps a report until it is confirmed; one of the same kind and id is kept once. Raises ValueError for a
        kind that is not in KINDS, and nothing else."""
        if kind not in KINDS:
            raise ValueError(f"no kind of report: {kind!r}")
        self._keep([(kind, id, payload)])

    def _keep(self, rows: list[tuple[str, str, bytes]]) -> None:
        """Writes reports in one transaction."""
        fitting = [row for row in rows if len(row[2]) <= MAX_MESSAGE_BYTES]
        self.dropped += len(rows) - len(fitting)
        added, excess = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
        try:
            with self._database:
                for row in fitting:
                    cursor = self._database.execute(
                        "INSERT OR IGNORE INTO outbox (kind, id, payload) VALUES (?, ?, ?)", row
                    )
                    added[row[0]] += max(cursor.rowcount, 0)
                for kind in KINDS:
                    excess[kind] = max(self._counts[kind] + added[kind] - self._limit, 0)
                    if excess[kind]:
                        self._drop_oldest(kind, excess[kind])
        except sqlite3.Error as error:
            self.dropped += len(fitting)
            self._fail(error)
            return
        if fitting and self._on_disk:
            self.problem = ""
        for kind in KINDS:
            self._counts[kind] += added[kind] - excess[kind]
            self.dropped += excess[kind]
        self._more = self._more or bool(fitting)

    def heard(self, event: Event) -> None:
        """Takes note of what the link said: confirmed reports are deleted, a lost connection starts over."""
        if isinstance(event, Delivered):
            found = self._in_flight.pop(event.mid, None)
            if found is None:
                return
            key, kind = found
            if isinstance(key, str):
                self._held.pop(key, None)
            else:
                self._delete(key, kind)
        elif isinstance(event, Refused):
            if self._in_flight.pop(event.mid, None) is not None:
                self._start_over()
                self._paused_until = float("inf")  # until pump() says what time it is
        elif isinstance(event, Disconnected):
            self._start_over()

    def pump(self, link: Publisher, now_s: float) -> None:
        """Sends what may be sent now, the oldest of what is on the disk first."""
        if any(now_s - held.since_s >= HOLD_S for held in self._held.values()):
            self._write_held()
        if not link.connected or not (self._more or self._held):
            return
        if self._paused_until == float("inf"):
            self._paused_until = now_s + REFUSED_PAUSE_S
        if now_s < self._paused_until:
            return
        if not self._more or self._send_rows(link):
            self._send_held(link)

    def _send_rows(self, link: Publisher) -> bool:
        """Whether all that is on the disk is on its way."""
        room = WINDOW - len(self._in_flight)
        rows = self._next_rows(room) if room > 0 else []
        for seq, kind, payload in rows:
            mid = link.publish(self._topics[kind], payload)
            if mid is None:
                return False
            self._in_flight[mid] = (seq, kind)
            self._sent_up_to = seq
        self._more = room <= 0 or len(rows) == room
        return not self._more

    def _send_held(self, link: Publisher) -> None:
        for id, held in self._waiting().items():
            if len(self._in_flight) >= WINDOW:
                return
            mid = link.publish(self._topics[held.kind], held.payload)
            if mid is None:
                return
            self._in_flight[mid] = (id, held.kind)

    def _waiting(self) -> "dict[str, _Held]":
        """What is held and not on its way."""
        sent = {key for key, _ in self._in_flight.values()}
        return {id: held for id, held in self._held.items() if id not in sent}

    def _write_held(self) -> None:
        """All at once. What is on its way stays in memory until the connection says how it went."""
        waiting = self._waiting()
        for id in waiting:
            del self._held[id]
        self._keep([(held.kind, id, held.payload) for id, held in waiting.items()])

    def close(self) -> None:
        """Writes what is held, and ends."""
        self._in_flight.clear()
        if self._held:
            self._write_held()
        self._let_go()

    def _let_go(self) -> None:
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
        self.dropped += sum(self._counts.values())
        self._let_go()
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
