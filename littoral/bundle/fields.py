"""What `[[input]]` and `[[output]]` of a card may hold: every field with its default, and what its value may be.

docs/card.md says what each means. Whether it fits a model's tensors is the matter of littoral/bundle/task.py.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_DECIMAL_CHARACTERS = 40
MAX_ENTRIES = 1_000  # of a list
DIGITS = frozenset("0123456789+-.eE")  # what float() reads beside these (nan, inf, 1_0) is no decimal


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `read` gives the value as the code uses it, decimals as float, and raises ValueError saying what it
    should be. `default` is as TOML would have it; None where leaving it out means something of its own.
    """

    read: Callable[[Any], Any]
    default: Any = None


def read(value: Mapping[str, Any], known: Mapping[str, Field]) -> dict[str, Any]:
    """All known fields, those left out at their default. Raises ValueError."""
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise ValueError(f"holds {', '.join(unknown)}; known are {', '.join(known)}")
    found = {}
    for name, field in known.items():
        given = value.get(name, field.default)
        try:
            found[name] = None if given is None else field.read(given)
        except ValueError as error:
            raise ValueError(f"{name} is {given!r}; it is {error}") from error
    return found


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a string")
    return value


def one_of(*names: str) -> Callable[[Any], str]:
    def choice(value: Any) -> str:
        if value not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return str(value)

    return choice


def switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def integer(least: int, most: int) -> Callable[[Any], int]:
    def number(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"an integer from {least} to {most}")
        return value

    return number


def decimal(value: Any) -> float:
    if not isinstance(value, str):
        raise ValueError('a decimal, and decimals are strings: "127.5"')
    number = math.nan
    if len(value) <= MAX_DECIMAL_CHARACTERS and set(value) <= DIGITS:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
    if not math.isfinite(number):
        raise ValueError('a decimal, as in "127.5"')
    return number


def fraction(value: Any) -> float:
    number = decimal(value)
    if not 0 <= number <= 1:
        raise ValueError('a decimal from "0" to "1"')
    return number


def each(item: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    """A list, or one value that stands for itself alone."""

    def entries(value: Any) -> tuple[Any, ...]:
        given = value if isinstance(value, list) else [value]
        if not 1 <= len(given) <= MAX_ENTRIES:
            raise ValueError(f"1 to {MAX_ENTRIES} values")
        return tuple(item(entry) for entry in given)

    return entries


def tensor(value: Any) -> str | int:
    """An output by its name, or by its number from 0."""
    if isinstance(value, str) or (type(value) is int and value >= 0):
        return value
    raise ValueError("an output's name, or its number from 0")


_NAMED = {"name": Field(text), "kind": Field(one_of("image", "tensor", "window"), "tensor")}
_SCALED = {"mean": Field(each(decimal)), "scale": Field(each(decimal))}

INPUTS: dict[str, dict[str, Field]] = {
    "image": {
        **_NAMED,
        "colour": Field(one_of("rgb", "bgr", "grey"), "rgb"),
        "resize": Field(one_of("stretch", "letterbox", "crop"), "stretch"),
        "fill": Field(integer(0, 255), 0),
        "matrix": Field(one_of("bt601", "bt709"), "bt601"),
        "range": Field(one_of("video", "full"), "video"),
        **_SCALED,
    },
    "window": {
        **_NAMED,
        "rate": Field(integer(1, 10_000_000)),
        "hop": Field(integer(1, 2**31 - 1)),
        "channels": Field(integer(1, 1_024), 1),
        **_SCALED,
    },
    "tensor": {**_NAMED, **_SCALED},
}

_DECODER = {"decoder": Field(text, "raw")}
_ONE_TENSOR = {"tensor": Field(tensor, 0)}
_ACTIVATION = {"activation": Field(one_of("none", "sigmoid"), "none")}
_OFFSET = {"offset": Field(integer(-1_000, 1_000), 0)}
_BOXES = {
    **_OFFSET,
    "threshold": Field(fraction, "0.25"),
    "overlap": Field(fraction, "0.45"),
    "top": Field(integer(1, 1_000), 100),
}

OUTPUTS: dict[str, dict[str, Field]] = {
    "classification": {
        **_DECODER,
        **_ONE_TENSOR,
        "activation": Field(one_of("none", "softmax", "sigmoid"), "none"),
        **_OFFSET,
        "threshold": Field(fraction, "0"),
        "top": Field(integer(1, 1_000), 5),
    },
    "ssd": {
        **_DECODER,
        "boxes": Field(tensor, 0),
        "classes": Field(tensor, 1),
        "scores": Field(tensor, 2),
        "count": Field(tensor, 3),
        **_BOXES,
        "threshold": Field(fraction, "0.5"),
        "overlap": Field(fraction, "1"),
    },
    "yolo": {
        **_DECODER,
        **_ONE_TENSOR,
        "variant": Field(one_of("v5", "v8"), "v8"),
        "transposed": Field(switch, False),
        "coordinates": Field(one_of("normalised", "pixels"), "normalised"),
        **_ACTIVATION,
        **_BOXES,
    },
    "anchor-free": {
        **_DECODER,
        "boxes": Field(tensor, 0),
        "scores": Field(tensor),
        "strides": Field(each(integer(1, 4_096)), [8, 16, 32]),
        "per_cell": Field(each(integer(1, 64)), [1]),
        "centre": Field(decimal, "0.5"),
        "columns": Field(each(one_of("boxes", "objectness", "scores", "points")), ["boxes", "scores"]),
        "box": Field(one_of("offset", "ltrb", "dfl", "yolox"), "ltrb"),
        "bins": Field(integer(2, 256), 8),
        "points": Field(each(text)),
        **_ACTIVATION,
        **_BOXES,
    },
    "segmentation": {
        **_DECODER,
        **_ONE_TENSOR,
        "activation": Field(one_of("none", "softmax", "sigmoid"), "none"),
        **_OFFSET,
        "threshold": Field(fraction, "0"),
    },
    "embedding": {**_DECODER, **_ONE_TENSOR, "normalise": Field(one_of("none", "l2"), "none")},
    "keypoints": {
        **_DECODER,
        **_ONE_TENSOR,
        "variant": Field(one_of("movenet", "yolo"), "movenet"),
        "points": Field(each(text)),
        "transposed": Field(switch, False),
        "coordinates": Field(one_of("normalised", "pixels"), "normalised"),
        **_ACTIVATION,
        **_BOXES,
    },
    "raw": {**_DECODER},
}
