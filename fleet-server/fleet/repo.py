"""The fleet server's repository of signed metadata, under DATA/repository: what devices verify releases by.

Roots, targets and the models' roles come signed from the operator and are checked before they are taken; snapshot and
timestamp are signed here. timestamp.json is written last and names all the rest, so a crash leaves either the old
state or the new one. What the rules are, says metadata.py; this adds disk and keys.
"""

import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from fleet import durable, keys, metadata, rotation
from fleet.keys import OperatorKeys
from fleet.metadata import SNAPSHOT_LIFE, TIMESTAMP_LIFE, Verified
from littoral.bundle import manifest
from littoral.bundle.keys import DIRECTOR_TARGET, PublicKey, parse_director
from littoral.bundle.manifest import Manifest
from littoral.canonical import digest
from littoral.errors import ManifestError, MetadataError
from littoral.wire.messages import Desired, SignedDesired


def create(data: Path, operator: OperatorKeys, now: datetime) -> None:
    """Makes the online keys and the first metadata. Raises OSError."""
    online = keys.make_online(data / "keys")
    folder = data / "repository"
    durable.make_folder(folder / "metadata")
    durable.make_folder(folder / "targets")
    director = metadata.director_file(online)
    durable.write_file(folder / "targets" / digest(director), director)
    _write(folder / "metadata", metadata.begin(operator, online, now))


def is_there(data: Path) -> bool:
    """Whether `create` came to its end there."""
    return (data / "repository" / "metadata" / "timestamp.json").exists()


class Repository:
    """The repository in DATA. Safe to use from several threads of one process; one process at a time.

    Raises MetadataError or KeysError where DATA holds none, or one that does not verify.
    """

    def __init__(self, data: Path) -> None:
        self._metadata = data / "repository" / "metadata"
        self._targets = data / "repository" / "targets"
        self._keys = data / "keys"
        self._lock = threading.Lock()
        try:
            found = {path.name: path.read_bytes() for path in self._metadata.glob("[!.]*.json")}
        except OSError as error:
            raise MetadataError(f"{self._metadata} cannot be read: {error}") from error
        self._verified = _verify(found)
        self._files = _current(found, self._verified)
        self._small = self._read_targets(self._verified)
        keys.adopt(self._keys, self._in_force())
        self._online = keys.load_online(self._keys)
        self._releases = _releases(self._verified, self._small)

    @property
    def director_keyid(self) -> str:
        """Id of the key that signs desired states."""
        return self._online.director.keyid

    def files(self) -> dict[str, bytes]:
        """Every current metadata file by its name on the wire, and every root."""
        with self._lock:
            return dict(self._files)

    def first_root(self) -> bytes:
        """1.root.json, exactly: the root that an enrolment token names."""
        with self._lock:
            return self._files["1.root.json"]

    def small_targets(self) -> dict[str, bytes]:
        """What is signed itself, by digest: director.json and the bundle.json of every listed release."""
        with self._lock:
            return dict(self._small)

    def releases(self, model: str | None = None) -> list[Manifest]:
        """Every listed release (of `model`), oldest first. The digest of `encode()` is the bundle's name."""
        with self._lock:
            return [release for release in self._releases if model in (None, release.model)]

    def accept(self, manifest_bytes: bytes, files: Mapping[str, bytes], now: datetime) -> Manifest:
        """Takes one release that the operator signed, and makes snapshot and timestamp of it.

        Raises ManifestError, ReleaseNumberError, InterfaceChangeError, MetadataError or its leaf
        ExpiredMetadataError; nothing is changed then. Raises OSError; then the release may be taken again.
        """
        release = manifest.parse(manifest_bytes)
        if release.encode() != manifest_bytes:
            raise ManifestError("bundle.json is not canonical, or says what this version does not know")
        with self._lock:
            changed = metadata.check_extension(self._verified, manifest_bytes, release, files, now)
            last = [known for known in self._releases if known.model == release.model]
            metadata.check_successor(last[-1] if last else None, release)
            extended = {**self._files, **files}
            names = {**self._verified.names, **changed}
            extended |= metadata.freshen(extended, names, self._verified, self._online, now)
            verified = metadata.verify(extended)
            durable.write_file(self._targets / digest(manifest_bytes), manifest_bytes)
            small = self._read_targets(verified)
            releases = _releases(verified, small)
            self._take(extended, verified)
            self._small, self._releases = small, releases
        return release

    def renew(self, now: datetime) -> bool:
        """Signs snapshot and timestamp anew where half their life is over; False where neither was due.

        Raises OSError.
        """
        with self._lock:
            known = self._verified
            if metadata.is_past_half(known.snapshot, SNAPSHOT_LIFE, now):
                made = metadata.freshen(self._files, known.names, known, self._online, now)
            elif metadata.is_past_half(known.timestamp, TIMESTAMP_LIFE, now):
                snapshot = self._files[known.names["snapshot"]]
                stamp = metadata.stamp(known.snapshot.version, snapshot, known, self._online, now)
                made = {"timestamp.json": stamp}
            else:
                return False
            extended = {**self._files, **made}
            self._take(extended, metadata.verify(extended))
        return True

    def next_keys(self, roles: Collection[str]) -> dict[str, PublicKey]:
        """New keys of this server for `roles`, not in force yet; its present ones for the others. Raises OSError."""
        with self._lock:
            made = keys.make_next_online(self._keys, roles)
            return {**self._online.public(), **{role: signer.public_key for role, signer in made.items()}}

    def rotate(self, files: Mapping[str, bytes], now: datetime) -> None:
        """Takes a new root and targets that the operator signed, and with them the keys of `next_keys`.

        A snapshot and a timestamp whose keys are both new begin anew at the present time: a thief of the old ones may
        have wound their versions up as far as they go. Raises MetadataError; nothing is changed then. Raises OSError;
        then they may be taken again.
        """
        with self._lock:
            known = self._verified
            online = replace(self._online, **keys.load_next_online(self._keys))
            changed = rotation.names(known, files)
            director = rotation.director_file(online.public())
            extended = {**self._files, **files}
            fresh = {online.snapshot.keyid, online.timestamp.keyid}.isdisjoint(self._in_force())
            names = {**known.names, **changed}
            extended |= metadata.freshen(extended, names, None if fresh else known, online, now)
            verified = metadata.verify(extended)
            rotation.check(known, verified, online.public(), now)
            durable.write_file(self._targets / digest(director), director)
            small = self._read_targets(verified)
            self._take(extended, verified)
            self._small = small
            keys.adopt(self._keys, self._in_force())
            self._online = online

    def expiries(self) -> dict[str, datetime]:
        """When what the operator signed expires, by role."""
        with self._lock:
            return rotation.expiries(self._verified)

    def warnings(self, now: datetime) -> list[str]:
        """A sentence for each role of the operator that expires soon, or has."""
        with self._lock:
            return rotation.warnings(self._verified, now)

    def keyids(self) -> dict[str, list[str]]:
        """Ids of the keys in force, by role."""
        with self._lock:
            return {**rotation.keyids(self._verified), "director": [self._online.director.keyid]}

    def export(self, life: timedelta, now: datetime) -> dict[str, bytes]:
        """Every metadata file, with a snapshot and a timestamp of this life: for a device without a network.

        Their version numbers are used up: the online ones are signed anew above them before they are given out, so
        that a number always means one content. Raises OSError; then nothing was given out.
        """
        with self._lock:
            names = self._verified.names
            exported = self._files | metadata.freshen(self._files, names, self._verified, self._online, now, life)
            above = metadata.verify(exported)
            online = self._files | metadata.freshen(self._files, names, above, self._online, now)
            self._take(online, metadata.verify(online))
        return _current(exported, above)

    def sign_desired(self, desired: Desired) -> bytes:
        """The signed message for one device."""
        signature = self._online.director.sign(desired.signed_bytes())
        return SignedDesired(desired, signature.keyid, signature.signature).encode()

    def _in_force(self) -> set[str]:
        """Ids of all keys that the metadata name."""
        listed = self._verified.root.roles.values()
        director = self._small[self._verified.targets.targets[DIRECTOR_TARGET].hashes["sha256"]]
        return {keyid for role in listed for keyid in role.keyids} | set(parse_director(director))

    def _take(self, files: dict[str, bytes], verified: Verified) -> None:
        """Writes what is new, and removes what nothing names any more as far as it can. Raises OSError."""
        current = _current(files, verified)
        _write(self._metadata, {name: data for name, data in current.items() if self._files.get(name) != data})
        self._files, self._verified = current, verified
        for path in self._metadata.glob("[!.]*.json"):
            if path.name not in current:
                with suppress(OSError):
                    path.unlink()

    def _read_targets(self, verified: Verified) -> dict[str, bytes]:
        """Raises MetadataError where a file is missing or not what was signed."""
        listed = {path: target for role in verified.roles.values() for path, target in role.targets.items()}
        listed[DIRECTOR_TARGET] = verified.targets.targets[DIRECTOR_TARGET]
        found = {}
        for path, target in listed.items():
            name = target.hashes["sha256"]
            try:
                found[name] = (self._targets / name).read_bytes()
            except OSError as error:
                raise MetadataError(f"{path} is listed and cannot be read: {error}") from error
            if digest(found[name]) != name:
                raise MetadataError(f"{path} is not what was signed: restore {self._targets / name}")
        return found


def _verify(files: Mapping[str, bytes]) -> Verified:
    """The state that `files` hold. A newer root whose timestamp a crash kept out is not in force yet: it is as if it
    were not there. Raises MetadataError.
    """
    try:
        return metadata.verify(files)
    except MetadataError:
        newest = max((name for name in files if name.endswith(".root.json")), key=_version, default="")
        with suppress(MetadataError):
            return metadata.verify({name: data for name, data in files.items() if name != newest})
        raise


def _version(name: str) -> int:
    number = name.split(".")[0]
    return int(number) if number.isdecimal() else 0


def _releases(verified: Verified, small: Mapping[str, bytes]) -> list[Manifest]:
    found = [
        manifest.parse(small[target.hashes["sha256"]])
        for model in verified.roles
        for target in verified.releases(model).values()
    ]
    return sorted(found, key=lambda release: (release.model, release.release))


def _current(files: Mapping[str, bytes], verified: Verified) -> dict[str, bytes]:
    roots = [f"{version}.root.json" for version in range(1, verified.root.version + 1)]
    return {name: files[name] for name in [*roots, *verified.names.values()]}


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """timestamp.json last: until it is there, the others change nothing."""
    for name in sorted(files, key=lambda name: name == "timestamp.json"):
        durable.write_file(folder / name, files[name])
