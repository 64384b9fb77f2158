"""`littoral-runtime`: `run`, the daemon that serves the models of a device; `serve`, one file; `bench`, how fast it is.

What a command needs is imported only when it runs: the daemon stays small, and a Ctrl-C ends it quietly from the first
moment.
"""

import gc
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from agent import lean

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from agent.config import Config
    from agent.runtime.engine import Engine
    from agent.runtime.host.pressure import Pressure
    from agent.runtime.host.shelf import Shelf


def main(
    argv: list[str] | None = None,
    open_engine: "Callable[[str], Engine] | None" = None,
    open_pressure: "Callable[[], Pressure] | None" = None,
) -> int:
    """Exit status 0 after SIGTERM or SIGINT, 1 where it cannot serve, 130 after SIGINT before it serves.

    `open_engine` and `open_pressure` are others in tests.
    """
    alone = argv is None  # this process is the runtime's own
    if alone:
        lean.keep_lean()
    options = vars(_parser().parse_args(argv))
    from littoral.errors import LittoralError

    host = partial(_host, open_engine, open_pressure, alone)
    commands: dict[str, Callable[..., int]] = {"run": _run, "serve": _serve, "bench": _bench}
    try:
        return commands[options.pop("command")](host, **options)
    except LittoralError as error:
        print(f"littoral-runtime: {error.code}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(host: "Callable[[Config, Shelf], int]", config: "Path") -> int:
    from agent import config as settings
    from agent.runtime.host.shelf import StateShelf

    read = settings.read(config)
    return host(read, StateShelf(read.state))


def _serve(host: "Callable[[Config, Shelf], int]", socket: "Path | None", engine: str, **files: Any) -> int:
    from agent.runtime.host import local

    with local.shelf(**files) as shelf:
        settings = local.settings(shelf, socket, engine)
        print(local.hint(shelf, settings), flush=True)
        return host(settings, shelf)


def _bench(_host: object, file: "Path", seconds: float, json: bool) -> int:
    from agent.runtime.host import speed

    rows = speed.measure(file, seconds)
    print(speed.as_json(rows) if json else speed.as_table(rows))
    return 0


def _host(
    open_engine: "Callable[[str], Engine] | None",
    open_pressure: "Callable[[], Pressure] | None",
    alone: bool,
    settings: "Config",
    shelf: "Shelf",
) -> int:
    if alone:
        lean.forget_start()
    from agent.runtime import engines
    from agent.runtime.host import pressure
    from agent.runtime.host.host import Host

    engine = (open_engine or engines.open_engine)(settings.runtime.engine)
    host = Host(settings, engine, shelf, (open_pressure or pressure.open_pressure)())
    gc.collect()
    if alone:
        lean.fill_gaps()
    gc.freeze()  # what is here now is shared with every worker, as long as nobody writes to it
    host.run()
    return 0


def _parser() -> "argparse.ArgumentParser":
    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser(prog="littoral-runtime", description="Serves models on this device.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    run = commands.add_parser("run", help="serve until SIGTERM", description="Serves until SIGTERM or SIGINT.")
    run.add_argument("--config", type=Path, required=True, metavar="F", help="agent.toml of the device")

    about = "Serves one file that nobody signed until SIGTERM or SIGINT; every answer says that it is local."
    serve = commands.add_parser("serve", help="serve one local file", description=about)
    serve.add_argument("file", type=Path, metavar="FILE.tflite", help="the model's file")
    serve.add_argument("--labels", type=Path, metavar="F", help="its labels, one a line")
    serve.add_argument("--card", type=Path, metavar="F", help="its card")
    serve.add_argument("--name", default="", metavar="N", help="what clients ask for; else made from the file's name")
    serve.add_argument(
        "--socket", type=Path, metavar="PATH", help="where clients ask; else in $XDG_RUNTIME_DIR or /tmp"
    )
    serve.add_argument("--engine", default="auto", metavar="E", help="litert, tflite or auto (default)")

    about = "Runs one file with each engine, several numbers of threads, and several interpreters side by side."
    bench = commands.add_parser("bench", help="how fast a file runs here", description=about)
    bench.add_argument("file", type=Path, metavar="FILE.tflite", help="the model's file")
    bench.add_argument("--seconds", type=float, default=2.0, metavar="S", help="of each measurement (2)")
    bench.add_argument("--json", action="store_true", help="as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
