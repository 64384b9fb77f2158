"""The one form of names: models, devices, tenants, tag keys and values."""

import re

from littoral.errors import BadNameError

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def check_name(name: object, what: str = "name") -> str:
    """`name` itself if it is one. Raises BadNameError."""
    if not isinstance(name, str) or not is_name(name):
        raise BadNameError(f"{name!r} is no {what}")
    return name
