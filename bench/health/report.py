"""The numbers of a study as Markdown, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from bench.health.releases import Row
from bench.health.study import HARMLESS, Plan, Tally
from littoral.bundle.manifest import Lineage

NAMES = {Row.MISREAD, Row.MISREAD_RETRAINED}


def line(tally: Tally) -> str:
    flagged = ", ".join(f"{lineage.value} {_share(tally.flagged[lineage], tally.evidence)}" for lineage in Lineage)
    return (
        f"{tally.subject}, {tally.part}: {tally.variant.row.name} {tally.variant.name}: changes {tally.harm:.0%}, "
        f"{tally.evidence} of {tally.rings} rings, flagged {flagged}, named {_share(tally.named, tally.evidence)}, "
        f"misnamed {_share(tally.misnamed, tally.evidence)}, {dict(tally.codes.most_common())}"
    )


def text(tallies: list[Tally], plan: Plan) -> str:
    """Three tables: rows against pools, faults one by one, and the good releases one by one."""
    parts = [
        f"{plan.views} views a pool in {len(tallies)} comparisons.",
        "",
        *_summary(tallies),
        "",
        *_one_by_one([tally for tally in tallies if tally.variant.row in (Row.SPOILED, *NAMES)]),
    ]
    return "\n".join(parts)


def _summary(tallies: list[Tally]) -> Iterable[str]:
    yield "| row | model, pictures | rings with evidence | rebuild | retrained | other | named | signals |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in Row:
        pools = dict.fromkeys((tally.subject, tally.part) for tally in tallies if tally.variant.row is row)
        for subject, part in pools:
            those = [t for t in tallies if t.variant.row is row and (t.subject, t.part) == (subject, part) and t.counts]
            evidence = sum(tally.evidence for tally in those)
            judged = (
                [
                    _share(sum(t.flagged[lineage] for t in those), evidence) if lineage in those[0].lineages else ""
                    for lineage in Lineage
                ]
                if those
                else [""] * len(Lineage)
            )
            named = _share(sum(tally.named for tally in those), evidence) if row in NAMES else ""
            signals = sum((tally.codes for tally in those), start=type(tallies[0].codes)())
            told = ", ".join(f"{code} {count}" for code, count in signals.most_common() if code)
            cells = (
                row.value,
                f"{subject}, {part}",
                f"{evidence} of {sum(t.rings for t in those)}",
                *judged,
                named,
                told,
            )
            yield f"| {' | '.join(cells)} |"


def _one_by_one(tallies: list[Tally]) -> Iterable[str]:
    pools = list(dict.fromkeys((tally.subject, tally.part) for tally in tallies))
    yield f"| release | {' | '.join(f'{subject}, {part}' for subject, part in pools)} |"
    yield f"|---|{'---|' * len(pools)}"
    for name in dict.fromkeys(tally.variant.name for tally in tallies):
        cells = []
        for pool in pools:
            found = [tally for tally in tallies if (tally.subject, tally.part) == pool and tally.variant.name == name]
            cells.append(_cell(found[0]) if found else "")
        yield f"| {name} | {' | '.join(cells)} |"


def _cell(tally: Tally) -> str:
    """Flagged under rebuild / under retrained, and what caught it most often."""
    signal = next((code for code, _ in tally.codes.most_common() if code), "none")
    shares = " / ".join(_share(tally.flagged[lineage], tally.evidence) for lineage in tally.lineages)
    named = f", named {_share(tally.named, tally.evidence)}" if tally.variant.row in NAMES else ""
    harmless = f" (changes {tally.harm:.0%})" if tally.harm < HARMLESS else ""
    return f"{shares} {signal}{named}{harmless}"


def write(path: Path, tallies: list[Tally]) -> None:
    found = [
        {
            "model": tally.subject,
            "pictures": tally.part,
            "row": tally.variant.row.value,
            "release": tally.variant.name,
            "changed": round(tally.harm, 3),
            "rings": tally.rings,
            "evidence": tally.evidence,
            "flagged": {lineage.value: tally.flagged[lineage] for lineage in Lineage},
            "named": tally.named,
            "misnamed": tally.misnamed,
            "codes": dict(tally.codes),
        }
        for tally in tallies
    ]
    path.write_text(json.dumps(found, indent=1) + "\n")


def _share(part: int, whole: int) -> str:
    """Per cent, with as many digits as it takes to tell it from none and all."""
    if not whole:
        return "-"
    share = 100 * part / whole
    return (
        f"{share:.0f} %"
        if part in (0, whole) or 1 <= share <= 99
        else f"{share:.2g} %"
        if share < 1
        else f"{share:.2f} %"
    )
