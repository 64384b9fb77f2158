"""`littoral-runtime run --config F`: the daemon that serves models on a device."""

import argparse
import gc
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from agent import config
from agent.runtime.engines import Engine, open_engine
from agent.runtime.host import Host
from littoral.errors import LittoralError


def main(argv: list[str] | None = None, open_engine: Callable[[str], Engine] = open_engine) -> int:
    """Exit status 0 after SIGTERM or SIGINT, 1 where it cannot serve. `open_engine` is another one in tests."""
    options = _parser().parse_args(argv)
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s", level=logging.INFO)
    try:
        settings = config.read(options.config)
        host = Host(settings, open_engine(settings.runtime.engine))
    except LittoralError as error:
        print(f"littoral-runtime: {error.code}: {error}", file=sys.stderr)
        return 1
    gc.collect()
    gc.freeze()  # what is here now is shared with every worker, as long as nobody writes to it
    host.run()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="littoral-runtime", description="Serves the models of this device.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    run = commands.add_parser("run", help="serve until SIGTERM", description="Serves until SIGTERM or SIGINT.")
    run.add_argument("--config", type=Path, required=True, metavar="F", help="agent.toml of the device")
    return parser


if __name__ == "__main__":
    sys.exit(main())
