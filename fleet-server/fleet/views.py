"""The JSON shapes in which the fleet server shows what it knows. docs/api.md lists them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fleet.rollout import Rollout, Standing
from fleet.store import Device, Report, StoredDesired
from fleet.store.releases import Release


def device_view(device: Device, desired: StoredDesired | None) -> dict[str, Any]:
    reported = device.reported
    return {
        "id": device.id,
        "online": device.online,
        "tags": device.tags,
        "architecture": device.architecture,
        "engine": reported.engine if reported else "",
        "agent": device.agent,
        "enrolled": device.enrolled,
        "seen": device.seen,
        "generation": device.generation,
        "desired_generation": desired.generation if desired else 0,
        "warnings": list(reported.warnings) if reported else [],
        "models": {name: asdict(state) for name, state in reported.models.items()} if reported else {},
    }


def desired_view(desired: StoredDesired | None) -> dict[str, Any] | None:
    return None if desired is None else asdict(desired)


def release_view(release: Release) -> dict[str, Any]:
    manifest = release.manifest
    return {
        "model": manifest.model,
        "release": manifest.release,
        "version": manifest.version,
        "bundle": release.bundle,
        "floor": manifest.floor,
        "lineage": manifest.lineage.value,
        "size_bytes": manifest.size_bytes,
        "interface_change": manifest.interface_change,
        "golden": None if manifest.golden is None else manifest.golden.expected,
        "published": release.published,
    }


def rollout_view(rollout: Rollout, standings: Mapping[str, Standing]) -> dict[str, Any]:
    return {
        "id": rollout.id,
        "model": rollout.model,
        "release": rollout.release,
        "bundle": rollout.bundle,
        "attempt": rollout.attempt,
        "to": rollout.selector,
        "state": rollout.state.value,
        "reason": rollout.reason,
        "created": rollout.created,
        "ended": rollout.ended,
        "devices": [standing_view(device, standing) for device, standing in standings.items()],
    }


def standing_view(device: str, standing: Standing) -> dict[str, Any]:
    value = asdict(standing)
    return {"id": device, "state": value.pop("outcome").value, **value}


def event_view(report: Report) -> dict[str, Any]:
    return {
        "order": report.order,
        "device": report.device,
        "received": report.received,
        **asdict(report.event),
    }
