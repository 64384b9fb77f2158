"""Chunks that may lie on the broker: noted before they are published, and for a while after they were cleared."""

from collections.abc import Iterable

from fleet.store.session import Session


class Published:
    def __init__(self, session: Session) -> None:
        self._session = session

    def note(self, published: Iterable[str], cleared: Iterable[str], now: int) -> None:
        """These are about to be published, those about to be cleared."""
        rows = [*((digest, 0) for digest in published), *((digest, now) for digest in cleared)]
        with self._session.atomic() as db:
            db.table("published").upsert_all(({"digest": digest, "cleared": at} for digest, at in rows), pk="digest")

    def there(self) -> set[str]:
        """What was published and not cleared since."""
        return {row["digest"] for row in self._session.rows("SELECT digest FROM published WHERE cleared = 0")}

    def cleared(self) -> set[str]:
        """What was cleared, and not forgotten since."""
        return {row["digest"] for row in self._session.rows("SELECT digest FROM published WHERE cleared != 0")}

    def forget_cleared(self, before: int) -> None:
        """Forgets what was cleared before this time."""
        with self._session.atomic() as db:
            db.execute("DELETE FROM published WHERE cleared != 0 AND cleared < ?", [before])
