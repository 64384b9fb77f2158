"""`littoral run`: serves one file of this device, with no server and no signature."""

import argparse
import os
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from littoral import errors

RUNTIME = "agent.runtime.cli"  # by name: this package needs nothing of the agent, and does not come with it


def add(commands: Any, _socket: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "run",
        help="serve one local file",
        description="Serves one model file until Ctrl-C, with no fleet server and no signature; every answer says "
        "`local`. It becomes `littoral-runtime serve`.",
    )
    parser.add_argument(
        "--socket",
        metavar="PATH",
        help="where it is asked (LITTORAL_SOCKET, else littoral.sock in XDG_RUNTIME_DIR, else /tmp/littoral-UID.sock)",
    )
    parser.add_argument("file", type=Path, metavar="FILE.tflite", help="the model")
    parser.add_argument("--labels", type=Path, metavar="F", help="names of the classes, one a line")
    parser.add_argument("--card", type=Path, metavar="F", help="what the model expects and answers, in TOML")
    parser.add_argument("--name", metavar="NAME", help="by which clients ask for it (the file's)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    socket = options.socket or os.environ.get("LITTORAL_SOCKET")
    given = {"--labels": options.labels, "--card": options.card, "--name": options.name, "--socket": socket}
    become_runtime(
        "serve", options.file, [word for option, value in given.items() if value for word in (option, value)]
    )


def become_runtime(command: str, file: Path, options: Iterable[object]) -> NoReturn:
    """This process becomes `littoral-runtime` with a command about a file. Raises ConfigError."""
    if not file.is_file():
        raise errors.ConfigError(f"there is no file {file}")
    try:
        found = find_spec(RUNTIME)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise errors.ConfigError(
            "the runtime is not installed beside this command", remedy="Install littoral with its extra [agent]."
        )
    os.execv(sys.executable, [sys.executable, "-m", RUNTIME, command, str(file), *map(str, options)])
