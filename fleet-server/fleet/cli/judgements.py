"""The evidence behind a verdict, for people. It is what a device sent: a part that is missing or odd is left out."""

from collections.abc import Iterator
from typing import Any

from fleet.cli import tables

WIDTH = 11  # of what each line is about


def text(judgement: dict[str, Any]) -> str:
    """One judgement in lines: the verdict, each test against its bound, the comparison with the release before."""
    evidence = _object(judgement.get("evidence"))
    outcome, code = _words(evidence, "outcome") or "judged", _words(evidence, "code")
    when = tables.date(judgement["received"])
    lines = [f"{judgement['model']} release {judgement['release']}, {when}: {outcome}{f' ({code})' if code else ''}"]
    lines += _indented("", [_words(evidence, "reason")])
    for signal, test in _object(evidence.get("tests")).items():
        lines += _indented(signal, [_test(_object(test))])
    for name in ("rehearsal", "shadow"):
        compared = _object(evidence.get(name))
        if compared.get("reason") == evidence.get("reason"):
            compared = {**compared, "reason": ""}  # it was said above
        lines += _indented(name, [_compared(compared)] if compared else [])
        for probe in map(_object, _list(compared.get("probes"))):
            if probe.get("fires"):
                lines += _indented("probe", [_probe(probe)])
        for example in map(_object, _list(compared.get("worst"))):
            answers = [f"{side} {_words(example, side)}" for side in ("baseline", "release") if _words(example, side)]
            lines += _indented("worst", [", ".join(answers)])
    return "\n".join(map(tables.printable, lines))


def _indented(about: str, told: list[str]) -> list[str]:
    return [f"  {f'{about:<{WIDTH}} ' if about else ''}{line}" for line in told if line]


def _test(test: dict[str, Any]) -> str:
    counted = ((("bad", "requests"), "requests"), (("bad_blocks", "blocks"), "blocks"))
    parts = [f"{test[bad]} of {test[of]} {what}" for (bad, of), what in counted if _is_number(test, bad, of)]
    if _is_number(test, "ratio_milli", "bound_milli"):
        parts.append(f"ratio {test['ratio_milli'] / 1000:.2f}, {test['bound_milli'] / 1000:.2f} is bad")
    return ", ".join(parts)


def _compared(compared: dict[str, Any]) -> str:
    return "; ".join(_measures(compared))


def _measures(compared: dict[str, Any]) -> Iterator[str]:
    if _is_number(compared, "baseline_release"):
        yield f"against release {compared['baseline_release']}, gate {_words(compared, 'gate') or 'unknown'}"
    if _is_number(compared, "inputs", "scenes"):
        yield f"{compared['inputs']} inputs, {compared['scenes']} scenes"
    if compared.get("evidence") == "none":
        yield f"no evidence{': ' if _words(compared, 'why') else ''}{_words(compared, 'why')}"
        return
    if _is_number(compared, "skill_ppm"):
        least = f", {_decimal(compared['skill_limit_ppm'])} at least" if _is_number(compared, "skill_limit_ppm") else ""
        yield f"skill {_decimal(compared['skill_ppm'])}{least}"
    if _is_number(compared, "boxes_ppm"):
        yield f"boxes {_decimal(compared['boxes_ppm'])}"
    if _is_number(compared, "sure", "disagreements"):
        bad = f", {compared['disagreements_limit']} is bad" if _is_number(compared, "disagreements_limit") else ""
        yield f"disagrees on {compared['disagreements']} of {compared['sure']} sure{bad}"
    if _is_number(compared, "ratio_ppm"):
        yield f"{_decimal(compared['ratio_ppm'])} times as long"
    if _words(compared, "reason"):
        yield _words(compared, "reason")


def _probe(probe: dict[str, Any]) -> str:
    skill = f": skill {_decimal(probe['skill_ppm'])} if so" if _is_number(probe, "skill_ppm") else ""
    return f"it {_words(probe, 'text') or _words(probe, 'name')}{skill}"


def _decimal(ppm: int) -> str:
    return f"{ppm / 1_000_000:.2f}"


def _is_number(value: dict[str, Any], *names: str) -> bool:
    return all(type(value.get(name)) is int for name in names)


def _words(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
