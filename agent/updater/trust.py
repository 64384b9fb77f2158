"""What this device believes: The Update Framework's client, over whatever answers its questions.

It verifies releases and desired states down from the first trusted root. The rules are python-tuf's; the fetcher,
the limits, the clock and the names of the errors are ours. It decides nothing about floors, blocklists or
compatibility, and is imported only by the updater child: it takes tuf and cryptography into memory.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tuf.api import exceptions
from tuf.api.metadata import TargetFile

from agent.updater.framework import FetcherInterface, FrameworkClient, UpdaterConfig, named_errors
from littoral.bundle import chunks, keys, manifest
from littoral.bundle.manifest import Blob, Manifest
from littoral.canonical import digest
from littoral.errors import (
    DesiredStateError,
    DigestError,
    KeysError,
    ManifestError,
    MetadataError,
    NoAnswerError,
    NotListedError,
    WrongDeviceError,
)
from littoral.wire.messages import SignedDesired, parse_desired
from littoral.wire.topics import CHUNK_BYTES

_META = "littoral:/meta/"  # the library wants URLs; ours have no host
LIMITS = UpdaterConfig(
    max_root_rotations=64,
    max_delegations=4,  # targets and one role for each model: a path matches one of them
    root_max_length=CHUNK_BYTES,
    timestamp_max_length=16_384,
    snapshot_max_length=CHUNK_BYTES,
    targets_max_length=CHUNK_BYTES,
)


class Asker(Protocol):
    """Where bytes come from."""

    def get(self, name: str, max_bytes: int) -> bytes | None:
        """The bytes of `meta/<file>` or `chunk/<sha256>`; None only where it is known not to exist.

        Raises NoAnswerError where nobody answered.
        """
        ...


class Trust:
    """One look at the fleet's signed metadata. `metadata_dir` keeps what was verified, against rollback; with
    `roots_only` nothing but new roots.

    `now` is the time to judge expiry by, seconds since 1970. Every method raises NoAnswerError where nobody
    answered, which says nothing about what was asked for; ExpiredMetadataError; ReplayedMetadataError for
    metadata older than known; MetadataError for any other that does not verify; OSError where the folder does
    not take what was verified.
    """

    def __init__(self, asker: Asker, metadata_dir: Path, first_root: bytes, now: int, roots_only: bool = False) -> None:
        self._asker = asker
        self._refreshed = False
        try:
            self._client = FrameworkClient(
                metadata_dir, _META, _Fetcher(asker), LIMITS, first_root, now, roots_only=roots_only
            )
        except exceptions.RepositoryError as error:
            raise MetadataError(f"the first trusted root does not verify: {error}") from error

    @property
    def root_version(self) -> int:
        """Version of the newest root that verified."""
        return self._client.root_version

    def desired(self, data: bytes, tenant: str, device: str) -> SignedDesired:
        """The desired state in `data`, if a director key signed it and it is for this device.

        Raises DesiredStateError or its leaf WrongDeviceError. Generations are not looked at here.
        """
        signed = parse_desired(data)
        keys.check_desired(signed, self._director())
        desired = signed.desired
        if (desired.tenant, desired.device) != (tenant, device):
            raise WrongDeviceError(f"a desired state for {desired.tenant}/{desired.device} came to {tenant}/{device}")
        return signed

    def release(self, model: str, release: int, bundle: str) -> tuple[bytes, Manifest]:
        """bundle.json of a listed release, as it was signed and as it was read.

        Raises NotListedError where no such release with this digest is listed; DigestError for bytes that are
        not what was signed; ManifestError for a signed bundle.json that makes no sense.
        """
        name = manifest.target_name(model, release)
        listed = self._target(name)
        if listed is None or listed.hashes.get("sha256") != bundle:
            raise NotListedError(f"no {name} of digest {bundle} is listed")
        data = self._chunk(bundle, manifest.MAX_MANIFEST_BYTES)
        if len(data) != listed.length:
            raise MetadataError(f"{name} is listed with {listed.length} bytes and has {len(data)}")
        parsed = manifest.parse(data)
        if (parsed.model, parsed.release) != (model, release):
            raise ManifestError(f"{name} says of itself that it is {parsed.target}")
        return data, parsed

    def chunk_list(self, blob: Blob, chunk_bytes: int) -> tuple[str, ...]:
        """Digests of the chunks of one blob.

        Raises DigestError, or ManifestError for a list of another length than the blob's.
        """
        count = -(-blob.length // chunk_bytes)
        if count > chunks.MAX_CHUNKS:
            raise ManifestError(f"{blob.length} bytes in chunks of {chunk_bytes} are more than {chunks.MAX_CHUNKS}")
        if count == 0:
            return ()
        try:
            found = chunks.parse_list(self._chunk(blob.chunks, chunks.MAX_CHUNKS * chunks.DIGEST_BYTES))
        except ValueError as error:
            raise ManifestError(f"the blob {blob.sha256} has {error}") from error
        if len(found) != count:
            raise ManifestError(f"a blob of {count} chunks has a list of {len(found)}")
        return found

    def _director(self) -> dict[str, keys.PublicKey]:
        listed = self._target(keys.DIRECTOR_TARGET)
        if listed is None or "sha256" not in listed.hashes:
            raise NotListedError(f"no {keys.DIRECTOR_TARGET} is listed")
        data = self._chunk(listed.hashes["sha256"], keys.MAX_DIRECTOR_BYTES)
        try:
            return keys.parse_director(data)
        except KeysError as error:
            raise DesiredStateError(error.cause) from error

    def _target(self, name: str) -> TargetFile | None:
        with named_errors():
            if not self._refreshed:
                self._client.refresh()
                self._refreshed = True
            return self._client.get_targetinfo(name)

    def _chunk(self, sha256: str, max_bytes: int) -> bytes:
        data = self._asker.get(f"chunk/{sha256}", max_bytes)
        if data is None:
            raise NoAnswerError(f"chunk {sha256} is not published")
        if not chunks.is_named(data, sha256):
            raise DigestError(sha256, digest(data))
        return data


class _Fetcher(FetcherInterface):
    """python-tuf's questions, put to an Asker. NoAnswerError goes through the library untouched."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def download_bytes(self, url: str, max_length: int) -> bytes:
        return b"".join(self._ask(url, max_length))

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._ask(url, CHUNK_BYTES)

    def _ask(self, url: str, max_length: int) -> Iterator[bytes]:
        name = url.removeprefix(_META)
        data = self._asker.get(f"meta/{name}", min(max_length, CHUNK_BYTES))
        if data is None:
            raise exceptions.DownloadHTTPError(f"{name} does not exist", 404)
        if len(data) > max_length:
            raise exceptions.DownloadLengthMismatchError(f"{name} has {len(data)} bytes, at most {max_length}")
        yield data
