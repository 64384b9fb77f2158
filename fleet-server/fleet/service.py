"""What the fleet server does when it is asked: take in a device, list a release, start a rollout, show what it knows.

Every method may be called from any thread. A change goes through one transaction first, and is published after it, so
that the store is never behind what devices were told.
"""

import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from fleet import enrolment, exporting, ingest, publishing, views
from fleet.broker import Address
from fleet.ca import Authority
from fleet.changes import Changes
from fleet.content import Content, Source
from fleet.enrolment import TOKEN_LIFE_S, Application
from fleet.keys import ONLINE_ROLES
from fleet.link import Arrival, Received
from fleet.mirror import INDEX
from fleet.rollout import Rollout, RolloutState
from fleet.steering import NO_POLICY, Policy, Steering
from fleet.store import Device, Report, Store
from fleet.store.releases import Release
from littoral import canonical
from littoral.bundle.keys import PublicKey
from littoral.bundle.manifest import Manifest, parse
from littoral.errors import BadRequestError, NotFoundError
from littoral.wire.messages import Event, encode_names

MOST_EVENTS = 1_000  # in one answer
MOST_JUDGEMENTS = 200
LONGEST_TOKEN_LIFE_S = 90 * 86_400


class Repository(Source, Protocol):
    """What the service needs of fleet.repo.Repository."""

    def first_root(self) -> bytes: ...

    def releases(self, model: str | None = None) -> list[Manifest]: ...

    def accept(self, manifest_bytes: bytes, files: Mapping[str, bytes], now: datetime) -> Manifest: ...

    def renew(self, now: datetime) -> bool: ...

    def next_keys(self, roles: Collection[str]) -> dict[str, PublicKey]: ...

    def rotate(self, files: Mapping[str, bytes], now: datetime) -> None: ...

    def expiries(self) -> dict[str, datetime]: ...

    def keyids(self) -> dict[str, list[str]]: ...

    def warnings(self, now: datetime) -> list[str]: ...

    def export(self, life: timedelta, now: datetime) -> dict[str, bytes]: ...


class Publisher(Protocol):
    """The side of fleet.link.Link that publishes."""

    def publish_metadata(self) -> None: ...

    def publish_desired(self, devices: Iterable[str]) -> None: ...

    def publish_chunks(self, digests: Iterable[str]) -> None: ...

    def acknowledge(self, messages: Iterable[Received]) -> None: ...


class Service:
    def __init__(
        self,
        store: Store,
        repository: Repository,
        content: Content,
        authority: Authority,
        publisher: Publisher,
        broker: Address,
        tenant: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`broker` is the address that enrolment hands out."""
        self.store = store
        self.changes = Changes()
        self._content = content
        self._repository = repository
        self._authority = authority
        self._publisher = publisher
        self._broker = broker
        self._tenant = tenant
        self._clock = clock
        self._steering = Steering(store)
        self._publishing = threading.Lock()

    # --- devices ----------------------------------------------------------------------------------------------

    def create_token(self, life_s: int = TOKEN_LIFE_S) -> str:
        """A one-time enrolment token. Raises BadRequestError."""
        if not 1 <= life_s <= LONGEST_TOKEN_LIFE_S:
            raise BadRequestError(f"a token lives 1 to {LONGEST_TOKEN_LIFE_S} seconds, not {life_s}")
        return self.store.access.add_token(self._repository.first_root(), self._now() + life_s)

    def enrol(self, application: Application) -> dict[str, Any]:
        """Raises what enrolment.admit raises."""
        now = self._now()
        admission = enrolment.admit(self.store, self._authority, application, now)
        if admission.new:
            with self.store.atomic():
                device = self._device(admission.device)
                text = f"{device.id} joined, {device.architecture}"
                self._note("enrolled", text, device=device.id)
                wanted, _ = self._refresh([device])
            self._publisher.publish_desired(wanted)
            self.publish_wanted()
            self.changes.announce("devices", "rollouts", "events")
        return {
            "root": self._repository.first_root().decode(),
            "ca": self._authority.certificate,
            "certificate": admission.certificate,
            "tenant": self._tenant,
            "device": admission.device,
            "broker": {
                "host": self._broker.host,
                "port": self._broker.port,
                "tls": self._broker.tls,
                "username": self._broker.username,
                "password": self._broker.password,
            },
        }

    def devices(self) -> list[dict[str, Any]]:
        desired = self.store.rollouts.desired
        return [views.device_view(device, desired(device.id)) for device in self.store.devices.all()]

    def device(self, name: str) -> dict[str, Any]:
        """All there is to know of one device. Raises NotFoundError."""
        device, desired = self._device(name), self.store.rollouts.desired(name)
        return {
            **views.device_view(device, desired),
            "desired": views.desired_view(desired),
            "metrics": self.store.reports.newest_metrics(name),
            "judgements": self.judgements_of(name),
            "events": [views.event_view(report) for report in self.store.reports.events(50, device=name)],
        }

    def judgements_of(self, name: str) -> list[dict[str, Any]]:
        """The last judgement of a device on each of its models. Raises NotFoundError."""
        return [views.judgement_view(one) for one in self.store.judgements.of(self._device(name).id)]

    def judgements(self, limit: int) -> list[dict[str, Any]]:
        """The last judgement of each device on each model, the newest first."""
        newest = self.store.judgements.newest(max(1, min(limit, MOST_JUDGEMENTS)))
        return [views.judgement_view(one) for one in newest]

    # --- releases ---------------------------------------------------------------------------------------------

    def metadata(self) -> dict[str, str]:
        return {name: data.decode() for name, data in self._repository.files().items()}

    def publish(self, manifest_text: str, metadata: Mapping[str, str]) -> dict[str, Any]:
        """Lists a release whose blobs are here; its chunks are published when a rollout offers it. One that is listed
        already is completed: the publication before may have failed half-way, or its answer was lost.

        Raises ManifestError, BundleError, ReleaseNumberError, InterfaceChangeError, MetadataError.
        """
        data = manifest_text.encode()
        manifest = parse(data)
        with self._publishing:
            pieces = publishing.pieces_of(manifest, self.store.blobs)
            files = {name: text.encode() for name, text in metadata.items()}
            now = self._now()
            release = Release(manifest, canonical.digest(data), now)
            if not self._is_listed(release):
                self._repository.accept(data, files, datetime.fromtimestamp(now, UTC))
            with self.store.atomic():
                kept = self.store.releases.get(manifest.model, manifest.release)
                if kept is None or kept.bundle != release.bundle:
                    self.store.releases.add(release, manifest_text, pieces)
                    text = f"{manifest.model} release {manifest.release} ({manifest.version}) published"
                    self._note("published", text, manifest.model, manifest.release)
                self._drop_unlisted(manifest.model)
        self._publisher.publish_metadata()
        self.publish_wanted()
        self.changes.announce("releases", "events")
        return {"model": manifest.model, "release": manifest.release, "bundle": release.bundle}

    def recover(self) -> None:
        """Takes into the store what the repository lists and a crash kept out of it. Raises BundleError."""
        for manifest in self._repository.releases():
            if self.store.releases.get(manifest.model, manifest.release) is None:
                data = manifest.encode()
                pieces = publishing.pieces_of(manifest, self.store.blobs)
                release = Release(manifest, canonical.digest(data), self._now())
                self.store.releases.add(release, data.decode(), pieces)

    def _is_listed(self, release: Release) -> bool:
        """Whether the operator's metadata list this very bundle."""
        listed = self._repository.releases(release.manifest.model)
        return release.bundle in (canonical.digest(one.encode()) for one in listed)

    def publish_wanted(self) -> None:
        """Publishes the chunks that some device may come to ask for, and clears those that none does any more."""
        self._publisher.publish_chunks(self._content.changed_chunks())

    def _drop_unlisted(self, model: str) -> None:
        """The operator's metadata list only so many releases of a model."""
        listed = {manifest.release for manifest in self._repository.releases(model)}
        known = {one.manifest.release for one in self.store.releases.all(model)}
        for release in known - listed:
            self.store.releases.drop(model, release)

    def releases(self, model: str | None = None) -> list[dict[str, Any]]:
        return [views.release_view(release) for release in self.store.releases.all(model)]

    def renew_metadata(self) -> None:
        """Signs the online metadata anew where half its life is over."""
        if self._repository.renew(datetime.fromtimestamp(self._now(), UTC)):
            self._publisher.publish_metadata()

    def export(self, models: Sequence[str], release: int | None, days: int) -> dict[str, Any]:
        """What a folder for devices without a network holds, with metadata signed to be good for so many days.

        Raises NotFoundError, BadRequestError.
        """
        if not 1 <= days <= exporting.LONGEST_DAYS:
            raise BadRequestError(f"an export is good for 1 to {exporting.LONGEST_DAYS} days, not {days}")
        chosen = exporting.choose(self._repository.releases(), models, release)
        files = self._repository.export(timedelta(days=days), datetime.fromtimestamp(self._now(), UTC))
        self._publisher.publish_metadata()
        names = ", ".join(f"{one.model} release {one.release}" for one in chosen)
        self._note("exported", f"{names} exported, good for {days} days", facts={"days": days})
        self.changes.announce("events")
        blobs = [blob for one in chosen for blob in one.blobs.values()]  # a delta saves what no folder has to save
        folder = views.folder_view(files, self._repository.small_targets(), chosen, blobs)
        return {**folder, "expires": exporting.expires(files, chosen)}

    # --- mirrors ----------------------------------------------------------------------------------------------

    def mirror(self, newest: int) -> dict[str, Any]:
        """What a mirror holds: of each model the `newest` releases, and whatever a running rollout offers.

        Raises BadRequestError.
        """
        running = (one for one in self.store.rollouts.all() if one.state is RolloutState.RUNNING)
        chosen = exporting.newest(self._repository.releases(), newest, {rollout.bundle for rollout in running})
        parts = [part for one in chosen for part in one.parts.values()]
        return views.folder_view(self._repository.files(), self._repository.small_targets(), chosen, parts)

    def metadata_file(self, name: str) -> bytes | None:
        """A current metadata file, or their index."""
        files = self._repository.files()
        return encode_names(sorted(files)) if name == INDEX else files.get(name)

    def chunk(self, sha256: str) -> bytes | None:
        """What travels by this digest: of a listed release, and sure to be what its name says."""
        return self._content.chunk(sha256)

    def listed_blob(self, sha256: str) -> Path | None:
        """Where a blob or delta of a listed release lies."""
        return self.store.blobs.path(sha256) if self.store.releases.has_blob(sha256) else None

    # --- keys -------------------------------------------------------------------------------------------------

    def keys(self) -> dict[str, Any]:
        """Which keys are in force, when what the operator signed expires, and what is to be done about it."""
        expiries = self._repository.expiries()
        return {
            "keys": self._repository.keyids(),
            "expires": {role: int(expires.timestamp()) for role, expires in expiries.items()},
            "warnings": self.warnings(),
        }

    def next_keys(self, roles: Collection[str]) -> dict[str, Any]:
        """This server's public keys by role, new ones for `roles`. Raises BadRequestError."""
        if strange := sorted(set(roles) - set(ONLINE_ROLES)):
            raise BadRequestError(f"this server has no keys for {', '.join(strange)}")
        return {role: key.to_dict() for role, key in self._repository.next_keys(set(roles)).items()}

    def rotate(self, files: Mapping[str, str]) -> dict[str, Any]:
        """Takes a new root and targets, and the keys that they name. Every desired state is then signed anew.

        Raises MetadataError.
        """
        with self._publishing:
            now = datetime.fromtimestamp(self._now(), UTC)
            self._repository.rotate({name: text.encode() for name, text in files.items()}, now)
        self._note("keys-changed", "the operator signed a new root: " + ", ".join(sorted(files)))
        self._publisher.publish_metadata()
        self._publisher.publish_desired(device.id for device in self.store.devices.all())
        self.changes.announce("events", "status")
        return self.keys()

    def warnings(self) -> list[str]:
        """What the operator is to do about what he signed before it expires."""
        return self._repository.warnings(datetime.fromtimestamp(self._now(), UTC))

    # --- rollouts ---------------------------------------------------------------------------------------------

    def start_rollout(self, model: str, release: int, selector: str, policy: Policy = NO_POLICY) -> dict[str, Any]:
        """Offers a release to every device that the selector names, now or later.

        Raises NotFoundError, BadRequestError, WindowError.
        """
        with self.store.atomic():
            rollout = self._steering.start(model, release, selector, self._now(), policy)
            text = f"rollout of {model} release {release} to {selector} started"
            self._note("rollout-started", text, model, release)
            wanted, _ = self._refresh(self.store.devices.all())
            view = views.rollout_view(rollout, self.store.rollouts.standings(rollout.id))
        self._publisher.publish_desired(wanted)
        self.publish_wanted()
        self.changes.announce("devices", "rollouts", "events")
        return view

    def rollouts(self, model: str | None = None) -> list[dict[str, Any]]:
        """The newest first."""
        rollouts = self.store.rollouts
        return [views.rollout_view(one, rollouts.standings(one.id)) for one in rollouts.all(model)]

    # --- events -----------------------------------------------------------------------------------------------

    def events(self, limit: int, device: str | None, model: str | None) -> list[dict[str, Any]]:
        """The newest first."""
        reports = self.store.reports.events(max(1, min(limit, MOST_EVENTS)), device, model)
        return [views.event_view(report) for report in reports]

    def note(self, kind: str, text: str) -> None:
        """An event of the server's own."""
        self._note(kind, text)
        self.changes.announce("events", "status")

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Stores what devices said, answers it, and only then lets the broker forget it."""
        with self.store.atomic():
            taken = ingest.take(self.store, arrivals, self._now())
            found = (self.store.devices.get(name) for name in sorted(taken.reported))
            wanted, judged = self._refresh([device for device in found if device is not None])
            needed = self._find_needed(taken.needed)
        self._publisher.publish_desired(wanted)
        if judged or needed:
            self.publish_wanted()
            self._publisher.publish_chunks(needed)
        self._publisher.acknowledge(one for one in arrivals if isinstance(one, Received))
        if judged or needed:
            taken.changed.add("events")
        self.changes.announce(*taken.changed)

    def _find_needed(self, needed: Mapping[str, Sequence[str]]) -> list[str]:
        found: list[str] = []
        for device, digests in needed.items():
            allowed = self._content.need(device, digests)
            if allowed:
                text = f"{device} cannot get {len(allowed)} chunks: published again"
                self._note("needed", text, device=device, facts={"chunks": len(allowed)})
            found += allowed
        return found

    def _refresh(self, devices: Iterable[Device]) -> tuple[list[str], list[Rollout]]:
        wanted, judged = self._steering.refresh(devices, self._now())
        for rollout in judged:
            text = f"rollout of {rollout.model} release {rollout.release} to {rollout.selector}: {rollout.state}"
            if rollout.reason:
                text += f", as {rollout.reason}"
            self._note(f"rollout-{rollout.state}", text, rollout.model, rollout.release)
        return wanted, judged

    def _note(
        self,
        kind: str,
        text: str,
        model: str = "",
        release: int = 0,
        device: str = "",
        facts: dict[str, Any] | None = None,
    ) -> None:
        now = self._now()
        event = Event(f"server-{secrets.token_hex(8)}", now, kind, model, release, text, facts or {})
        self.store.reports.add_events([Report(device, now, event)])

    def _device(self, name: str) -> Device:
        device = self.store.devices.get(name)
        if device is None:
            raise NotFoundError(f"no device {name!r} is enrolled")
        return device

    def _now(self) -> int:
        return int(self._clock())
