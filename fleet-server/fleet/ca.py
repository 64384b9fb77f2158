"""The fleet's certificate authority: it says which device is which, and which broker is the fleet's.

ECDSA P-256. Everything is valid from 1970-01-01, so that a device without a clock can connect. Revocation is not done
here: the broker's rules are what counts.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleet import durable
from littoral import canonical
from littoral.errors import BadRequestError, KeysError

SERVER_NAME = "fleet-server"  # the user that the broker lets publish; no device may have this id
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AUTHORITY_LIFE = timedelta(days=30 * 365)
CERTIFICATE_LIFE = timedelta(days=10 * 365)
LEAST_RSA_BITS = 2048
MAX_CSR_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Request:
    """A device's certificate request whose signature holds. What it says of its subject is ignored."""

    public_key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

    @property
    def key_digest(self) -> str:
        form = PublicFormat.SubjectPublicKeyInfo
        return canonical.digest(self.public_key.public_bytes(Encoding.DER, form))


@dataclass(frozen=True, slots=True)
class Identity:
    """Files that let the server's own side of a connection prove who it is."""

    ca: Path
    certificate: Path
    key: Path


def create(data: Path) -> None:
    """Makes the authority in DATA/ca. Its key never leaves this folder."""
    folder = data / "ca"
    durable.make_folder(folder, 0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Littoral fleet")])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = _builder(name, name, key.public_key(), datetime.now(UTC) + AUTHORITY_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(usage, critical=True)
    _write_private(folder / "ca.key", key)
    durable.write_file(folder / "ca.pem", _pem(builder.sign(key, hashes.SHA256())))


def read_request(pem: str) -> Request:
    """The request in `pem`. Raises BadRequestError for what is none, is not signed by its own key, or is weak."""
    if len(pem) > MAX_CSR_BYTES:
        raise BadRequestError("the certificate request is too long")
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        signed, key = request.is_signature_valid, request.public_key()
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise BadRequestError(f"the certificate request cannot be read: {error}") from error
    if not signed:
        raise BadRequestError("the certificate request is not signed by its own key")
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return Request(key)
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= LEAST_RSA_BITS:
        return Request(key)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return Request(key)
    raise BadRequestError("the certificate request's key is of a kind that is not taken", remedy="Use ECDSA P-256.")


class Authority:
    """The authority of one fleet, opened from its folder."""

    def __init__(self, data: Path) -> None:
        """Raises KeysError."""
        self._data = data
        self._folder = data / "ca"
        try:
            key = load_pem_private_key((self._folder / "ca.key").read_bytes(), None)
            self._certificate = x509.load_pem_x509_certificate(self.file.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise KeysError(f"the fleet's certificate authority cannot be opened: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise KeysError("the fleet's certificate authority has a key of another kind")
        self._key = key

    @property
    def file(self) -> Path:
        return self._folder / "ca.pem"

    @property
    def certificate(self) -> str:
        return _pem(self._certificate).decode()

    def issue_device(self, request: Request, device: str, now: datetime) -> str:
        """A client certificate (PEM) that says: this is `device`."""
        if device == SERVER_NAME:
            raise ValueError("a device must not bear the server's name")
        return self._issue(request.public_key, device, ExtendedKeyUsageOID.CLIENT_AUTH, (), now).decode()

    def issue_broker(self, hosts: Iterable[str], now: datetime) -> Identity:
        """A new server certificate of the embedded broker for `hosts`, names or addresses."""
        names = [_general_name(host) for host in dict.fromkeys(("127.0.0.1", "localhost", *hosts))]
        return self._issue_own("broker", "littoral-broker", ExtendedKeyUsageOID.SERVER_AUTH, names, now)

    def issue_server(self, now: datetime) -> Identity:
        """A new client certificate with which the fleet server goes to its broker."""
        return self._issue_own("link", SERVER_NAME, ExtendedKeyUsageOID.CLIENT_AUTH, (), now)

    def _issue_own(
        self, folder: str, name: str, use: x509.ObjectIdentifier, names: Iterable[x509.GeneralName], now: datetime
    ) -> Identity:
        place = self._data / folder
        durable.make_folder(place, 0o700)
        identity = Identity(self.file, place / "certificate.pem", place / "certificate.key")
        key = ec.generate_private_key(ec.SECP256R1())
        _write_private(identity.key, key)
        durable.write_file(identity.certificate, self._issue(key.public_key(), name, use, names, now))
        return identity

    def _issue(
        self,
        public_key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey,
        name: str,
        use: x509.ObjectIdentifier,
        names: Iterable[x509.GeneralName],
        now: datetime,
    ) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self._certificate.subject, public_key, now + CERTIFICATE_LIFE)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(authority, critical=False)
        if names := list(names):
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return _pem(builder.sign(self._key, hashes.SHA256()))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey,
    until: datetime,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), EPOCH, until)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _write_private(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    durable.write_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
