"""The numbers of a study as Markdown, and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.health.releases import Row
from bench.health.study import Tally
from bench.health.subjects import TESTING
from littoral.bundle.manifest import Lineage

NAMES = {Row.MISREAD, Row.MISREAD_RETRAINED}
GOOD = {Row.REBUILT, Row.RETRAINED, Row.OTHER}


def line(tally: Tally) -> str:
    flagged = ", ".join(f"{lineage.value} {_share(tally.flagged[lineage], tally.evidence)}" for lineage in Lineage)
    return (
        f"{tally.subject}, {tally.part}: {tally.variant.row.name} {tally.variant.name}: changes {tally.harm:.0%}, "
        f"{tally.evidence} of {tally.rings} rings, flagged {flagged}, named {_share(tally.named, tally.evidence)}, "
        f"misnamed {_share(tally.misnamed, tally.evidence)}, {dict(tally.codes.most_common())}"
    )


def text(tallies: list[Tally]) -> str:
    """Two tables: what was counted of each model and its pictures; and each bad release by itself, on pictures that no
    limit was looked at on.
    """
    bad = [tally for tally in tallies if tally.variant.row not in GOOD and tally.part == TESTING]
    return "\n".join([*_summary(tallies), "", *_one_by_one(bad)])


def _summary(tallies: list[Tally]) -> Iterator[str]:
    yield "| releases | model | pictures | rings with evidence | rebuild | retrained | other | named | signals |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in Row:
        for subject, part in dict.fromkeys((tally.subject, tally.part) for tally in tallies):
            those = [t for t in tallies if (t.variant.row, t.subject, t.part) == (row, subject, part) and t.counts]
            if those:
                yield f"| {row.value} | {subject} | {part} | {' | '.join(_counted(those))} |"


def _counted(tallies: list[Tally]) -> Iterator[str]:
    evidence = sum(tally.evidence for tally in tallies)
    yield f"{evidence} of {sum(tally.rings for tally in tallies)}"
    for lineage in Lineage:
        flagged = sum(tally.flagged[lineage] for tally in tallies)
        yield _share(flagged, evidence) if lineage in tallies[0].lineages else ""
    yield _share(sum(tally.named for tally in tallies), evidence) if tallies[0].variant.row in NAMES else ""
    codes: Counter[str] = sum((tally.codes for tally in tallies), start=Counter())
    yield ", ".join(f"{code} {count}" for code, count in codes.most_common() if code)


def _one_by_one(tallies: list[Tally]) -> Iterator[str]:
    subjects = list(dict.fromkeys(tally.subject for tally in tallies))
    yield f"| release | {' | '.join(subjects)} |"
    yield f"|---|{'---|' * len(subjects)}"
    for name in dict.fromkeys(tally.variant.name for tally in tallies):
        found = {tally.subject: tally for tally in tallies if tally.variant.name == name}
        yield f"| {name} | {' | '.join(_cell(found[subject]) if subject in found else '' for subject in subjects)} |"


def _cell(tally: Tally) -> str:
    """What share of rings flags it under rebuild / under retrained, or names its fault; and the commonest signal."""
    if not tally.counts:
        return f"harmless: changes {tally.harm:.0%}"
    signal = next((code for code, _ in tally.codes.most_common() if code), "")
    if tally.variant.row in NAMES:
        return f"named {_share(tally.named, tally.evidence)}"
    return f"{' / '.join(_share(tally.flagged[lineage], tally.evidence) for lineage in tally.lineages)} {signal}"


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
    digits = 2 if part not in (0, whole) and min(share, 100 - share) < 1 else 0
    return f"{share:.{digits}f} %"
