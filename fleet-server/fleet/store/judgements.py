"""The last judgement of each device on each model, with its evidence as the device sent it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fleet.store.session import Session

KEPT_OF_A_DEVICE = 64  # models; a device names them, and this is all the room that it can take


@dataclass(frozen=True, slots=True)
class Judgement:
    """`at` is by the device's clock. Of the evidence nothing was checked but its size: docs/mqtt.md says what it is."""

    device: str
    model: str
    release: int
    at: int
    received: int
    evidence: dict[str, Any]


class Judgements:
    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, judgements: Iterable[Judgement]) -> None:
        """Each takes the place of the one before on the same device and model."""
        with self._session.atomic() as db:
            for one in judgements:
                row = {name: getattr(one, name) for name in ("device", "model", "release", "at", "received")}
                db.table("judgements").upsert({**row, "evidence": json.dumps(one.evidence)}, pk=("device", "model"))
                db.execute(
                    """DELETE FROM judgements WHERE device = ? AND rowid NOT IN
                    (SELECT rowid FROM judgements WHERE device = ? ORDER BY received DESC, rowid DESC LIMIT ?)""",
                    [one.device, one.device, KEPT_OF_A_DEVICE],
                )

    def newest(self, limit: int) -> list[Judgement]:
        """Of all devices, the newest first."""
        rows = self._session.rows("SELECT * FROM judgements ORDER BY received DESC, device, model LIMIT ?", limit)
        return [_judgement(row) for row in rows]

    def of(self, device: str) -> list[Judgement]:
        """Of one device, by model."""
        rows = self._session.rows("SELECT * FROM judgements WHERE device = ? ORDER BY model", device)
        return [_judgement(row) for row in rows]


def _judgement(row: dict[str, Any]) -> Judgement:
    return Judgement(**{**row, "evidence": json.loads(row["evidence"])})
