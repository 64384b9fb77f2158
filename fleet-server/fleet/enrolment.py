"""How a device joins: a one-time token and a certificate request in, an identity out."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from fleet.ca import SERVER_NAME, Authority, Request, read_request
from fleet.store import Device, Store, Token
from littoral.errors import (
    BadRequestError,
    NameTakenError,
    TokenExpiredError,
    TokenUnknownError,
    TokenUsedError,
)
from littoral.names import check_name

TOKEN_LIFE_S = 86_400
MAX_TAGS = 64


@dataclass(frozen=True, slots=True)
class Application:
    """What a device says of itself. Without a name it is given one."""

    token: str
    csr: str
    name: str | None
    tags: Mapping[str, str]
    architecture: str


@dataclass(frozen=True, slots=True)
class Admission:
    """A device that is in, and its certificate (PEM)."""

    device: str
    certificate: str
    new: bool


def admit(store: Store, authority: Authority, application: Application, now: int) -> Admission:
    """Takes the device in, and uses up the token, or changes nothing.

    A device whose answer was lost may ask again with the same token and key, and is given the same name.

    Raises TokenUnknownError, TokenUsedError, TokenExpiredError, NameTakenError, BadNameError, BadRequestError.
    """
    with store.atomic():
        token = store.access.token(application.token)
        if token is None:
            raise TokenUnknownError("this fleet server never made such a token")
        request = read_request(application.csr)
        known = _asked_again(token, request)
        if known is None:
            _check_usable(token, now)
        device = replace(_device(application, now), id=known) if known else _device(application, now)
        if known is None:
            if store.devices.get(device.id) is not None or device.id == SERVER_NAME:
                raise NameTakenError(f"a device {device.id!r} is enrolled already")
            store.devices.add(device)
            store.access.use_token(application.token, device.id, request.key_digest, now)
    certificate = authority.issue_device(request, device.id, datetime.fromtimestamp(now, UTC))
    return Admission(device.id, certificate, new=known is None)


def _asked_again(token: Token, request: Request) -> str | None:
    return token.device if token.used and token.key == request.key_digest else None


def _check_usable(token: Token, now: int) -> None:
    if token.used:
        raise TokenUsedError(f"the token was used {_date(token.used)} by {token.device!r}")
    if now >= token.expires:
        raise TokenExpiredError(f"the token was good until {_date(token.expires)}")


def _device(application: Application, now: int) -> Device:
    if len(application.tags) > MAX_TAGS:
        raise BadRequestError(f"{len(application.tags)} tags, the limit is {MAX_TAGS}")
    return Device(
        id=check_name(application.name or f"device-{secrets.token_hex(4)}", "device name"),
        tags={check_name(k, "tag"): check_name(v, "tag value") for k, v in application.tags.items()},
        architecture=check_architecture(application.architecture),
        enrolled=now,
    )


def check_architecture(name: str) -> str:
    """As `uname -m` says it. Raises BadRequestError."""
    if not 0 < len(name) <= 32 or not name.isascii() or not name.replace("_", "").replace("-", "").isalnum():
        raise BadRequestError(f"{name!r} is no architecture", remedy="Send what `uname -m` says.")
    return name


def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
