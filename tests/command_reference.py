"""Writes the command reference in docs/commands.md from the commands' own parsers: `python -m tests.command_reference`.

Only what stands between `<!-- NAME -->` and `<!-- end -->` is written; the prose around it is by hand. A test fails
when the file is not what this would write.
"""

import argparse
import importlib
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

FILE = Path(__file__).parents[1] / "docs/commands.md"
PROGRAMS = {
    "littoral": "littoral.cli",
    "littoral-agent": "agent.cli",
    "littoral-runtime": "agent.runtime.cli",
    "littoral-fleet": "fleet.cli",
}
COLUMNS = 110


class _CaughtError(Exception):
    """Holds the parser of a program that was about to use it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def parser_of(program: str) -> argparse.ArgumentParser:
    """The parser that the program's `main` makes."""

    def catch(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        raise _CaughtError(parser)

    main: Callable[[list[str]], int] = importlib.import_module(PROGRAMS[program]).main
    with mock.patch.object(argparse.ArgumentParser, "parse_args", catch):
        try:
            main([])
        except _CaughtError as caught:
            return caught.parser
    raise AssertionError(f"{program} parses no arguments")


def commands(parser: argparse.ArgumentParser, about: str = "") -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """Every command that can be run, with what its parent says about it."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield parser, about
    for group in groups:
        helps = {choice.dest: choice.help or "" for choice in group._choices_actions}
        for name, child in group.choices.items():
            yield from commands(child, helps.get(name, ""))


def arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a command takes, without --help."""
    return [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]


def shown(action: argparse.Action) -> str:
    """`--release I`, `--json`, `MODEL`."""
    value = action.metavar or (action.dest.upper() if action.option_strings else action.dest)
    if action.choices is not None and action.metavar is None:
        value = "|".join(str(choice) for choice in action.choices)
    if not action.option_strings:
        return str(value)
    return action.option_strings[-1] if action.nargs == 0 else f"{action.option_strings[-1]} {value}"


def synopsis(parser: argparse.ArgumentParser) -> str:
    """The command as it is typed, on as many lines as it takes."""
    exclusive = {id(action): group for group in parser._mutually_exclusive_groups for action in group._group_actions}
    words: list[str] = []
    for action in arguments(parser):
        group = exclusive.get(id(action))
        if group is None:
            needed = action.required and action.nargs != "?"
            words.append(shown(action) if needed else f"[{shown(action)}]")
        elif action is group._group_actions[0]:
            either = " | ".join(shown(one) for one in group._group_actions)
            words.append(f"({either})" if group.required else f"[{either}]")
    # Spaces within a word are kept together while lines are broken.
    line = " ".join([parser.prog, *(word.replace(" ", "\0") for word in words)])
    broken = textwrap.wrap(line, COLUMNS, subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False)
    return "\n".join(broken).replace("\0", " ")


def reference(program: str) -> str:
    """The Markdown of one program."""
    parts = []
    for parser, about in commands(parser_of(program)):
        text = re.sub(r"^`[^`]+`(?: and `[^`]+`)?: ", "", " ".join((parser.description or about).split()))
        text = text[:1].upper() + text[1:].rstrip(".") + "."
        parts.append(f"### {parser.prog}\n\n{text}\n\n```\n{synopsis(parser)}\n```\n")
        rows = [(shown(action), " ".join(_help(action).split())) for action in arguments(parser)]
        if rows:
            parts.append("\n".join(["| | |", "|---|---|", *(f"| `{_cell(a)}` | {_cell(b)} |" for a, b in rows)]) + "\n")
    return "\n".join(parts)


def render(text: str) -> str:
    """`text` with every marked block written anew."""
    for program in PROGRAMS:
        head, begin, rest = text.partition(f"<!-- {program} -->\n")
        _, end, tail = rest.partition("<!-- end -->")
        if not begin or not end:
            raise ValueError(f"no place is marked for {program}")
        text = f"{head}{begin}\n{reference(program)}\n{end}{tail}"
    return text


def _help(action: argparse.Action) -> str:
    return (action.help or "") % {**vars(action), "prog": ""}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    FILE.write_text(render(FILE.read_text()))
