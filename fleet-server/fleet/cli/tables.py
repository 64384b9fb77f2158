"""Tables on the terminal."""

import time
from collections.abc import Iterable, Sequence


def show(header: Sequence[str], rows: Iterable[Sequence[str]], nothing: str) -> str:
    """Columns as wide as their widest cell, under `header`; the text `nothing` where there is no row."""
    cells = [list(map(printable, row)) for row in rows]
    if not cells:
        return nothing
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [list(header), *cells]
    ]
    return "\n".join(lines)


def printable(text: str) -> str:
    """Text from a device without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def date(seconds: int) -> str:
    """Seconds since 1970 in this machine's time; `never` for 0."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else "never"
