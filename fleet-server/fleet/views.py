"""The JSON shapes in which the fleet server shows what it knows. docs/api.md lists them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fleet import exporting
from fleet.rollout import Rollout, Standing, commonest_fault
from fleet.store import Device, Judgement, Report, StoredDesired
from fleet.store.releases import Release
from littoral.bundle.manifest import Blob, Delta, Manifest
from littoral.canonical import digest


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
        "warnings": [asdict(alarm) for alarm in reported.warnings] if reported else [],
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
        "accept_explained": manifest.accept_explained,
        "golden": None if manifest.golden is None else manifest.golden.expected,
        "published": release.published,
    }


def folder_view(
    files: Mapping[str, bytes], small: Mapping[str, bytes], releases: Sequence[Manifest], parts: Iterable[Blob | Delta]
) -> dict[str, Any]:
    """What a repository folder holds (fleet/mirror.py). files: metadata by name. small: director.json and bundle.json
    of more releases than these, by digest. parts: the blobs and deltas that go into it."""
    held = list(parts)
    bundles = [digest(one.encode()) for one in releases]
    return {
        "metadata": {name: data.decode() for name, data in files.items()},
        "small": {name: small[name].decode() for name in (*bundles, exporting.director_of(files))},
        "chunk_lists": sorted({part.chunks for part in held}),
        "blobs": sorted({part.sha256 for part in held}),
        "releases": [
            {"model": one.model, "release": one.release, "version": one.version, "bundle": bundle}
            for one, bundle in zip(releases, bundles, strict=True)
        ],
    }


def rollout_view(rollout: Rollout, standings: Mapping[str, Standing]) -> dict[str, Any]:
    fault = commonest_fault(standings.values())
    return {
        "id": rollout.id,
        "model": rollout.model,
        "release": rollout.release,
        "bundle": rollout.bundle,
        "attempt": rollout.attempt,
        "to": rollout.selector,
        "window": rollout.window,
        "urgent": rollout.urgent,
        "gate": rollout.gate,
        "shadow_s": rollout.shadow_s,
        "state": rollout.state.value,
        "reason": rollout.reason,
        "fault": fault and asdict(fault),
        "created": rollout.created,
        "ended": rollout.ended,
        "devices": [standing_view(device, standing) for device, standing in standings.items()],
    }


def standing_view(device: str, standing: Standing) -> dict[str, Any]:
    value = asdict(standing)
    return {"id": device, "state": value.pop("outcome").value, **value}


def judgement_view(judgement: Judgement) -> dict[str, Any]:
    return asdict(judgement)


def event_view(report: Report) -> dict[str, Any]:
    return {
        "order": report.order,
        "device": report.device,
        "received": report.received,
        **asdict(report.event),
    }
