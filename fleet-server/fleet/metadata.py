"""The fleet's signed metadata as The Update Framework defines them: verified as a whole, and extended by a release.

Rules without I/O: files are bytes by name (`4.m-person-detect.json`), time is an argument. Used at both ends of
`publish`: the operator checks what the server holds before signing, the server checks what the operator signed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from fleet.keys import OnlineKeys, OperatorKeys
from littoral.bundle import manifest
from littoral.bundle.keys import DIRECTOR_TARGET, Ed25519Signer, encode_director
from littoral.bundle.manifest import Manifest
from littoral.errors import (
    BadNameError,
    ExpiredMetadataError,
    InterfaceChangeError,
    KeysError,
    ManifestError,
    MetadataError,
    ReleaseNumberError,
)
from littoral.names import check_name
from littoral.wire.topics import CHUNK_BYTES

OFFLINE_LIFE = timedelta(days=365)  # root, targets and the models' roles: renewed by `publish`
SNAPSHOT_LIFE = timedelta(days=7)  # renewed by the fleet server at half its life, like the timestamp
TIMESTAMP_LIFE = timedelta(days=1)
MAX_FILE_BYTES = CHUNK_BYTES  # each file travels as one message
KEPT_RELEASES = 200  # a model's older releases leave its role, so that the file stays one message

_T = TypeVar("_T", Timestamp, Snapshot, Targets)
_K = TypeVar("_K", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True)
class Verified:
    """A whole set of metadata of which every file is signed by those whom the one above it names.

    Expiry is not part of it: what has expired is still the state from which to go on.
    """

    first_root: Root
    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets
    roles: dict[str, Targets]  # by model
    names: dict[str, str]  # file by role: {"root": "2.root.json", "m-x": "4.m-x.json", ...}

    def releases(self, model: str) -> dict[int, TargetFile]:
        """What is listed of `model`, by number."""
        found = self.roles[model].targets if model in self.roles else {}
        return {_number(model, path): target for path, target in found.items()}


def verify(files: Mapping[str, bytes]) -> Verified:
    """Verifies all of `files` that matters, from 1.root.json down. Raises MetadataError."""
    try:
        return _verify(files)
    except (RepositoryError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MetadataError(f"metadata that do not verify: {error}") from error


def _verify(files: Mapping[str, bytes]) -> Verified:
    first_root = root = _read_root(files, "1.root.json", None)
    while f"{root.version + 1}.root.json" in files:
        root = _read_root(files, f"{root.version + 1}.root.json", root)
    timestamp = _read(Timestamp, files, "timestamp.json", root)
    names = {"root": f"{root.version}.root.json", "timestamp": "timestamp.json"}
    names["snapshot"] = f"{timestamp.snapshot_meta.version}.snapshot.json"
    timestamp.snapshot_meta.verify_length_and_hashes(_bytes(files, names["snapshot"]))
    snapshot = _read(Snapshot, files, names["snapshot"], root)

    def listed(role: str, delegator: Root | Targets) -> Targets:
        meta = snapshot.meta[f"{role}.json"]
        names[role] = f"{meta.version}.{role}.json"
        meta.verify_length_and_hashes(_bytes(files, names[role]))
        return _read(Targets, files, names[role], delegator, role)

    targets = listed("targets", root)
    roles = {model: listed(manifest.role_name(model), targets) for model in delegated_models(targets)}
    for model, role in roles.items():
        for path in role.targets:
            _number(model, path)
    return Verified(first_root, root, timestamp, snapshot, targets, roles, names)


def delegated_models(targets: Targets) -> list[str]:
    """The models that have a role. Raises ValueError for a delegation that is not one model's to its own folder."""
    found = []
    for name, role in _roles(targets).items():
        model = name.removeprefix("m-")
        try:
            check_name(model, "model")
        except BadNameError as error:
            raise ValueError(f"a delegation to {name!r}") from error
        if name != manifest.role_name(model) or role.paths != [f"{model}/*.json"] or not role.terminating:
            raise ValueError(f"the role {name} may sign {role.paths}")
        found.append(model)
    return found


def _roles(targets: Targets) -> dict[str, DelegatedRole]:
    if targets.delegations is None or targets.delegations.roles is None:
        return {}
    return targets.delegations.roles


def _bytes(files: Mapping[str, bytes], name: str) -> bytes:
    data = files.get(name)
    if data is None:
        raise ValueError(f"{name} is missing")
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{name} has {len(data)} bytes, the limit is {MAX_FILE_BYTES}")
    return data


def _read_root(files: Mapping[str, bytes], name: str, before: Root | None) -> Root:
    """A root, signed as it demands itself and as the one before it demands."""
    found = Metadata[Root].from_bytes(_bytes(files, name))
    root = _of_type(Root, found.signed, name)
    for judge in (before or root, root):
        judge.verify_delegate("root", found.signed_bytes, found.signatures)
    if name != f"{root.version}.root.json":
        raise ValueError(f"{name} says of itself that it is version {root.version}")
    return root


def _read(kind: type[_T], files: Mapping[str, bytes], name: str, delegator: Root | Targets, role: str = "") -> _T:
    """One file, signed by those whom `delegator` names for it. `role` is its type where it is empty."""
    found = Metadata[_T].from_bytes(_bytes(files, name))
    signed = _of_type(kind, found.signed, name)
    delegator.verify_delegate(role or kind.type, found.signed_bytes, found.signatures)
    if name not in ("timestamp.json", f"{signed.version}.{role or kind.type}.json"):
        raise ValueError(f"{name} says of itself that it is version {signed.version}")
    return signed


def _of_type(kind: type[_K], signed: Signed, name: str) -> _K:
    if not isinstance(signed, kind):
        raise ValueError(f"{name} is of type {signed.type}")
    return signed


def _number(model: str, path: str) -> int:
    """The release that `path` names. Raises ValueError where it is not one of this model."""
    number = int(path.removeprefix(f"{model}/").removesuffix(".json"))
    if path != manifest.target_name(model, number) or number < 1:
        raise ValueError(f"{path!r} is no release of {model}")
    return number


# --- making ------------------------------------------------------------------------------------------------------


def begin(operator: OperatorKeys, online: OnlineKeys, now: datetime) -> dict[str, bytes]:
    """The first metadata of a fleet, with no model yet. director.json is a target beside them."""
    root = Root(expires=_until(now, OFFLINE_LIFE), consistent_snapshot=True)
    for role, signer in (
        ("root", operator.root),
        ("targets", operator.targets),
        ("snapshot", online.snapshot),
        ("timestamp", online.timestamp),
    ):
        root.add_key(signer.public_key, role)
    director = TargetFile.from_data(DIRECTOR_TARGET, director_file(online), ["sha256"])
    targets = Targets(expires=_until(now, OFFLINE_LIFE), targets={DIRECTOR_TARGET: director})
    files = {"1.root.json": _signed(root, operator.root), "1.targets.json": _signed(targets, operator.targets)}
    return files | freshen(files, {"targets": "1.targets.json"}, None, online, now)


def director_file(online: OnlineKeys) -> bytes:
    """director.json: the keys that may sign desired states."""
    return encode_director([online.director.public_key])


def freshen(
    files: Mapping[str, bytes],
    names: Mapping[str, str],
    known: Verified | None,
    online: OnlineKeys,
    now: datetime,
    life: timedelta | None = None,
) -> dict[str, bytes]:
    """A new snapshot of the targets and models' roles in `names` (file by role), and a timestamp of it.

    `life` is that of both, where they shall not live as those do that the server renews.
    """
    snapshot = Snapshot(
        version=_next_version(known.snapshot if known else None, now),
        expires=_until(now, life or SNAPSHOT_LIFE),
        meta={
            f"{role}.json": MetaFile.from_data(int(name.split(".")[0]), files[name], ["sha256"])
            for role, name in names.items()
            if role not in ("root", "snapshot", "timestamp")
        },
    )
    name, data = f"{snapshot.version}.snapshot.json", _signed(snapshot, online.snapshot)
    return {name: data, "timestamp.json": stamp(snapshot.version, data, known, online, now, life or TIMESTAMP_LIFE)}


def stamp(
    version: int,
    snapshot: bytes,
    known: Verified | None,
    online: OnlineKeys,
    now: datetime,
    life: timedelta = TIMESTAMP_LIFE,
) -> bytes:
    """A new timestamp.json that names this snapshot."""
    timestamp = Timestamp(
        version=_next_version(known.timestamp if known else None, now),
        expires=_until(now, life),
        snapshot_meta=MetaFile.from_data(version, snapshot, ["sha256"]),
    )
    return _signed(timestamp, online.timestamp)


def is_past_half(signed: Signed, life: timedelta, now: datetime) -> bool:
    """Whether less than half of its life is left."""
    return signed.expires - now < life / 2


def _next_version(last: Signed | None, now: datetime) -> int:
    """Seconds since 1970, and always above the last.

    A fleet server restored from an old copy would else sign numbers that its devices have long left behind, and
    they would rightly take it for a replay.
    """
    return max(int(now.timestamp()), last.version + 1 if last else 1)


def _signed(signed: _K, signer: Ed25519Signer) -> bytes:
    made = Metadata(signed)
    made.sign(signer)
    data = made.to_bytes()
    if len(data) > MAX_FILE_BYTES:
        raise MetadataError(
            f"{signed.type} metadata of {len(data)} bytes, the limit is {MAX_FILE_BYTES}",
            remedy="One fleet holds some 200 models; use a second one.",
        )
    return data


def _until(now: datetime, life: timedelta) -> datetime:
    return (now + life).replace(microsecond=0)


# --- a further release -------------------------------------------------------------------------------------------


def sign_release(
    current: Mapping[str, bytes], manifest_bytes: bytes, operator: OperatorKeys, now: datetime
) -> dict[str, bytes]:
    """The new files that list one further release: the model's role; the targets too where the model is new. None
    where this very release is listed.

    Root and targets that are past half their life are renewed beside it. Raises MetadataError where `current` does
    not verify, KeysError where the fleet is not these keys', ManifestError, ReleaseNumberError.
    """
    known = verify(current)
    check_ours(known, operator)
    release = manifest.parse(manifest_bytes)
    target = TargetFile.from_data(release.target, manifest_bytes, ["sha256"])
    if known.releases(release.model).get(release.release) == target:
        return {}
    check_number(known, release)
    made: dict[str, bytes] = {}
    targets, root = known.targets, known.root
    if release.model not in known.roles or is_past_half(targets, OFFLINE_LIFE, now):
        _delegate(targets, release.model, operator)
        targets.version, targets.expires = targets.version + 1, _until(now, OFFLINE_LIFE)
        made[f"{targets.version}.targets.json"] = _signed(targets, operator.targets)
    if is_past_half(root, OFFLINE_LIFE, now):
        root.version, root.expires = root.version + 1, _until(now, OFFLINE_LIFE)
        made[f"{root.version}.root.json"] = _signed(root, operator.root)
    role = known.roles.get(release.model)
    listed = dict(sorted(known.releases(release.model).items())[-KEPT_RELEASES + 1 :])
    listed[release.release] = target
    following = Targets(
        version=role.version + 1 if role else 1,
        expires=_until(now, OFFLINE_LIFE),
        targets={target.path: target for target in listed.values()},
    )
    name = manifest.role_name(release.model)
    made[f"{following.version}.{name}.json"] = _signed(following, operator.targets)
    return made


def check_ours(known: Verified, operator: OperatorKeys) -> None:
    """Raises KeysError unless these keys, and no others, sign root and targets: whatever else is in the metadata, the
    operator then signed it.
    """
    for role, signer in (("root", operator.root), ("targets", operator.targets)):
        if known.root.roles[role].keyids != [signer.keyid]:
            raise KeysError(
                f"the fleet's {role} role is not signed by these keys alone",
                remedy="Give the KEYS folder of this fleet; or this is another server than you think.",
            )


def _delegate(targets: Targets, model: str, operator: OperatorKeys) -> None:
    """Gives the model a role of its own, signed by the targets key, unless it has one."""
    name = manifest.role_name(model)
    if targets.delegations is None:
        targets.delegations = Delegations(keys={}, roles={})
    roles = targets.delegations.roles
    if roles is None or name in roles:
        return
    roles[name] = DelegatedRole(name, [], 1, terminating=True, paths=[f"{model}/*.json"])
    targets.add_key(operator.targets.public_key, name)


def check_number(known: Verified, release: Manifest) -> None:
    """Raises ReleaseNumberError where the release is not above all that are listed of its model."""
    last = max(known.releases(release.model), default=0)
    if release.release <= last:
        raise ReleaseNumberError(f"release {release.release} of {release.model} is not above {last}, the last one")


def check_extension(
    known: Verified, manifest_bytes: bytes, release: Manifest, files: Mapping[str, bytes], now: datetime
) -> dict[str, str]:
    """Whether `files` list this release, and nothing else is changed. Gives the names they change, by role.

    Raises ReleaseNumberError, ExpiredMetadataError, or MetadataError.
    """
    check_number(known, release)
    try:
        return _check_extension(known, manifest_bytes, release, files, now)
    except (RepositoryError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MetadataError(
            f"metadata of {release.model} release {release.release} that do not follow: {error}",
            remedy="If another release was published meanwhile, publish once more.",
        ) from error


def _check_extension(
    known: Verified, manifest_bytes: bytes, release: Manifest, files: Mapping[str, bytes], now: datetime
) -> dict[str, str]:
    role_name = manifest.role_name(release.model)
    old = known.roles.get(release.model)
    names = {
        "root": f"{known.root.version + 1}.root.json",
        "targets": f"{known.targets.version + 1}.targets.json",
        role_name: f"{old.version + 1 if old else 1}.{role_name}.json",
    }
    if strange := sorted(set(files) - set(names.values())):
        raise ValueError(f"{', '.join(strange)} is not what comes next")
    root, targets = known.root, known.targets
    changed: list[Signed] = []
    if names["root"] in files:
        root = _read_root(files, names["root"], root)
        changed.append(root)
    if names["targets"] in files:
        targets = _read(Targets, files, names["targets"], root, "targets")
        changed.append(targets)
        if lost := sorted(set(known.roles) - set(delegated_models(targets))):
            raise ValueError(f"the models {', '.join(lost)} are no longer listed")
        if targets.targets != known.targets.targets:
            raise ValueError("targets other than releases were changed")
    role = _read(Targets, files, names[role_name], targets, role_name)
    changed.append(role)
    before = old.targets if old else {}
    listed = dict(role.targets)
    listed.pop(release.target).verify_length_and_hashes(manifest_bytes)
    if any(before.get(path) != target for path, target in listed.items()):
        raise ValueError("releases published before were changed")
    for signed in changed:
        if signed.is_expired(now):
            raise ExpiredMetadataError(f"{signed.type} metadata of the new release have expired")
    return {role: name for role, name in names.items() if name in files}


def check_successor(last: Manifest | None, release: Manifest) -> None:
    """What a release must keep of the one listed before it.

    Raises ManifestError for a floor that goes back, InterfaceChangeError for shapes or labels that differ unannounced.
    """
    if last is None:
        return
    if release.floor < last.floor:
        raise ManifestError(
            f"the floor {release.floor} is below {last.floor}, the floor of release {last.release}",
            remedy="Devices keep the highest floor: build with --floor, at least that of the last release.",
        )
    changed = sorted(part for part in ("shapes", "labels") if last.interface.get(part) != release.interface.get(part))
    if changed and not release.interface_change:
        raise InterfaceChangeError(f"{' and '.join(changed)} differ from release {last.release} of {release.model}")
