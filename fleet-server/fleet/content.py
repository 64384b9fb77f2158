"""What the fleet server publishes, read from its store and its repository."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from fleet import wanted
from fleet.store import Store
from fleet.wanted import Needs
from littoral.bundle.chunks import is_named
from littoral.wire.messages import Desired

CLEARED_S = 86_400  # how long a broker may come back with what it saved before a chunk was cleared

log = logging.getLogger(__name__)


class Source(Protocol):
    """What is needed of fleet.repo.Repository here."""

    def files(self) -> dict[str, bytes]: ...

    def small_targets(self) -> dict[str, bytes]: ...

    def sign_desired(self, desired: Desired) -> bytes: ...


class Content:
    """The real `fleet.link.Content`."""

    def __init__(self, store: Store, repository: Source, tenant: str, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._repository = repository
        self._tenant = tenant
        self._clock = clock
        self._needs = Needs()  # used within a transaction of the store
        self._wanted: dict[str, None] = {}  # as an ordered set: chunk lists first

    def metadata(self) -> dict[str, bytes]:
        return self._repository.files()

    def small_targets(self) -> dict[str, bytes]:
        return self._repository.small_targets()

    def chunks(self) -> list[str]:
        """For a broker that may have lost everything, or may have again what it was rid of."""
        with self._store.atomic():
            self.changed_chunks()
            cleared = self._store.published.cleared()
            self._store.published.forget_cleared(int(self._clock()) - CLEARED_S)
        small = self._repository.small_targets()
        return [*(digest for digest in self._wanted if digest not in small), *sorted(cleared)]

    def changed_chunks(self) -> list[str]:
        """Digests of what came to be wanted since the last time, and of what nobody wants any more. What is published
        with the metadata is not among them.

        They are noted before they are published: after a crash, whoever publishes knows what may lie on the broker.
        """
        with self._store.atomic():
            now = int(self._clock())
            rollouts = self._store.rollouts
            offered = wanted.bundles(rollouts.all(), rollouts.last_heard(wanted.MAY_FETCH), now)
            chunks = [*self._store.releases.pieces(offered), *self._needs.lately(now)]
            small = self._repository.small_targets()
            self._wanted = dict.fromkeys((*chunks, *small))
            there = self._store.published.there()
            new, gone = self._wanted.keys() - there, there - self._wanted.keys()
            self._store.published.note(new, gone, now)
        return [*(digest for digest in self._wanted if digest in new and digest not in small), *sorted(gone)]

    def wants(self, digest: str) -> bool:
        return digest in self._wanted

    def need(self, device: str, digests: Iterable[str]) -> list[str]:
        """The chunks to publish for a device that cannot get these: of what is listed, as many as it may ask for."""
        small, releases = self._repository.small_targets(), self._store.releases
        listed = [digest for digest in digests if digest in small or releases.piece(digest) is not None]
        return self._needs.take(device, listed, int(self._clock()))

    def chunk(self, digest: str) -> bytes | None:
        """Bytes that are not what their name says are never given out: the disk may have lost some."""
        target = self._repository.small_targets().get(digest)
        if target is not None:
            return target
        piece = self._store.releases.piece(digest)
        if piece is None:
            return None
        try:
            data = self._store.blobs.read(piece.blob, piece.start, piece.length)
        except FileNotFoundError:
            data = b""
        if not is_named(data, digest):
            log.error("chunk %s is damaged: put blob %s back into DATA/blobs", digest, piece.blob)
            return None
        return data

    def devices(self) -> Iterable[str]:
        return self._store.rollouts.devices_with_desired()

    def desired(self, device: str) -> bytes | None:
        stored = self._store.rollouts.desired(device)
        if stored is None:
            return None
        desired = Desired(self._tenant, device, stored.generation, stored.issued, stored.models)
        return self._repository.sign_desired(desired)
