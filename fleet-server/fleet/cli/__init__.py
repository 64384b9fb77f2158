"""`littoral-fleet`: the operator's command. One module here is one subcommand, loaded only where it is asked for."""

import argparse
import importlib
import sqlite3
import sys
from collections.abc import Callable, Sequence

from littoral.errors import LittoralError

MODULES = {
    "init": "init",
    "serve": "serve",
    "token": "token",
    "bundle": "bundle",
    "publish": "publish",
    "keys": "keys",
    "rollout": "rollout",
    "export": "export",
    "mirror": "mirror",
    "devices": "devices",
    "device": "devices",
}
"""Which module here adds which subcommand."""


def make_parser(subcommand: str = "") -> argparse.ArgumentParser:
    """The whole parser; or no more of it than `subcommand` needs, as the rest brings numpy, TUF and a web server."""
    parser = argparse.ArgumentParser(
        prog="littoral-fleet", description="Publish signed releases of models, and roll them out over a fleet."
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    modules = [MODULES[subcommand]] if subcommand in MODULES else list(dict.fromkeys(MODULES.values()))
    for module in modules:
        importlib.import_module(f"fleet.cli.{module}").add(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 only on success."""
    words = sys.argv[1:] if argv is None else argv
    try:
        arguments = make_parser(words[0] if words else "").parse_args(words)
        run: Callable[[argparse.Namespace], int] = arguments.run
        return run(arguments)
    except BrokenPipeError:  # whoever read the output has seen enough
        sys.stderr.close()
        return 1
    except (LittoralError, OSError) as error:
        print(f"littoral-fleet: {error}", file=sys.stderr)
        return 1
    except sqlite3.Error as error:
        print(f"littoral-fleet: DATA/fleet.db: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
