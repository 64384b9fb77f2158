"""The card: what a model expects and answers, written by its author in TOML, signed with the release.

Everything in it is optional. Numbers that are no integers are decimal strings, so that no reader rounds them. This
version carries inputs and outputs to the client as they are; the worker does not act on them yet.
"""

import tomllib
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from littoral.bundle.manifest import Limits, Needs
from littoral.errors import CardError

MAX_CARD_BYTES = 16_384
INPUT_KINDS = ("image", "tensor", "window")
DECODERS = (
    "classification",
    "ssd",
    "yolo",
    "anchor-free",
    "segmentation",
    "embedding",
    "keypoints",
    "raw",
)


@dataclass(frozen=True, slots=True)
class Card:
    """`inputs` and `outputs` are plain JSON values; `compare` and `tolerance_ppm` are how golden answers compare."""

    inputs: tuple[dict[str, Any], ...] = ()
    outputs: tuple[dict[str, Any], ...] = ()
    limits: Limits = Limits()
    needs: Needs = Needs()
    compare: str = "tolerance"
    tolerance_ppm: int = 20_000

    def to_json(self) -> dict[str, Any]:
        """What WELCOME tells a client."""
        return {"input": list(self.inputs), "output": list(self.outputs)}


def parse(text: str) -> Card:
    """Raises CardError for anything it does not know: a misspelt limit must not be silently none."""
    if len(text.encode()) > MAX_CARD_BYTES:
        raise CardError(f"a card of over {MAX_CARD_BYTES} bytes")
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CardError(f"the card is not TOML: {error}") from error
    _only(value, ("input", "output", "limits", "needs", "golden"), "the card")
    golden = _table(value, "golden", ("compare", "tolerance_ppm"))
    compare = golden.get("compare", "tolerance")
    if compare not in ("tolerance", "top1"):
        raise CardError(f"[golden] compare is {compare!r}; it is tolerance or top1")
    limits = _table(value, "limits", ("p95_us", "memory_bytes"))
    return Card(
        inputs=tuple(_input(entry) for entry in _list(value, "input")),
        outputs=tuple(_output(entry) for entry in _list(value, "output")),
        limits=Limits(_number(limits, "p95_us"), _number(limits, "memory_bytes")),
        needs=_needs(_table(value, "needs", ("architectures", "engines", "memory_bytes", "disk_bytes", "delegate"))),
        compare=compare,
        tolerance_ppm=_number(golden, "tolerance_ppm", 20_000),
    )


def _input(value: dict[str, Any]) -> dict[str, Any]:
    _only(value, ("name", "kind", "colour", "resize", "mean", "scale"), "[[input]]")
    if value.get("kind", "tensor") not in INPUT_KINDS:
        raise CardError(f"[[input]] kind is {value['kind']!r}; it is one of {', '.join(INPUT_KINDS)}")
    for key in ("mean", "scale"):
        items = value.get(key, [])
        for item in items if isinstance(items, list) else [items]:
            _decimal(item, key)
    return value


def _output(value: dict[str, Any]) -> dict[str, Any]:
    if value.get("decoder", "raw") not in DECODERS:
        raise CardError(f"[[output]] decoder is {value['decoder']!r}; it is one of {', '.join(DECODERS)}")
    if any(isinstance(item, float) for item in value.values()):
        raise CardError("[[output]] holds a float: write numbers with a point as strings")
    return value


def _needs(value: dict[str, Any]) -> Needs:
    texts = {}
    for key in ("architectures", "engines"):
        texts[key] = value.get(key, [])
        if not isinstance(texts[key], list) or not all(isinstance(item, str) for item in texts[key]):
            raise CardError(f"[needs] {key} is a list of strings")
    return Needs(
        architectures=tuple(texts["architectures"]),
        engines=tuple(texts["engines"]),
        memory_bytes=_number(value, "memory_bytes"),
        disk_bytes=_number(value, "disk_bytes"),
        delegate=str(value.get("delegate", "")),
    )


def _decimal(value: Any, key: str) -> None:
    if not isinstance(value, str):
        raise CardError(f'[[input]] {key} holds {value!r}: write decimals as strings, "127.5"')
    try:
        Decimal(value)
    except InvalidOperation as error:
        raise CardError(f"[[input]] {key} holds {value!r}, which is no decimal") from error


def _table(value: dict[str, Any], key: str, known: tuple[str, ...]) -> dict[str, Any]:
    table = value.get(key, {})
    if not isinstance(table, dict):
        raise CardError(f"[{key}] is a table")
    _only(table, known, f"[{key}]")
    return table


def _list(value: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = value.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CardError(f"[[{key}]] is a list of tables")
    return entries


def _number(table: dict[str, Any], key: str, default: int = 0) -> int:
    value = table.get(key, default)
    if type(value) is not int or not 0 <= value < 2**53:
        raise CardError(f"{key} is {value!r}; it is an integer from 0 up")
    return value


def _only(value: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise CardError(f"{where} holds {', '.join(unknown)}; known are {', '.join(known)}")
