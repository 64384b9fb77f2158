"""What the fleet server publishes, read from its store and its repository."""

import logging
from collections.abc import Iterable
from typing import Protocol

from fleet.store import Store
from littoral.bundle.chunks import is_named
from littoral.wire.messages import Desired

log = logging.getLogger(__name__)


class Source(Protocol):
    """What is needed of fleet.repo.Repository here."""

    def files(self) -> dict[str, bytes]: ...

    def small_targets(self) -> dict[str, bytes]: ...

    def sign_desired(self, desired: Desired) -> bytes: ...


class Content:
    """The real `fleet.link.Content`."""

    def __init__(self, store: Store, repository: Source, tenant: str) -> None:
        self._store = store
        self._repository = repository
        self._tenant = tenant

    def metadata(self) -> dict[str, bytes]:
        return self._repository.files()

    def small_targets(self) -> dict[str, bytes]:
        return self._repository.small_targets()

    def chunks(self) -> Iterable[str]:
        return self._store.releases.pieces()

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

    def has_chunk(self, digest: str) -> bool:
        """Whether a device may ask for it."""
        return digest in self._repository.small_targets() or self._store.releases.piece(digest) is not None

    def devices(self) -> Iterable[str]:
        return self._store.rollouts.devices_with_desired()

    def desired(self, device: str) -> bytes | None:
        stored = self._store.rollouts.desired(device)
        if stored is None:
            return None
        desired = Desired(self._tenant, device, stored.generation, stored.issued, stored.models)
        return self._repository.sign_desired(desired)
