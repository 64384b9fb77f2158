"""The card: what a model expects and answers, written by its author in TOML, signed with the release.

Everything in it is optional. Numbers that are no integers are decimal strings, so that no reader rounds them. What
inputs and outputs hold is in littoral/bundle/fields.py, and what they mean for a model in littoral/bundle/task.py;
docs/card.md has it all.
"""

from dataclasses import dataclass
from typing import Any

from littoral.bundle import fields
from littoral.bundle.manifest import Health, Limits, Needs, parse_engine
from littoral.errors import CardError

MAX_CARD_BYTES = 16_384
NEEDS = ("architectures", "engines", "memory_bytes", "disk_bytes", "delegate", "cpu")


@dataclass(frozen=True, slots=True)
class Card:
    """`inputs` and `outputs` are the author's words, checked one by one and left as they are; `compare` and
    `tolerance_ppm` are how golden answers compare, `right_ppm` is the share of labelled cases to be answered right.
    """

    inputs: tuple[dict[str, Any], ...] = ()
    outputs: tuple[dict[str, Any], ...] = ()
    limits: Limits = Limits()
    needs: Needs = Needs()
    health: Health = Health()
    compare: str = "tolerance"
    tolerance_ppm: int = 20_000
    right_ppm: int = 800_000

    def to_json(self) -> dict[str, Any]:
        """What WELCOME tells a client."""
        return {"input": list(self.inputs), "output": list(self.outputs)}


def parse(text: str) -> Card:
    """Raises CardError for anything it does not know: a misspelt limit must not be silently none."""
    if len(text.encode()) > MAX_CARD_BYTES:
        raise CardError(f"a card of over {MAX_CARD_BYTES} bytes")
    value = _toml(text) if text else {}
    _only(value, ("input", "output", "limits", "needs", "health", "golden"), "the card")
    golden = _table(value, "golden", ("compare", "tolerance_ppm", "right"))
    compare = golden.get("compare", "tolerance")
    if compare not in ("tolerance", "top1"):
        raise CardError(f"[golden] compare is {compare!r}; it is tolerance or top1")
    limits = _table(value, "limits", ("p95_us", "memory_bytes"))
    return Card(
        inputs=tuple(_input(entry) for entry in _list(value, "input")),
        outputs=tuple(_output(entry) for entry in _list(value, "output")),
        limits=Limits(_number(limits, "p95_us"), _number(limits, "memory_bytes")),
        needs=_needs(_table(value, "needs", NEEDS)),
        health=_health(_table(value, "health", ("errors", "late"))),
        compare=compare,
        tolerance_ppm=_number(golden, "tolerance_ppm", 20_000),
        right_ppm=_share_ppm(golden.get("right", "0.8")),
    )


def _input(value: dict[str, Any]) -> dict[str, Any]:
    return _checked(value, "[[input]] kind", value.get("kind", "tensor"), fields.INPUTS)


def _output(value: dict[str, Any]) -> dict[str, Any]:
    return _checked(value, "[[output]] decoder", value.get("decoder", "raw"), fields.OUTPUTS)


def _checked(value: dict[str, Any], what: str, kind: Any, known: dict[str, dict[str, fields.Field]]) -> dict[str, Any]:
    if not isinstance(kind, str) or kind not in known:
        raise CardError(f"{what} is {kind!r}; it is one of {', '.join(known)}")
    try:
        fields.read(value, known[kind])
    except ValueError as error:
        raise CardError(f"{what} {kind}: {error}") from error
    return value


def _needs(value: dict[str, Any]) -> Needs:
    texts = {}
    for key in ("architectures", "engines"):
        texts[key] = value.get(key, [])
        if not isinstance(texts[key], list) or not all(isinstance(item, str) for item in texts[key]):
            raise CardError(f"[needs] {key} is a list of strings")
    try:
        for engine in texts["engines"]:
            parse_engine(engine)
    except ValueError as error:
        raise CardError(f"[needs] engines: {error}") from error
    cpu = value.get("cpu", "fallback")
    if cpu not in ("fallback", "refuse"):
        raise CardError(f"[needs] cpu is {cpu!r}; it is fallback or refuse")
    return Needs(
        architectures=tuple(texts["architectures"]),
        engines=tuple(texts["engines"]),
        memory_bytes=_number(value, "memory_bytes"),
        disk_bytes=_number(value, "disk_bytes"),
        delegate=str(value.get("delegate", "")),
        cpu=cpu,
    )


def _health(value: dict[str, Any]) -> Health:
    ppm = {}
    for key, given in value.items():
        try:
            ppm[key] = round(fields.fraction(given) * 1_000_000)
        except ValueError as error:
            raise CardError(f"[health] {key} is {given!r}; it is {error}") from error
        if not 0 < ppm[key] < 1_000_000:
            raise CardError(f'[health] {key} is {given!r}; it is a share between "0.000001" and "0.999999"')
    return Health(ppm.get("errors", 0), ppm.get("late", 0))


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


def _share_ppm(value: Any) -> int:
    try:
        return round(fields.fraction(value) * 1_000_000)
    except ValueError as error:
        raise CardError(f"[golden] right is {value!r}; it is {error}") from error


def _toml(text: str) -> dict[str, Any]:
    import tomllib  # only for a card that says something: it is half a megabyte of every worker

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # not TOML, too long a number, too deep
        raise CardError(f"the card is not TOML: {error}") from error


def _only(value: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise CardError(f"{where} holds {', '.join(unknown)}; known are {', '.join(known)}")
