"""What the server chose once and keeps: the broker's port and password."""

from fleet.store.session import Session


class Settings:
    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, key: str) -> str | None:
        row = self._session.row("SELECT value FROM settings WHERE key = ?", key)
        return None if row is None else str(row["value"])

    def put(self, key: str, value: str) -> None:
        with self._session.atomic() as db:
            db.table("settings").upsert({"key": key, "value": value}, pk="key")
