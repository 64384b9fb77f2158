"""Rollouts, how each device stands in each, and the desired state last made for each device."""

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from fleet.rollout import Outcome, Rollout, RolloutState, Standing
from fleet.store.session import Session
from littoral.wire.messages import Want


@dataclass(frozen=True, slots=True)
class StoredDesired:
    """What was last wanted of a device."""

    generation: int
    issued: str
    models: dict[str, Want | None]


class Rollouts:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, rollout: Rollout) -> Rollout:
        """Stores it under a number of its own, which the answer has."""
        with self._session.atomic() as db:
            row = asdict(rollout)
            row["id"] = None
            number = db.table("rollouts").insert(row, pk="id").last_pk
        return replace(rollout, id=int(str(number)))

    def all(self, model: str | None = None) -> list[Rollout]:
        """The newest first."""
        where, parameters = ("", []) if model is None else ("WHERE model = ?", [model])
        rows = self._session.rows(f"SELECT * FROM rollouts {where} ORDER BY id DESC", *parameters)
        return [Rollout(**{**row, "state": RolloutState(row["state"]), "urgent": bool(row["urgent"])}) for row in rows]

    def set_state(self, rollout: int, state: RolloutState, reason: str, ended: int) -> None:
        with self._session.atomic() as db:
            db.table("rollouts").update(rollout, {"state": state.value, "reason": reason, "ended": ended})

    # --- standings --------------------------------------------------------------------------------------------

    def put_standing(self, rollout: int, device: str, standing: Standing) -> None:
        row = {
            "rollout": rollout,
            "device": device,
            "outcome": standing.outcome.value,
            "standing": json.dumps(asdict(standing)),
        }
        with self._session.atomic() as db:
            db.table("standings").upsert(row, pk=("rollout", "device"))

    def standings(self, rollout: int) -> dict[str, Standing]:
        """How each device stands in a rollout."""
        rows = self._session.rows("SELECT * FROM standings WHERE rollout = ? ORDER BY device", rollout)
        return {row["device"]: _standing(row) for row in rows}

    def standings_of(self, device: str) -> dict[int, Standing]:
        """How a device stands in each rollout."""
        rows = self._session.rows("SELECT * FROM standings WHERE device = ?", device)
        return {row["rollout"]: _standing(row) for row in rows}

    def outcomes(self, rollout: int) -> set[Outcome]:
        """The different outcomes that a rollout has come to."""
        rows = self._session.rows("SELECT DISTINCT outcome FROM standings WHERE rollout = ?", rollout)
        return {Outcome(row["outcome"]) for row in rows}

    def last_heard(self, outcomes: Collection[Outcome]) -> dict[str, int]:
        """By bundle: when a device that stands like this in a rollout of it was last heard of, or enrolled."""
        marks = ",".join("?" * len(outcomes))
        sql = f"""SELECT rollouts.bundle, max(max(devices.seen, devices.enrolled)) AS heard FROM standings
            JOIN rollouts ON rollouts.id = standings.rollout JOIN devices ON devices.id = standings.device
            WHERE standings.outcome IN ({marks}) GROUP BY rollouts.bundle"""
        return {row["bundle"]: row["heard"] for row in self._session.rows(sql, *outcomes)}

    # --- desired state ----------------------------------------------------------------------------------------

    def put_desired(self, device: str, desired: StoredDesired) -> None:
        models = {name: want and asdict(want) for name, want in desired.models.items()}
        row = {
            "device": device,
            "generation": desired.generation,
            "issued": desired.issued,
            "models": json.dumps(models),
        }
        with self._session.atomic() as db:
            db.table("desired").upsert(row, pk="device")

    def desired(self, device: str) -> StoredDesired | None:
        row = self._session.row("SELECT * FROM desired WHERE device = ?", device)
        return None if row is None else _desired(row)

    def devices_with_desired(self) -> Iterable[str]:
        return [row["device"] for row in self._session.rows("SELECT device FROM desired ORDER BY device")]


def _standing(row: dict[str, Any]) -> Standing:
    value = json.loads(row["standing"])
    return Standing(**{**value, "outcome": Outcome(value["outcome"])})


def _desired(row: dict[str, Any]) -> StoredDesired:
    models = json.loads(row["models"])
    wants = {name: None if want is None else Want(**want) for name, want in models.items()}
    return StoredDesired(row["generation"], row["issued"], wants)
