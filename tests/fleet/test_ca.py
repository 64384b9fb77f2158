from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fleet.ca import EPOCH, SERVER_NAME, Authority, read_request
from littoral.errors import BadRequestError, KeysError
from tests.fleet.parts import make_csr, new_key, now


def test_a_devices_certificate_says_who_it_is_whatever_it_asked_for(data: Path) -> None:
    key = new_key()
    authority = Authority(data)
    certificate = x509.load_pem_x509_certificate(
        authority.issue_device(read_request(make_csr(key, "fleet-server")), "door", now()).encode()
    )
    assert certificate.subject.rfc4514_string() == "CN=door"
    assert certificate.public_key() == key.public_key()
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate.encode()))


def test_certificates_are_good_from_1970_for_ten_years_from_now(data: Path) -> None:
    authority = Authority(data)
    device = authority.issue_device(read_request(make_csr(new_key())), "door", now()).encode()
    own = authority.issue_broker(["hub"], now()).certificate.read_bytes()
    for pem in (device, own, authority.certificate.encode()):
        certificate = x509.load_pem_x509_certificate(pem)
        assert certificate.not_valid_before_utc == EPOCH
        assert certificate.not_valid_after_utc > now() + timedelta(days=3_600)


def test_the_brokers_certificate_names_every_host(data: Path) -> None:
    identity = Authority(data).issue_broker(["10.0.0.7", "hub.example", "127.0.0.1"], now())
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(str(name.value) for name in names) == ["10.0.0.7", "127.0.0.1", "hub.example", "localhost"]
    assert identity.key.stat().st_mode & 0o777 == 0o600


def test_no_device_can_be_given_the_servers_name(data: Path) -> None:
    with pytest.raises(ValueError):
        Authority(data).issue_device(read_request(make_csr(new_key())), SERVER_NAME, now())


def altered_csr() -> str:
    good = x509.load_pem_x509_csr(make_csr(new_key()).encode()).public_bytes(Encoding.DER)
    other = x509.load_pem_x509_csr(make_csr(new_key()).encode()).public_bytes(Encoding.DER)
    broken = good[:-8] + other[-8:]
    return x509.load_der_x509_csr(broken).public_bytes(Encoding.PEM).decode()


def weak_csr(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives import hashes

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "door")])
    request = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize(
    "csr",
    [
        "",
        "hello",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        "x" * 100_000,
        altered_csr(),
        weak_csr(ec.generate_private_key(ec.SECP256K1())),
        weak_csr(rsa.generate_private_key(65537, 1024)),
    ],
    ids=["empty", "no-pem", "no-request", "too-long", "wrong-signature", "odd-curve", "short-rsa"],
)
def test_a_bad_certificate_request_is_a_named_error(csr: str) -> None:
    with pytest.raises(BadRequestError):
        read_request(csr)


def test_a_lost_authority_is_a_named_error(data: Path) -> None:
    (data / "ca" / "ca.key").write_text("nothing")
    with pytest.raises(KeysError):
        Authority(data)
