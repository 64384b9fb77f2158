"""Enrolled devices, and what each last said of itself."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fleet.store.session import Session
from littoral.wire.messages import Reported, parse_reported


@dataclass(frozen=True, slots=True)
class Device:
    """`generation` and `reported` come from the device; times are seconds since 1970, 0 for never."""

    id: str
    tags: dict[str, str]
    architecture: str
    enrolled: int
    online: bool = False
    seen: int = 0
    agent: str = ""
    generation: int = 0
    reported: Reported | None = None


class Devices:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, device: Device) -> None:
        row = {
            "id": device.id,
            "tags": json.dumps(device.tags),
            "architecture": device.architecture,
            "enrolled": device.enrolled,
            "online": 0,
            "seen": 0,
            "agent": "",
            "generation": 0,
            "reported": "",
        }
        with self._session.atomic() as db:
            db.table("devices").insert(row)

    def get(self, device: str) -> Device | None:
        row = self._session.row("SELECT * FROM devices WHERE id = ?", device)
        return None if row is None else _device(row)

    def all(self) -> list[Device]:
        return [_device(row) for row in self._session.rows("SELECT * FROM devices ORDER BY id")]

    def ids(self) -> set[str]:
        return {row["id"] for row in self._session.rows("SELECT id FROM devices")}

    def set_presence(self, device: str, online: bool, agent: str, now: int) -> None:
        self._update(device, {"online": int(online), "agent": agent, "seen": now})

    def set_reported(self, device: str, reported: Reported, now: int) -> None:
        value = {
            "reported": reported.encode().decode(),
            "generation": reported.generation,
            "agent": reported.agent,
            "seen": now,
        }
        self._update(device, value)

    def seen(self, devices: Iterable[str], now: int) -> None:
        for device in devices:
            self._update(device, {"seen": now})

    def set_all_offline(self) -> None:
        """For a connection to the broker that has just begun: those who are there will be heard."""
        with self._session.atomic() as db:
            db.execute("UPDATE devices SET online = 0")

    def _update(self, device: str, value: dict[str, Any]) -> None:
        with self._session.atomic() as db:
            db.table("devices").update(device, value)


def _device(row: dict[str, Any]) -> Device:
    return Device(
        id=row["id"],
        tags=json.loads(row["tags"]),
        architecture=row["architecture"],
        enrolled=row["enrolled"],
        online=bool(row["online"]),
        seen=row["seen"],
        agent=row["agent"],
        generation=row["generation"],
        reported=parse_reported(row["reported"].encode()) if row["reported"] else None,
    )
