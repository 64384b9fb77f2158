"""Events and metrics as they came: each counts once, however often it is sent."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from fleet.store.session import Session
from littoral.wire.messages import Event, Metrics

KEPT_EVENTS = 100_000
KEPT_METRICS_S = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Report:
    """An event as the server has it. `device` is empty for the server's own."""

    device: str
    received: int
    event: Event
    order: int = field(default=0, compare=False)  # grows with every event that came


class Reports:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add_events(self, reports: Iterable[Report]) -> None:
        rows = [
            {
                **asdict(report.event),
                "facts": json.dumps(report.event.facts),
                "device": report.device,
                "received": report.received,
            }
            for report in reports
        ]
        with self._session.atomic() as db:
            db.table("events").insert_all(rows, pk=("device", "id"), ignore=True)

    def add_metrics(self, windows: Iterable[tuple[str, Metrics]], now: int) -> None:
        rows = [
            {
                "device": device,
                "boot": window.boot,
                "seq": window.seq,
                "at": window.at,
                "received": now,
                "window_s": window.window_s,
                "models": json.dumps([asdict(model) for model in window.models]),
            }
            for device, window in windows
        ]
        with self._session.atomic() as db:
            db.table("metrics").insert_all(rows, pk=("device", "boot", "seq"), ignore=True)

    def events(self, limit: int, device: str | None = None, model: str | None = None) -> list[Report]:
        """The newest first."""
        parts = [("device = ?", device), ("model = ?", model)]
        where = " AND ".join(["1", *(sql for sql, value in parts if value is not None)])
        parameters = [value for _, value in parts if value is not None]
        sql = f"SELECT rowid AS number, * FROM events WHERE {where} ORDER BY rowid DESC LIMIT ?"
        return [_report(row) for row in self._session.rows(sql, *parameters, limit)]

    def newest_metrics(self, device: str) -> dict[str, Any] | None:
        """The last window of a device: {at, window_s, models: [counters of a release]}."""
        sql = "SELECT * FROM metrics WHERE device = ? ORDER BY rowid DESC LIMIT 1"
        row = self._session.row(sql, device)
        if row is None:
            return None
        return {"at": row["at"], "window_s": row["window_s"], "models": json.loads(row["models"])}

    def prune(self, now: int) -> None:
        """Forgets what is too old or too much."""
        with self._session.atomic() as db:
            db.execute("DELETE FROM metrics WHERE received < ?", [now - KEPT_METRICS_S])
            db.execute("DELETE FROM events WHERE rowid <= (SELECT max(rowid) FROM events) - ?", [KEPT_EVENTS])


def _report(row: dict[str, Any]) -> Report:
    event = Event(
        id=row["id"],
        at=row["at"],
        kind=row["kind"],
        model=row["model"],
        release=row["release"],
        text=row["text"],
        facts=json.loads(row["facts"]),
    )
    return Report(row["device"], row["received"], event, row["number"])
