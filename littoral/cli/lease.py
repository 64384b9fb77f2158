"""`littoral lease`: no update of a model begins to answer while a command runs."""

import argparse
import signal
import subprocess
import sys
from typing import Any

from littoral import client, errors


def add(commands: Any, socket: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "lease",
        parents=[socket],
        help="hold off updates of a model while a command runs",
        description="Runs a command, and holds a lease on the model meanwhile: no update of it begins to answer, but "
        "an urgent one. The exit status is the command's, or 128 and the number of the signal that ended it. Where the "
        "lease ends sooner than the command, that is said on standard error.",
    )
    parser.add_argument("model", metavar="MODEL", help="a model")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run, after --")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise errors.ConfigError("there is no command to run", remedy="Say `littoral lease MODEL -- COMMAND`.")
    with client.lease(options.model, options.socket, name="littoral lease") as held:
        status = _wait(command, held.fileno())
        if held.ended is not None:
            print(f"littoral: {held.ended.code}: the lease ended first: {held.ended}", file=sys.stderr)
    return status if status >= 0 else 128 - status


def _wait(command: list[str], lease: int) -> int:
    """Raises ConfigError where it cannot be run. The command has the lease open too, and so holds it even alone."""
    try:
        process = subprocess.Popen(command, pass_fds=[lease])
    except OSError as error:
        raise errors.ConfigError(f"{command[0]} cannot be run: {error.strerror}") from error
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the command too, which may go on
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
