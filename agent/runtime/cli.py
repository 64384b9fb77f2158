"""`littoral-runtime run --config F`: the daemon that serves models on a device.

The daemon itself is imported only when it runs, so that a Ctrl-C ends it quietly from the first moment.
"""

import argparse
import gc
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.runtime.engines import Engine


def main(argv: list[str] | None = None, open_engine: "Callable[[str], Engine] | None" = None) -> int:
    """Exit status 0 after SIGTERM or SIGINT, 1 where it cannot serve, 130 after SIGINT before it serves.

    `open_engine` is another one in tests.
    """
    options = _parser().parse_args(argv)
    try:
        return _run(options.config, open_engine)
    except KeyboardInterrupt:
        return 130


def _run(path: Path, open_engine: "Callable[[str], Engine] | None") -> int:
    from agent import config
    from agent.runtime import engines
    from agent.runtime.host import Host
    from littoral.errors import LittoralError

    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s", level=logging.INFO)
    try:
        settings = config.read(path)
        host = Host(settings, (open_engine or engines.open_engine)(settings.runtime.engine))
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
