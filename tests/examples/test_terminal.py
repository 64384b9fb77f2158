"""What the demo says, on a terminal and in a log."""

from __future__ import annotations

import io
import re

from examples.demo.terminal import BAR_CELLS, WIDTH, Row, Terminal


class Screen(io.StringIO):
    """A terminal as far as the demo can tell."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def rows(*shares: float | None) -> list[Row]:
    return [Row(f"edge-{n}", "trial" if share is None else "fetching", "", share) for n, share in enumerate(shares, 1)]


def test_a_log_gets_a_line_for_each_change_and_no_control_characters() -> None:
    log = io.StringIO()
    panel = Terminal(log).panel()
    for shares in ([0.0, 0.0], [0.1, 0.2], [0.6, 0.2], [0.9, 0.3], [None, None], [None, None]):
        panel.show(rows(*shares))
    said = [re.sub(r"^ *[\d.]+ s  ", "", line) for line in log.getvalue().splitlines()]
    assert said == [
        "edge-1, edge-2: fetching",
        "edge-1: fetching, more than half of it there",
        "edge-1, edge-2: trial",
    ]
    assert "\x1b" not in log.getvalue()


def test_a_terminal_gets_bars_drawn_again_in_place() -> None:
    screen = Screen()
    panel = Terminal(screen).panel()
    panel.show(rows(0.0, 0.5))
    assert "\x1b[2A" not in screen.getvalue()
    assert "━" * (BAR_CELLS // 2) + "┄" * (BAR_CELLS // 2) in screen.getvalue()
    panel.show(rows(0.5, 1.0))
    assert screen.getvalue().count("\x1b[2A") == 1
    assert "━" * BAR_CELLS in screen.getvalue()


def test_what_is_said_meanwhile_is_not_overwritten_by_the_panel() -> None:
    screen = Screen()
    terminal = Terminal(screen)
    panel = terminal.panel()
    panel.show(rows(0.1, 0.1))
    terminal.say("The broker is killed.")
    panel.show(rows(0.2, 0.2))
    assert "\x1b[2A" not in screen.getvalue()


def test_a_stream_that_knows_only_ascii_gets_only_ascii() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    terminal = Terminal(stream)
    terminal.proof(f"a bar: {terminal.bar(0.5)}")
    stream.flush()


def test_long_text_is_wrapped_and_an_address_stays_whole() -> None:
    log = io.StringIO()
    address = "http://127.0.0.1:40000/?token=" + "f" * WIDTH
    Terminal(log).proof(f"{'word ' * 40}{address}")
    lines = log.getvalue().splitlines()
    assert all(len(line) <= WIDTH for line in lines[:-1])
    assert lines[-1].strip() == address


def test_the_last_column_of_a_table_is_wrapped_below_itself() -> None:
    log = io.StringIO()
    Terminal(log).table(("", "measured"), [("1", "word " * 60)])
    lines = log.getvalue().splitlines()
    assert len(lines) > 3
    assert {line[:3] for line in lines} == {"   ", "1  "}
