"""What is measured, what is to be reached, and how both are told. It measures nothing itself."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Measure:
    """One number to reach. target None: it depends on what is measured beside it, and the reading says it."""

    name: str
    what: str
    target: float | None
    unit: str  # x: a ratio of two numbers of the same run
    at_least: bool = False  # else the target is the most it may be


@dataclass(frozen=True, slots=True)
class Reading:
    """One number as measured. seen: the numbers it was made of, for people."""

    value: float
    seen: str
    target: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    measure: Measure
    reading: Reading

    @property
    def target(self) -> float:
        found = self.reading.target if self.measure.target is None else self.measure.target
        if found is None:
            raise ValueError(f"{self.measure.name} has no target")
        return found

    @property
    def met(self) -> bool:
        return self.reading.value >= self.target if self.measure.at_least else self.reading.value <= self.target

    @property
    def row(self) -> str:
        """A row of a Markdown table."""
        sign, unit = ("at least" if self.measure.at_least else "at most"), self.measure.unit
        reached = f"{self.reading.value:.4g} {unit}" if self.met else f"**{self.reading.value:.4g} {unit}**"
        cells = (self.measure.name, self.measure.what, f"{sign} {self.target:.4g} {unit}", reached, self.reading.seen)
        return f"| {' | '.join(cells)} |"


_COLUMNS = ("measure", "what", "to reach", "measured", "from")
TABLE_HEAD = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}"


def write(path: Path, results: Iterable[Result]) -> None:
    """As JSON: {measure: {value, target, met, unit}}."""
    found = {
        result.measure.name: {
            "value": result.reading.value,
            "target": result.target,
            "met": result.met,
            "unit": result.measure.unit,
        }
        for result in results
    }
    path.write_text(json.dumps(found, indent=2) + "\n")


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of each round, whose two numbers were measured one right after the other."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def compared(ours: Sequence[float], theirs: Sequence[float], who: str, unit: str) -> Reading:
    """The ratio of two series of rounds."""
    a, b = statistics.median(ours), statistics.median(theirs)
    return Reading(median_ratio(ours, theirs), f"{a:.4g} {unit}; {who} {b:.4g} {unit}")
