"""Keys and signatures of releases: Ed25519, ECDSA P-256 and RSA, as The Update Framework names them.

The one module of littoral that needs packages (cryptography 38 or newer, securesystemslib); nothing else in
littoral imports it. Importing it makes python-tuf verify by these classes: with the cryptography of Debian 12
the library's own ones fall back to pure Python, or to nothing. Only Ed25519 signs; the others are for keys that
were made elsewhere.
"""

import json
from typing import Any, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import KEY_FOR_TYPE_AND_SCHEME, Key, Signature, Signer

from littoral import canonical
from littoral.errors import DesiredStateError, KeysError
from littoral.wire.messages import SignedDesired

MIN_RSA_BITS = 2048


class PublicKey(Key):
    """A public key as metadata carry it: `keyval["public"]`.

    It is read when it is used, so that a key that cannot be read spoils only its own signatures, not the root
    that lists it.
    """

    @classmethod
    def from_dict(cls, keyid: str, key_dict: dict[str, Any]) -> Self:
        keytype, scheme, keyval = cls._from_dict(key_dict)
        return cls(keyid, keytype, scheme, keyval, key_dict)

    def to_dict(self) -> dict[str, Any]:
        return self._to_dict()

    def verify_signature(self, signature: Signature, data: bytes) -> None:
        """Raises UnverifiedSignatureError."""
        try:
            self._verify(str(self.keyval["public"]), bytes.fromhex(signature.signature), data)
        except (InvalidSignature, UnsupportedAlgorithm, KeyError, ValueError, TypeError) as error:
            raise UnverifiedSignatureError(f"key {self.keyid} did not sign this: {error!r}") from error

    def _verify(self, public: str, signature: bytes, data: bytes) -> None:
        raise NotImplementedError


class Ed25519Key(PublicKey):
    """`public` is 32 bytes in hex."""

    def _verify(self, public: str, signature: bytes, data: bytes) -> None:
        ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, data)


class EcdsaP256Key(PublicKey):
    """`public` is PEM; SHA-256; the signature is DER."""

    def _verify(self, public: str, signature: bytes, data: bytes) -> None:
        key = load_pem_public_key(public.encode())
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("not a key on the curve P-256")
        key.verify(signature, data, ec.ECDSA(SHA256()))


class RsaPssKey(PublicKey):
    """`public` is PEM of at least 2,048 bits; SHA-256 with MGF1-SHA-256, a salt of any length."""

    def _verify(self, public: str, signature: bytes, data: bytes) -> None:
        pss = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=padding.PSS.AUTO)
        _rsa(public).verify(signature, data, pss, SHA256())


class RsaPkcs1Key(PublicKey):
    """`public` as of RsaPssKey; SHA-256, padded as PKCS #1 v1.5 has it."""

    def _verify(self, public: str, signature: bytes, data: bytes) -> None:
        _rsa(public).verify(signature, data, padding.PKCS1v15(), SHA256())


def _rsa(public: str) -> rsa.RSAPublicKey:
    key = load_pem_public_key(public.encode())
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_RSA_BITS:
        raise ValueError(f"not an RSA key of {MIN_RSA_BITS} bits or more")
    return key


_CLASSES: dict[tuple[str, str], type[PublicKey]] = {
    ("ed25519", "ed25519"): Ed25519Key,
    ("ecdsa", "ecdsa-sha2-nistp256"): EcdsaP256Key,
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"): EcdsaP256Key,  # as older tools write it
    ("rsa", "rsassa-pss-sha256"): RsaPssKey,
    ("rsa", "rsa-pkcs1v15-sha256"): RsaPkcs1Key,
}
KEY_FOR_TYPE_AND_SCHEME.update(_CLASSES)


class Ed25519Signer(Signer):
    """A private key in memory."""

    def __init__(self, private: ed25519.Ed25519PrivateKey) -> None:
        self._private = private
        raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._public = public_key("ed25519", "ed25519", raw.hex())

    @property
    def public_key(self) -> PublicKey:
        return self._public

    @property
    def keyid(self) -> str:
        return self._public.keyid

    def sign(self, payload: bytes) -> Signature:
        return Signature(self._public.keyid, self._private.sign(payload).hex())

    def dump(self) -> bytes:
        """The 32 secret bytes: to be sealed before they are written."""
        return self._private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Key, secrets_handler: object = None) -> Self:
        """Raises KeysError: these keys are never named by a URI."""
        raise KeysError(f"an Ed25519 key of this program is not opened by a URI ({priv_key_uri.partition(':')[0]}:)")


def generate() -> Ed25519Signer:
    """A new key from the system's random numbers."""
    return Ed25519Signer(ed25519.Ed25519PrivateKey.generate())


def load(secret: bytes) -> Ed25519Signer:
    """The key that `dump` gave. Raises KeysError."""
    try:
        return Ed25519Signer(ed25519.Ed25519PrivateKey.from_private_bytes(secret))
    except ValueError as error:
        raise KeysError(f"{len(secret)} bytes are no Ed25519 key") from error


def public_key(keytype: str, scheme: str, public: str) -> PublicKey:
    """A key under its standard id, the sha256 of its canonical JSON. Raises KeysError: an unknown scheme."""
    found = _CLASSES.get((keytype, scheme))
    if found is None:
        raise KeysError(f"keys of type {keytype!r} and scheme {scheme!r} are not known here")
    keyval = {"public": public}
    # The framework's own canonical form, which differs from ours for the line ends of a PEM.
    text = encode_canonical({"keytype": keytype, "scheme": scheme, "keyval": keyval})
    keyid = canonical.digest((text or "").encode())
    return found(keyid, keytype, scheme, keyval)


# --- director keys -----------------------------------------------------------------------------------------

DIRECTOR_TARGET = "director.json"  # signed offline; lists the keys that may sign desired states
MAX_DIRECTOR_BYTES = 16_384


def encode_director(keys: list[PublicKey]) -> bytes:
    """The body of director.json."""
    return canonical.encode({"keys": {key.keyid: key.to_dict() for key in keys}})


def parse_director(data: bytes) -> dict[str, PublicKey]:
    """Keys by id. A key of a kind not known here is left out. Raises KeysError."""
    try:
        found = json.loads(data)["keys"].items()
        listed = [(str(keyid), str(k["keytype"]), str(k["scheme"]), dict(k["keyval"])) for keyid, k in found]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KeysError(f"a {DIRECTOR_TARGET} that cannot be read: {error!r}") from error
    return {
        keyid: _CLASSES[keytype, scheme](keyid, keytype, scheme, keyval)
        for keyid, keytype, scheme, keyval in listed
        if (keytype, scheme) in _CLASSES
    }


def check_desired(signed: SignedDesired, director: dict[str, PublicKey]) -> None:
    """Raises DesiredStateError unless a director key signed it."""
    key = director.get(signed.keyid)
    if key is None:
        raise DesiredStateError(f"a desired state signed by {signed.keyid[:16] or 'nobody'}, which is no director key")
    try:
        key.verify_signature(Signature(signed.keyid, signed.signature), signed.signed_bytes)
    except UnverifiedSignatureError as error:
        raise DesiredStateError("a desired state whose signature is not over what it says") from error
