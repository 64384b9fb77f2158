"""Joining a fleet: a one-time token, a key made here, a certificate from the fleet server, and a complete agent.toml.

The token names the first root.json by digest, so that the first contact needs no other trust: another root is refused
before anything of the server's is kept. The key is made and kept first, so that no token is spent for a folder that
cannot be written, and an enrolment whose answer was lost can be asked for again.
"""

import contextlib
import hashlib
import http.client
import json
import platform
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent import config, fsio
from littoral import errors
from littoral.names import check_name
from littoral.owner import as_owner
from littoral.wire import query

ANSWER_TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 1024 * 1024


def enroll(server: str, token: str, state: Path, name: str | None, tags: dict[str, str]) -> str:
    """Enrols this device and fills `state`, which belongs to whom it belonged before; gives the device's id.

    Raises BadNameError, ConflictError where `state` is enrolled already, TokenUnknownError, TokenUsedError,
    TokenExpiredError, NameTakenError, RootMismatchError, ServerUnreachableError.
    """
    if name is not None:
        check_name(name, "device")
    for tag, value in tags.items():
        check_name(tag, "tag")
        check_name(value, "tag value")
    try:
        if (state / "agent.toml").exists():
            anew = f"To enrol it anew, stop both daemons and empty {state} first."
            remedy = anew if state == config.STATE else "Choose another --state."
            raise errors.ConflictError(f"{state} is enrolled already", remedy=remedy)
        if state == config.STATE and state.is_dir() and state.stat().st_uid == 0:
            raise errors.ConfigError(
                f"{state} belongs to root, and the daemons could not use it",
                remedy=f"chown littoral-agent:littoral-agent {state}, or install the package littoral-agent.",
            )
    except OSError as error:
        raise _unwritable(state, error) from error
    root_digest = _root_digest(token)
    query.check_socket_path(str((state / "query.sock").absolute()))
    with as_owner(state) if state.is_dir() else contextlib.nullcontext():
        key = _key_of(state / "identity")
        answer = _ask(
            server,
            {"token": token, "csr": _request_for(key), "name": name, "tags": tags, "architecture": platform.machine()},
        )
        root = _text(answer, "root").encode()
        if hashlib.sha256(root).hexdigest()[:32] != root_digest:
            raise errors.RootMismatchError("the server's root.json is not the one that the token names")
        device = check_name(answer.get("device"), "device")
        try:
            _keep(state, answer, root, device, tags)
        except OSError as error:
            raise _unwritable(state, error) from error
    return device


def _key_of(identity: Path) -> ec.EllipticCurvePrivateKey:
    """This device's own key, made at the first try. Raises ConfigError where it cannot be kept."""
    path = identity / "device.key"
    try:
        if path.exists():
            held = serialization.load_pem_private_key(path.read_bytes(), None)
            if isinstance(held, ec.EllipticCurvePrivateKey):
                return held
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        fsio.make_folder(identity, mode=0o700)
        fsio.write_file(path, private, mode=0o600)
    except (OSError, ValueError) as error:
        raise _unwritable(identity, error) from error
    return key


def _unwritable(folder: Path, error: Exception) -> errors.ConfigError:
    return errors.ConfigError(
        f"{folder} cannot hold this device's identity: {error}", remedy="Run it as root, or choose another --state."
    )


def _root_digest(token: str) -> str:
    secret, _, digest = token.partition(".")
    if not secret or len(digest) != 32:
        raise errors.TokenUnknownError("that is no enrolment token")
    return digest


def _request_for(key: ec.EllipticCurvePrivateKey) -> str:
    """A certificate request; the server decides the subject."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def _ask(server: str, body: dict[str, Any]) -> dict[str, Any]:
    if not server.startswith(("http://", "https://")):
        raise errors.ConfigError(
            f"{server!r} is no address of a fleet server", remedy="Give --server http://HOST:PORT."
        )
    try:
        request = urllib.request.Request(
            f"{server.rstrip('/')}/api/v1/enroll",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as answer:
            data = answer.read(MAX_ANSWER_BYTES)
    except urllib.error.HTTPError as refusal:
        with refusal:
            raise _named(refusal.read(MAX_ANSWER_BYTES), refusal.code) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise errors.ServerUnreachableError(f"{server} does not answer: {error}") from error
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise errors.ServerUnreachableError(f"{server} is no fleet server")
    return value


def _named(data: bytes, status: int) -> errors.LittoralError:
    try:
        error = json.loads(data)["error"]
        return errors.by_code(str(error["code"]), str(error["cause"]), str(error["remedy"]))
    except (ValueError, KeyError, TypeError):
        return errors.ServerUnreachableError(f"the server answered with status {status}")


def _keep(state: Path, answer: dict[str, Any], root: bytes, device: str, tags: dict[str, str]) -> None:
    """Writes the identity, and agent.toml last: where it is, the rest is."""
    identity = state / "identity"
    fsio.write_file(identity / "root.json", root)
    fsio.write_file(identity / "ca.pem", _text(answer, "ca").encode())
    fsio.write_file(identity / "device.pem", _text(answer, "certificate").encode())
    sockets = config.SOCKETS if state == config.STATE else Path()
    settings = _settings(answer, device, tags, sockets)
    fsio.write_file(state / "agent.toml", settings.encode(), mode=0o640)  # the runtime reads it, in the owner's group


def _settings(answer: dict[str, Any], device: str, tags: dict[str, str], sockets: Path) -> str:
    broker = answer.get("broker")
    if not isinstance(broker, dict):
        raise errors.ServerUnreachableError("the server's answer names no broker")
    lines = [
        "# Written by `littoral-agent enroll`. docs/settings.md describes every setting.",
        f"device = {_quoted(device)}",
        f"tenant = {_quoted(check_name(answer.get('tenant'), 'tenant'))}",
        f"query_socket = {_quoted(str(sockets / 'query.sock'))}",
        f"control_socket = {_quoted(str(sockets / 'control.sock'))}",
        "",
        "[tags]",
        *(f"{key} = {_quoted(value)}" for key, value in sorted(tags.items())),
        "",
        "[broker]",
        f"host = {_quoted(str(broker['host']))}",
        f"port = {int(broker['port'])}",
        f"tls = {'true' if broker['tls'] else 'false'}",
    ]
    lines += [f"{key} = {_quoted(str(broker[key]))}" for key in ("username", "password") if broker.get(key)]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are a part of TOML's."""
    return json.dumps(text)


def _text(answer: dict[str, Any], key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str):
        raise errors.ServerUnreachableError(f"the server's answer holds no {key}")
    return value
