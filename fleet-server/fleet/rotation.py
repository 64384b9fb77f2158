"""A new root in the fleet's signed metadata: to renew what the operator signed, or to put other keys in force.

The operator signs it here, and the server checks here what it is given. Rules without I/O, as in metadata.py. Which
keys there are, and where, is the matter of keys.py and repo.py.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from fleet import metadata
from fleet.keys import ONLINE_ROLES, OperatorKeys
from fleet.metadata import OFFLINE_LIFE, Verified
from littoral.bundle import manifest
from littoral.bundle.keys import DIRECTOR_TARGET, Ed25519Signer, PublicKey, encode_director
from littoral.errors import ExpiredMetadataError, MetadataError

WARN_BEFORE = timedelta(days=30)

_S = TypeVar("_S", Root, Targets)


def sign(
    current: Mapping[str, bytes],
    operator: OperatorKeys,
    following: OperatorKeys,
    online: Mapping[str, PublicKey],
    now: datetime,
) -> dict[str, bytes]:
    """The new files by which the keys `following` and `online` (by role) are in force, and no others. Root and targets
    live for another year by it, and so does each model's role that is past half its life or gets another key.

    Raises MetadataError where `current` does not verify, KeysError where the fleet is not that of `operator`.
    """
    known = metadata.verify(current)
    metadata.check_ours(known, operator)
    root, targets = known.root, known.targets
    in_force = {"root": following.root.public_key, "targets": following.targets.public_key}
    for role, key in (in_force | {role: online[role] for role in ("snapshot", "timestamp")}).items():
        for keyid in set(root.roles[role].keyids) - {key.keyid}:
            root.revoke_key(keyid, role)
        root.add_key(key, role)
    targets.targets[DIRECTOR_TARGET] = TargetFile.from_data(DIRECTOR_TARGET, director_file(online), ["sha256"])
    moved = following.targets.keyid != operator.targets.keyid
    made = _signed(root, "root", now, *{signer.keyid: signer for signer in (operator.root, following.root)}.values())
    for model, listed in known.roles.items():
        name = manifest.role_name(model)
        if moved:
            targets.revoke_key(operator.targets.keyid, name)
            targets.add_key(following.targets.public_key, name)
        if moved or metadata.is_past_half(listed, OFFLINE_LIFE, now):
            made |= _signed(listed, name, now, following.targets)
    return made | _signed(targets, "targets", now, following.targets)


def director_file(online: Mapping[str, PublicKey]) -> bytes:
    """director.json of these keys by role."""
    return encode_director([online["director"]])


def _signed(signed: _S, name: str, now: datetime, *signers: Ed25519Signer) -> dict[str, bytes]:
    """The next version, by its file name."""
    signed.version, signed.expires = signed.version + 1, (now + OFFLINE_LIFE).replace(microsecond=0)
    made = Metadata(signed)
    for signer in signers:
        made.sign(signer, append=True)
    return {f"{signed.version}.{name}.json": made.to_bytes()}


def names(known: Verified, files: Mapping[str, bytes]) -> dict[str, str]:
    """Which roles `files` are the next version of, and their names. Raises MetadataError for any other file."""
    roles = {manifest.role_name(model): role.version for model, role in known.roles.items()}
    versions = {"root": known.root.version, "targets": known.targets.version, **roles}
    following = {role: f"{version + 1}.{role}.json" for role, version in versions.items()}
    if strange := sorted(set(files) - set(following.values())):
        raise MetadataError(
            f"{', '.join(strange)} is not what comes next", remedy="Something was published meanwhile: do it once more."
        )
    if following["root"] not in files or following["targets"] not in files:
        raise MetadataError("new keys come by a new root and new targets")
    return {role: name for role, name in following.items() if name in files}


def check(before: Verified, after: Verified, online: Mapping[str, PublicKey], now: datetime) -> None:
    """Whether `after` says what `before` said, by other keys, those of this server being `online`. Raises
    MetadataError.
    """
    for role in ("snapshot", "timestamp"):
        if after.root.roles[role].keyids != [online[role].keyid]:
            raise MetadataError(f"the new root gives the {role} role to other keys than this server's")
    kept = {path: target for path, target in before.targets.targets.items() if path != DIRECTOR_TARGET}
    director = TargetFile.from_data(DIRECTOR_TARGET, director_file(online), ["sha256"])
    if after.targets.targets != {**kept, DIRECTOR_TARGET: director}:
        raise MetadataError("the new targets name another director, or other targets, than this server's")
    releases = [{model: role.targets for model, role in each.roles.items()} for each in (before, after)]
    if releases[0] != releases[1]:
        raise MetadataError("the new metadata list other releases")
    for signed in (after.root, after.targets, *after.roles.values()):
        if signed.is_expired(now):
            raise ExpiredMetadataError(f"{signed.type} metadata have expired")


def expiries(known: Verified) -> dict[str, datetime]:
    """When what the operator signed expires, by role."""
    roles = {manifest.role_name(model): role.expires for model, role in known.roles.items()}
    return {"root": known.root.expires, "targets": known.targets.expires, **roles}


def warnings(known: Verified, now: datetime) -> list[str]:
    """A sentence for each role of the operator that expires soon, or has."""
    found = []
    for role, expires in expiries(known).items():
        if expires - now < WARN_BEFORE:
            when = f"expired on {expires:%Y-%m-%d}" if expires <= now else f"expires on {expires:%Y-%m-%d}"
            found.append(
                f"the signed role {role} {when}: nothing can be installed then; run `littoral-fleet keys renew`"
            )
    return found


def keyids(known: Verified) -> dict[str, list[str]]:
    """Ids of the keys in force by role; the director's are not here."""
    return {role: list(known.root.roles[role].keyids) for role in ("root", "targets", *ONLINE_ROLES[:2])}
