"""Who may do what at the fleet server's door: administrators' API tokens and one-time enrolment tokens.

Only digests are stored. The tokens are random enough that a plain sha256 is not worth attacking.
"""

import hashlib
import secrets
from dataclasses import dataclass

from fleet.store.session import Session

SECRET_BYTES = 24


@dataclass(frozen=True, slots=True)
class Token:
    """A one-time enrolment token. `used` is 0, or when `device` with the public key of digest `key` took it."""

    expires: int
    used: int
    device: str
    key: str


class Access:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add_admin(self) -> str:
        """A new API token with every right."""
        token = secrets.token_hex(SECRET_BYTES)
        with self._session.atomic() as db:
            db.table("admins").insert({"token": _digest(token), "cookie": _digest(page_cookie(token))})
        return token

    def is_admin(self, token: str) -> bool:
        return self._session.row("SELECT 1 FROM admins WHERE token = ?", _digest(token)) is not None

    def is_viewer(self, cookie: str) -> bool:
        """Whether the page's cookie was made from an administrator's token."""
        return self._session.row("SELECT 1 FROM admins WHERE cookie = ?", _digest(cookie)) is not None

    def add_token(self, root: bytes, expires: int) -> str:
        """A one-time enrolment token that names the fleet's first root.json by its digest."""
        token = f"{secrets.token_hex(SECRET_BYTES)}.{hashlib.sha256(root).hexdigest()[:32]}"
        with self._session.atomic() as db:
            row = {"token": _digest(token), "expires": expires, "used": 0, "device": "", "key": ""}
            db.table("tokens").insert(row)
        return token

    def token(self, token: str) -> Token | None:
        row = self._session.row("SELECT * FROM tokens WHERE token = ?", _digest(token))
        return None if row is None else Token(row["expires"], row["used"], row["device"], row["key"])

    def use_token(self, token: str, device: str, key: str, now: int) -> None:
        with self._session.atomic() as db:
            db.table("tokens").update(_digest(token), {"used": now, "device": device, "key": key})


def page_cookie(token: str) -> str:
    """The page's cookie: it lets its holder look, and does not give the token away."""
    return _digest(f"littoral page {token}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
