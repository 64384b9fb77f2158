"""`./dev demo`: the story of a safe update, on real parts, told as it happens.

    python -m examples.demo.story [--once]

A fleet server with its broker, three devices and a camera app run on this machine, in a temporary folder, on free
loopback ports. Seven things happen to them; each ends with what was measured. Then everything stays up to be looked
at until Ctrl-C, or ends with `--once`: status 0 only if every step held.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from examples.demo import assets
from examples.demo.assets import AssetError
from examples.demo.fleet import DEVICES, MODEL, Fleet
from examples.demo.processes import DemoError
from examples.demo.stage import Stage
from examples.demo.steps import STEPS
from examples.demo.terminal import Terminal
from littoral.errors import LittoralError

TAIL_LINES = 12
EXPECTED = (DemoError, LittoralError, OSError, LookupError, ValueError)
"""What a step may meet where a part of Littoral does not do what it should."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev demo", description="Tell the story of a safe update on real parts, on this machine."
    )
    parser.add_argument("--once", action="store_true", help="end after the story, with status 0 if it held")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    terminal = Terminal(sys.stdout)
    try:
        found = assets.ensure()
    except AssetError as error:
        terminal.trouble(str(error))
        return 1
    folder = Path(tempfile.mkdtemp(prefix="littoral-demo-"))
    fleet = Fleet(folder, terminal)
    try:
        held = tell(Stage(terminal, fleet, found))
        if held and not options.once:
            stay(terminal, fleet)
    except KeyboardInterrupt:
        terminal.say("Ended.")
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for name in fleet.close():
            terminal.trouble(f"{name} did not end when it was asked to, and was killed")
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if held else 1


def tell(stage: Stage) -> bool:
    """The whole story, and its table. Whether every step held."""
    terminal = stage.terminal
    rows: list[tuple[str, ...]] = []
    for number, (title, step) in enumerate(STEPS, 1):
        terminal.heading(f"{number}. {title[0].upper()}{title[1:]}")
        began = terminal.elapsed_s
        measured = _carry_out(step, stage)
        seconds = f"{terminal.elapsed_s - began:.1f}"
        rows.append((str(number), title, "no" if measured is None else "yes", seconds, measured or "see above"))
        if measured is None:
            break
    rows += [(str(n), title, "-", "-", "not tried") for n, (title, _) in enumerate(STEPS, 1) if n > len(rows)]
    held = all(row[2] == "yes" for row in rows)
    terminal.heading(f"The story in {terminal.elapsed_s:.0f} s")
    terminal.table(("", "step", "held", "s", "measured"), rows)
    return held


def _carry_out(step: Callable[[Stage], str], stage: Stage) -> str | None:
    """What was measured; None where the step did not hold, and then why is on the terminal."""
    try:
        return step(stage)
    except EXPECTED as error:
        stage.terminal.trouble(f"This step did not hold: {str(error) or repr(error)}")
        for child in stage.fleet.children:
            stage.terminal.say(f"The last words of {child.name}:")
            stage.terminal.quote(child.tail(TAIL_LINES))
        return None


def stay(terminal: Terminal, fleet: Fleet) -> None:
    """Everything stays up until Ctrl-C."""
    device = fleet.folder / DEVICES[0]
    programs = Path(sys.executable).parent
    programs = programs.relative_to(Path.cwd()) if programs.is_relative_to(Path.cwd()) else programs
    terminal.heading("Everything is still running. Have a look, in another terminal:")
    for what, how in (
        ("the page", fleet.page),
        ("a device's mind", f"{programs}/littoral-agent explain {MODEL} --config {device}/agent.toml"),
        ("what it serves", f"{programs}/littoral models --socket {device}/query.sock"),
        ("the fleet", f"{programs}/littoral-fleet devices {fleet.access}"),
        ("logs and folders", str(fleet.folder)),
    ):
        terminal.copy(what, how)
    terminal.say("Ctrl-C ends it and removes the folder.")
    threading.Event().wait()


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
