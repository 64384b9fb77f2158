"""`littoral`: look at what this device serves, and ask it, from a shell. One module per subcommand.

numpy and Pillow are imported only when a file is read that needs them (extra `cli`).
"""

import argparse
import os
import sys

from littoral import errors
from littoral.cli import bench, detect, infer, lease, models, run, subscribe, top
from littoral.client.link import DEFAULT_SOCKET

COMMANDS = (models, infer, detect, subscribe, lease, top, bench, run)


def main(argv: list[str] | None = None) -> int:
    """Exit status 0 only where it answered; 1 for a named error, which is printed on stderr, and where nobody
    reads what it prints; 130 after Ctrl-C.
    """
    options = _parser().parse_args(argv)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except errors.LittoralError as error:
        print(f"littoral: {error.code}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # as with `| head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="littoral", description="Ask the models that this device serves.")
    commands = parser.add_subparsers(required=True, metavar="command")
    socket = argparse.ArgumentParser(add_help=False)
    socket.add_argument("--socket", metavar="PATH", help=f"the query socket (LITTORAL_SOCKET, else {DEFAULT_SOCKET})")
    for command in COMMANDS:
        command.add(commands, socket)
    return parser
