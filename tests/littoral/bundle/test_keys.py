"""Keys: what signs, what verifies, and what is no key."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature, SSlibKey

from littoral.bundle import keys
from littoral.errors import DesiredStateError, KeysError
from littoral.wire.messages import Desired, SignedDesired, Want

DATA = b"bytes that are signed"


def pem(private: Any) -> str:
    return str(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def ecdsa_p256() -> tuple[keys.PublicKey, bytes]:
    private = ec.generate_private_key(ec.SECP256R1())
    return keys.public_key("ecdsa", "ecdsa-sha2-nistp256", pem(private)), private.sign(DATA, ec.ECDSA(SHA256()))


def rsa_pss(bits: int = 2048, salt: int = 32) -> tuple[keys.PublicKey, bytes]:
    private = rsa.generate_private_key(65537, bits)
    signature = private.sign(DATA, padding.PSS(padding.MGF1(SHA256()), salt), SHA256())
    return keys.public_key("rsa", "rsassa-pss-sha256", pem(private)), signature


def ed25519() -> tuple[keys.PublicKey, bytes]:
    signer = keys.generate()
    return signer.public_key, bytes.fromhex(signer.sign(DATA).signature)


def rsa_pkcs1() -> tuple[keys.PublicKey, bytes]:
    private = rsa.generate_private_key(65537, 2048)
    signature = private.sign(DATA, padding.PKCS1v15(), SHA256())
    return keys.public_key("rsa", "rsa-pkcs1v15-sha256", pem(private)), signature


@pytest.mark.parametrize("make", [ed25519, ecdsa_p256, rsa_pss, rsa_pkcs1])
def test_each_kind_of_key_verifies_its_own_signature_and_no_other_bytes(make: Any) -> None:
    key, signature = make()
    key.verify_signature(Signature(key.keyid, signature.hex()), DATA)
    for wrong, data in ((signature.hex(), DATA + b"!"), (signature[:-1].hex(), DATA), ("", DATA), ("zz", DATA)):
        with pytest.raises(UnverifiedSignatureError):
            key.verify_signature(Signature(key.keyid, wrong), data)


@pytest.mark.parametrize("make", [ed25519, ecdsa_p256, rsa_pss, rsa_pkcs1])
def test_metadata_that_list_a_key_give_our_class_and_the_frameworks_own_id(make: Any) -> None:
    key, _ = make()
    listed = Key.from_dict(key.keyid, key.to_dict())
    assert type(listed) is type(key)
    assert listed == key
    theirs = SSlibKey.from_dict(key.keyid, key.to_dict())
    if key.keytype != "ed25519":
        assert SSlibKey.from_crypto(theirs._crypto_key(), scheme=key.scheme).keyid == key.keyid


def test_a_key_of_the_wrong_curve_or_length_verifies_nothing() -> None:
    p384 = ec.generate_private_key(ec.SECP384R1())
    wrong_curve = keys.public_key("ecdsa", "ecdsa-sha2-nistp256", pem(p384))
    with pytest.raises(UnverifiedSignatureError, match="P-256"):
        wrong_curve.verify_signature(Signature("", p384.sign(DATA, ec.ECDSA(SHA256())).hex()), DATA)
    short, signature = rsa_pss(bits=1024)
    with pytest.raises(UnverifiedSignatureError, match="2048"):
        short.verify_signature(Signature("", signature.hex()), DATA)


@pytest.mark.parametrize("keyval", [{}, {"public": "not hex"}, {"public": "00"}, {"public": 7}, {"private": "x"}])
@pytest.mark.parametrize(
    ("keytype", "scheme"),
    [
        ("ed25519", "ed25519"),
        ("ecdsa", "ecdsa-sha2-nistp256"),
        ("rsa", "rsassa-pss-sha256"),
        ("rsa", "rsa-pkcs1v15-sha256"),
    ],
)
def test_a_listed_key_that_cannot_be_read_spoils_only_its_own_signatures(
    keytype: str, scheme: str, keyval: dict[str, Any]
) -> None:
    key = Key.from_dict("id", {"keytype": keytype, "scheme": scheme, "keyval": keyval})
    with pytest.raises(UnverifiedSignatureError):
        key.verify_signature(Signature("id", "00"), DATA)


def test_a_signer_survives_dump_and_load() -> None:
    signer = keys.generate()
    again = keys.load(signer.dump())
    assert again.public_key == signer.public_key
    assert again.sign(DATA) == signer.sign(DATA)
    with pytest.raises(KeysError):
        keys.load(b"too short")


def test_a_scheme_that_is_not_known_is_no_key() -> None:
    with pytest.raises(KeysError, match="dsa"):
        keys.public_key("dsa", "dsa-sha1", "")


def test_a_signer_is_never_opened_by_a_uri() -> None:
    with pytest.raises(KeysError):
        keys.Ed25519Signer.from_priv_key_uri("file:key", keys.generate().public_key)


# --- director keys -----------------------------------------------------------------------------------------


def desired(signer: keys.Ed25519Signer, **changes: Any) -> SignedDesired:
    value = Desired("main", "cam-1", 3, "2026-11-22T10:00:00Z", {"person": Want(2, "ab" * 32)})
    signature = signer.sign(value.signed_bytes())
    fields = {"desired": value, "keyid": signature.keyid, "signature": signature.signature, **changes}
    return SignedDesired(**fields)


def test_a_desired_state_counts_when_a_listed_director_key_signed_it() -> None:
    first, second = keys.generate(), keys.generate()
    director = keys.parse_director(keys.encode_director([first.public_key, second.public_key]))
    assert set(director) == {first.keyid, second.keyid}
    keys.check_desired(desired(first), director)
    keys.check_desired(desired(second), director)


def test_a_desired_state_without_a_directors_signature_does_not_count() -> None:
    director_key, stranger = keys.generate(), keys.generate()
    director = {director_key.keyid: director_key.public_key}
    genuine = desired(director_key)
    for forged in (
        desired(stranger),
        desired(stranger, keyid=director_key.keyid),
        desired(director_key, signature=""),
        desired(director_key, keyid=""),
        SignedDesired(Desired("main", "cam-1", 4, "", {}), genuine.keyid, genuine.signature),
    ):
        with pytest.raises(DesiredStateError):
            keys.check_desired(forged, director)


def test_a_director_file_may_list_a_key_of_a_kind_that_is_not_known() -> None:
    known = keys.generate().public_key
    listed = b'{"keys":{"new":{"keytype":"future","scheme":"future","keyval":{"public":"x"}},"%s":%s}}' % (
        known.keyid.encode(),
        b'{"keytype":"ed25519","scheme":"ed25519","keyval":{"public":"%s"}}' % known.keyval["public"].encode(),
    )
    assert list(keys.parse_director(listed)) == [known.keyid]


@pytest.mark.parametrize("data", [b"", b"[]", b'{"keys": []}', b'{"keys": {"a": 1}}', b'{"keys": {"a": {}}}'])
def test_a_director_file_that_cannot_be_read_is_a_named_error(data: bytes) -> None:
    with pytest.raises(KeysError):
        keys.parse_director(data)
