"""Maintenance windows: when in the week an update may be activated. It has no clock: the caller tells the local time.

A window is written as `[DAYS ]HH:MM-HH:MM`, several separated by `;`. DAYS are `mon` to `sun`, alone, as a range
(`mon-fri`, `sat-mon`) or as a list of both (`mon-wed,sat`); left out: every day. One that ends before it begins
crosses midnight, and belongs to the day it begins on. `00:00-24:00` is the whole day. Hours are those on the wall:
where the clock leaps forward over a window it is shorter or left out, and where it goes back it comes twice.
"""

import re
import time
from dataclasses import dataclass

from littoral.errors import WindowError

MAX_CHARACTERS = 128  # it is kept in a device's update record, which is one block
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")  # as tm_wday counts
_DAY_MINUTES = 24 * 60
_WEEK_MINUTES = 7 * _DAY_MINUTES
_SPAN = re.compile(r"(?:([a-z,-]+) +)?([0-9]{2}:[0-9]{2})-([0-9]{2}:[0-9]{2})")


@dataclass(frozen=True, slots=True)
class Window:
    """When it is open. spans: (begin in minutes since Monday 00:00, length in minutes). text: as it was written."""

    text: str
    spans: tuple[tuple[int, int], ...]

    def contains(self, at: time.struct_time) -> bool:
        """Whether it is open at this local time. The minute it ends at is outside."""
        minute = _second_of_week(at) // 60
        return any((minute - begin) % _WEEK_MINUTES < length for begin, length in self.spans)

    def opens_in(self, at: time.struct_time) -> int:
        """Seconds on the wall's clock until it opens; 0 while it is open."""
        if self.contains(at):
            return 0
        second = _second_of_week(at)
        return min((begin * 60 - second) % (_WEEK_MINUTES * 60) for begin, _ in self.spans)


def parse(text: str) -> Window:
    """Raises WindowError for what is no window."""
    if not text.isprintable():
        raise WindowError(f"{text[:MAX_CHARACTERS]!r} is no maintenance window")
    if len(text) > MAX_CHARACTERS:
        raise WindowError(f"a maintenance window of {len(text)} characters; the limit is {MAX_CHARACTERS}")
    return Window(text, tuple(span for part in text.split(";") for span in _spans(part.strip())))


def _spans(part: str) -> list[tuple[int, int]]:
    found = _SPAN.fullmatch(part)
    if found is None:
        raise WindowError(f"{part!r} is no maintenance window")
    days, *clock = found.groups()
    begin, end = (_minute(each) for each in clock)
    if begin in (end, _DAY_MINUTES):
        raise WindowError(f"{part!r} is no maintenance window: it has no length, or begins when the day is over")
    length = (end - begin) % _DAY_MINUTES or _DAY_MINUTES
    return [(day * _DAY_MINUTES + begin, length) for day in (_days(days) if days else range(len(_DAYS)))]


def _days(text: str) -> set[int]:
    days: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in _DAYS or (last if dash else first) not in _DAYS:
            raise WindowError(f"{part!r} is no day of a maintenance window")
        begin = _DAYS.index(first)
        days |= {(begin + each) % 7 for each in range((_DAYS.index(last or first) - begin) % 7 + 1)}
    return days


def _minute(clock: str) -> int:
    hour, minute = int(clock[:2]), int(clock[3:])
    if minute > 59 or hour * 60 + minute > _DAY_MINUTES:
        raise WindowError(f"{clock!r} is no time of day")
    return hour * 60 + minute


def _second_of_week(at: time.struct_time) -> int:
    seconds = min(at.tm_sec, 59)  # a leap second belongs to its minute
    return (at.tm_wday * _DAY_MINUTES + at.tm_hour * 60 + at.tm_min) * 60 + seconds
