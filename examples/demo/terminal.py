"""What the demo says on the terminal: lines as things happen, a panel that moves, a table at the end.

On a terminal the panel is drawn again in place, with bars; anywhere else (a log of CI) there are plain lines, one for
each change, and no control characters.
"""

from __future__ import annotations

import shutil
import textwrap
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

BAR_CELLS = 24
WIDTH = 120
"""Text is wrapped to this many columns, or to the terminal's width where that is smaller."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the panel. `share` (0 to 1) draws a bar; a change of `state` is worth a line of its own."""

    name: str
    state: str
    detail: str = ""
    share: float | None = None


class Terminal:
    """Writes to `stream`. Colours and moving parts only where it is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.live = stream.isatty()
        self._stream = stream
        self._began = time.monotonic()
        self._drawn = 0
        self._full, self._empty = ("━", "┄") if _can_show(stream, "━┄") else ("#", ".")
        self._mark = "✓" if _can_show(stream, "✓") else "*"

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def heading(self, text: str) -> None:
        self._write("")
        self._write(self._style("1", text))

    def say(self, text: str) -> None:
        """Something that happens; each line of `text` for itself."""
        for line in text.splitlines():
            self._wrap(line, f"{self.elapsed_s:6.1f} s  ")

    def command(self, words: Iterable[str]) -> None:
        """A command that is run, so that the reader could run it too."""
        lines = _wrapped(" ".join(words), self._columns() - 14)
        for index, line in enumerate(lines):
            start = f"{'':10}$ " if index == 0 else " " * 14
            self._write(self._style("2", start + line + (" \\" if line is not lines[-1] else "")))

    def quote(self, text: str) -> None:
        """What a command printed."""
        for line in text.rstrip().splitlines():
            self._wrap(line, " " * 12)

    def copy(self, what: str, how: str) -> None:
        """Something to be copied from the terminal: never broken into lines of its own."""
        self._write(f"{'':12}{what}:")
        self._write(f"{'':16}{how}")

    def proof(self, text: str) -> None:
        """What was measured, and where it was read."""
        self._wrap(text, f"{'':8}{self._mark} ", "32")

    def trouble(self, text: str) -> None:
        self._wrap(text, f"{'':8}! ", "31")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns as wide as their widest cell; the last one is wrapped."""
        fixed = [max(map(len, column)) for column in zip(header, *rows, strict=True)][:-1]
        indent = sum(fixed) + 2 * len(fixed)
        room = max(self._columns() - indent, 30)
        for index, row in enumerate([header, *rows]):
            start = "".join(f"{cell:<{width}}  " for cell, width in zip(row, fixed, strict=False))
            lines = _wrapped(row[-1], room)
            self._write(self._style("1" if index == 0 else "", start + lines[0]))
            for line in lines[1:]:
                self._write(" " * indent + line)

    def panel(self) -> Panel:
        self._drawn = 0
        return Panel(self)

    def bar(self, share: float) -> str:
        full = round(max(0.0, min(share, 1.0)) * BAR_CELLS)
        return self._full * full + self._empty * (BAR_CELLS - full)

    def redraw(self, lines: Sequence[str]) -> None:
        """Writes `lines` over those of the last call, or below what was written since. Only on a terminal."""
        width = shutil.get_terminal_size().columns - 1
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._stream.write(up + "".join(f"\x1b[2K{line[:width]}\n" for line in lines))
        self._stream.flush()
        self._drawn = len(lines)

    def _columns(self) -> int:
        return min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns) if self.live else WIDTH

    def _wrap(self, text: str, start: str, style: str = "") -> None:
        room = max(self._columns() - len(start), 30)
        for index, line in enumerate(_wrapped(text, room)):
            self._write(self._style(style, (start if index == 0 else " " * len(start)) + line))

    def _style(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.live and code else text

    def _write(self, text: str) -> None:
        self._drawn = 0
        self._stream.write(text + "\n")
        self._stream.flush()


class Panel:
    """One row a device. On a terminal it stands where it is; elsewhere each change of state becomes a line."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._states: dict[str, str] = {}

    def show(self, rows: Sequence[Row]) -> None:
        if self._terminal.live:
            self._terminal.redraw([self._line(row) for row in rows])
            return
        changed = [row for row in rows if self._states.get(row.name) != _milestone(row)]
        self._states.update((row.name, _milestone(row)) for row in rows)
        for milestone in dict.fromkeys(map(_milestone, changed)):
            names = [row.name for row in changed if _milestone(row) == milestone]
            self._terminal.say(f"{', '.join(names)}: {milestone}")

    def _line(self, row: Row) -> str:
        if row.share is None:
            return f"{'':10}{row.name}  {row.state}{f': {row.detail}' if row.detail else ''}"
        bar = self._terminal.bar(row.share)
        return f"{'':10}{row.name}  {bar} {100 * row.share:3.0f} %  {row.state} {row.detail}"


def _milestone(row: Row) -> str:
    """What makes a line of its own in a log: a new state, and half of a transfer."""
    return row.state if row.share is None or row.share < 0.5 else f"{row.state}, more than half of it there"


def _wrapped(text: str, room: int) -> list[str]:
    """Lines of at most `room` columns, unless one word (an address, a path) is longer: it must stay whole."""
    return textwrap.wrap(text, room, break_on_hyphens=False, break_long_words=False) or [""]


def _can_show(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
