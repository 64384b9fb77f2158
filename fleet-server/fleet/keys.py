"""The fleet's private keys: the operator's, sealed with a passphrase, and the fleet server's own, online.

An operator key lies in KEYS as one JSON file: its public half in clear, its secret sealed by ChaCha20-Poly1305 under a
key that scrypt makes of the passphrase. Online keys lie in DATA/keys in clear: the server has to sign by itself.
"""

import getpass
import hashlib
import json
import os
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fleet import durable
from littoral import canonical
from littoral.bundle import keys
from littoral.bundle.keys import Ed25519Signer, PublicKey
from littoral.errors import KeysError, PassphraseError

SCHEMA = 1
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**15, 8, 1  # 32 MiB and about 0.1 s for every guess at a passphrase
MAX_SCRYPT_N = 2**20  # a key file that asks for more than 1 GiB is not ours
MAX_KEY_FILE_BYTES = 4096
PASSPHRASE_VARIABLE = "LITTORAL_PASSPHRASE_FILE"
OPERATOR_ROLES = ("root", "targets")
OPERATOR_FILES = ("root.json", "targets.json")
NEXT = "next"  # folder of keys that are not in force yet
ONLINE_ROLES = ("snapshot", "timestamp", "director")


@dataclass(frozen=True, slots=True)
class OperatorKeys:
    """What the operator alone holds: root says which keys count, targets signs releases."""

    root: Ed25519Signer
    targets: Ed25519Signer


@dataclass(frozen=True, slots=True)
class OnlineKeys:
    """What the fleet server signs with by itself: freshness, and desired states."""

    snapshot: Ed25519Signer
    timestamp: Ed25519Signer
    director: Ed25519Signer

    def public(self) -> dict[str, PublicKey]:
        """Public halves by role."""
        return {role: getattr(self, role).public_key for role in ONLINE_ROLES}


def passphrase(file: Path | None, *, new: bool = False) -> str:
    """From `file`, else the file that LITTORAL_PASSPHRASE_FILE names, else asked on the terminal.

    `new` asks twice. Raises PassphraseError.
    """
    named = file or (Path(variable) if (variable := os.environ.get(PASSPHRASE_VARIABLE)) else None)
    if named is not None:
        try:
            found = named.read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise PassphraseError(f"the passphrase file cannot be read: {error}") from error
        if not found:
            raise PassphraseError(f"the passphrase file {named} is empty")
        return found
    if not sys.stdin.isatty():
        raise PassphraseError("no passphrase for the operator's keys")
    found = getpass.getpass("Passphrase of the operator's keys: ")
    if not found:
        raise PassphraseError("an empty passphrase")
    if new and getpass.getpass("Once more: ") != found:
        raise PassphraseError("the two passphrases differ")
    return found


def are_there(folder: Path) -> bool:
    """Whether `folder` holds operator keys; False where it is absent or empty.

    Raises KeysError for anything else: it is neither opened nor written to.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    missing = [name for name in OPERATOR_FILES if not (folder / name).is_file()]
    if missing:
        raise KeysError(
            f"{folder} holds no {' and no '.join(missing)}",
            remedy="KEYS is a folder: absent or empty for new keys, else with root.json and targets.json.",
        )
    return True


def make(folder: Path, secret: str) -> OperatorKeys:
    """New operator keys in an absent or empty folder, sealed with the passphrase `secret`. Raises OSError."""
    durable.make_folder(folder, 0o700)
    made = OperatorKeys(keys.generate(), keys.generate())
    for role, signer in (("root", made.root), ("targets", made.targets)):
        durable.write_file(folder / f"{role}.json", _seal(role, signer, secret), 0o600)
    return made


def make_next(folder: Path, roles: Collection[str], operator: OperatorKeys, secret: str) -> OperatorKeys:
    """New operator keys for `roles` in `folder`/next, to be put in force by `adopt` once the fleet lists them; those of
    `operator` for the others. Raises OSError.
    """
    made = {role: keys.generate() for role in roles}
    for role, signer in made.items():
        durable.make_folder(folder / NEXT, 0o700)
        durable.write_file(folder / NEXT / f"{role}.json", _seal(role, signer, secret), 0o600)
    return replace(operator, **made)


def keyids(folder: Path, role: str) -> list[str]:
    """Ids of the key of `role` in `folder`, and of the one that may follow it. Raises KeysError."""
    return [
        str(_read(path, role)["keyid"])
        for path in (folder / f"{role}.json", folder / NEXT / f"{role}.json")
        if path.exists()
    ]


def adopt(folder: Path, in_force: Collection[str]) -> None:
    """Puts those keys of `folder`/next in their place whose id is in force now; a crash before it may have kept them
    there. Raises OSError.
    """
    for path in sorted((folder / NEXT).glob("[!.]*.json")):
        if _read(path, path.stem).get("keyid") in in_force:
            path.replace(folder / path.name)
            durable.sync_folder(folder)
            durable.sync_folder(folder / NEXT)


def load(folder: Path, secret: str) -> OperatorKeys:
    """Raises KeysError for keys that are missing or damaged, PassphraseError where `secret` does not open them."""
    return OperatorKeys(_open(folder / "root.json", "root", secret), _open(folder / "targets.json", "targets", secret))


def make_online(folder: Path) -> OnlineKeys:
    """New online keys in `folder`, readable by the fleet server's user alone. Raises OSError."""
    return OnlineKeys(**_make_online(folder, ONLINE_ROLES))


def make_next_online(folder: Path, roles: Iterable[str]) -> dict[str, Ed25519Signer]:
    """New online keys for these roles in `folder`/next, and no others there. Raises OSError."""
    for path in (folder / NEXT).glob("*.json"):
        path.unlink()
    return _make_online(folder / NEXT, roles)


def load_next_online(folder: Path) -> dict[str, Ed25519Signer]:
    """Those in `folder`/next, by role. Raises KeysError."""
    return {path.stem: _load_online(path, path.stem) for path in (folder / NEXT).glob("[!.]*.json")}


def _make_online(folder: Path, roles: Iterable[str]) -> dict[str, Ed25519Signer]:
    durable.make_folder(folder, 0o700)
    made = {role: keys.generate() for role in roles}
    for role, signer in made.items():
        value = {"schema": SCHEMA, "role": role, "keytype": "ed25519", "keyid": signer.keyid}
        durable.write_file(folder / f"{role}.json", canonical.encode({**value, "secret": signer.dump().hex()}), 0o600)
    return made


def load_online(folder: Path) -> OnlineKeys:
    """Raises KeysError."""
    return OnlineKeys(*(_load_online(folder / f"{role}.json", role) for role in ONLINE_ROLES))


def _load_online(path: Path, role: str) -> Ed25519Signer:
    value = _read(path, role)
    try:
        return keys.load(bytes.fromhex(value["secret"]))
    except (KeyError, TypeError, ValueError) as error:
        raise KeysError(f"{path} holds no key: {error!r}") from error


def _seal(role: str, signer: Ed25519Signer, secret: str) -> bytes:
    salt, nonce = os.urandom(16), os.urandom(12)
    head = {
        "schema": SCHEMA,
        "role": role,
        "keyid": signer.keyid,
        "public": signer.public_key.to_dict(),
        "kdf": {"name": "scrypt", "n": SCRYPT_N, "r": SCRYPT_R, "p": SCRYPT_P, "salt": salt.hex()},
        "cipher": {"name": "chacha20-poly1305", "nonce": nonce.hex()},
    }
    wrap = _derive(secret, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    sealed = ChaCha20Poly1305(wrap).encrypt(nonce, signer.dump(), canonical.encode(head))
    return canonical.encode({**head, "sealed": sealed.hex()})


def _open(path: Path, role: str, secret: str) -> Ed25519Signer:
    value = _read(path, role)
    try:
        sealed = bytes.fromhex(value.pop("sealed"))
        kdf, cipher = value["kdf"], value["cipher"]
        if (kdf["name"], cipher["name"]) != ("scrypt", "chacha20-poly1305") or kdf["n"] > MAX_SCRYPT_N:
            raise KeysError(f"{path} is sealed in a way that is not known here")
        wrap = _derive(secret, bytes.fromhex(kdf["salt"]), kdf["n"], kdf["r"], kdf["p"])
        opened = ChaCha20Poly1305(wrap).decrypt(bytes.fromhex(cipher["nonce"]), sealed, canonical.encode(value))
    except InvalidTag as error:
        raise PassphraseError(f"the passphrase does not open {path}, or the file was altered") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise KeysError(f"{path} holds no sealed key: {error!r}") from error
    return keys.load(opened)


def _derive(secret: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    # OpenSSL needs 128 * n * r bytes and a little; its own limit is 32 MiB.
    return hashlib.scrypt(secret.encode(), salt=salt, n=n, r=r, p=p, maxmem=160 * n * r, dklen=32)


def _read(path: Path, role: str) -> dict[str, Any]:
    try:
        data = path.read_bytes()
        value = json.loads(data[:MAX_KEY_FILE_BYTES])
    except (OSError, ValueError, RecursionError) as error:
        raise KeysError(f"the {role} key {path} cannot be read: {error}") from error
    if not isinstance(value, dict) or value.get("schema") != SCHEMA or value.get("role") != role:
        raise KeysError(f"{path} is no {role} key of this version")
    return value
