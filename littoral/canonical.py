"""Canonical JSON: the one byte string that stands for a value, so that it can be signed and named by its digest.

Objects with sorted keys, lists, strings, integers, booleans and null; UTF-8; no spaces; no floats.
"""

import hashlib
import json
from typing import Any


def encode(value: Any) -> bytes:
    """The canonical bytes of `value`. Raises TypeError for floats and anything JSON does not know."""
    _refuse_floats(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def digest(data: bytes) -> str:
    """sha256 of `data`, as 64 hex digits: the name of a blob, a chunk or a bundle."""
    return hashlib.sha256(data).hexdigest()


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise TypeError(f"canonical JSON has no floats: {value!r}")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"canonical JSON has only strings as keys: {key!r}")
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)
