"""`littoral-fleet serve`: run the fleet server, with a broker of its own unless one is named."""

import argparse
import json
import logging
import signal
import socket
from pathlib import Path
from types import FrameType
from typing import Any

from fleet.broker import Engine
from fleet.server import Options, Server
from littoral.errors import ConfigError
from littoral.notify import Notifier

LISTEN = "127.0.0.1:8080"
BROKER_LISTEN = "127.0.0.1:8883"
GRACE_S = 2  # for requests that are being answered when the server is told to end


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("serve", help="run the fleet server", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DATA", help="folder made by `init`")
    parser.add_argument(
        "--listen", default=LISTEN, metavar="HOST:PORT", help=f"for the page and the API (default {LISTEN})"
    )
    parser.add_argument("--broker", default="", metavar="URL", help="mqtt(s)://user:password@host:port of a broker")
    parser.add_argument(
        "--broker-listen",
        default=BROKER_LISTEN,
        metavar="HOST:PORT",
        help=f"for the broker it brings along (default {BROKER_LISTEN}; port 0: a free one, the same every time)",
    )
    parser.add_argument(
        "--broker-engine",
        type=Engine,
        choices=[Engine.AUTO, Engine.MOSQUITTO, Engine.IOTCORE],
        default=Engine.AUTO,
        help="which broker it brings along (default: mosquitto where it is installed)",
    )
    parser.add_argument(
        "--public-host", default="", metavar="H", help="name or address at which devices reach this machine"
    )
    parser.add_argument(
        "--mirror",
        action="store_true",
        help="let devices fetch over HTTP too, at URL/mirror; whoever reaches it can read every release",
    )
    parser.add_argument("--json", action="store_true", help="say where it is in JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    # Loaded here: the other subcommands need no web framework.
    import uvicorn

    from fleet.api.app import make_app
    from fleet.repo import Repository

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    host, port = parse_address(arguments.listen)
    options = Options(
        data=arguments.data,
        broker=arguments.broker,
        broker_listen=parse_address(arguments.broker_listen),
        broker_engine=arguments.broker_engine,
        public_host=arguments.public_host,
    )
    server = Server(options, Repository(arguments.data))
    notifier = Notifier()
    with _listen(host, port) as door:
        address = door.getsockname()
        shown = arguments.public_host or (socket.gethostname() if host in ("0.0.0.0", "::") else host)
        url = f"http://{f'[{shown}]' if ':' in shown else shown}:{address[1]}"

        class Door(uvicorn.Server):
            """Followers of the stream would keep it open for ever."""

            def handle_exit(self, sig: int, frame: FrameType | None) -> None:
                server.service.changes.close()
                super().handle_exit(sig, frame)

        # No access log: it would show the token in the page's address.
        app = make_app(server.service, server.status, mirrored=arguments.mirror)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, log_level="warning", timeout_graceful_shutdown=GRACE_S
        )
        signal.signal(signal.SIGTERM, _interrupt)  # uvicorn sends it again when it has ended
        try:
            server.startup(url)
            print(_greeting(server.whereabouts(), arguments.data, arguments.json), flush=True)
            notifier.ready(url)
            Door(config).run(sockets=[door])
        except KeyboardInterrupt:
            pass  # it was told to end
        finally:
            notifier.stopping()
            server.shutdown()
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def parse_address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, with an IPv6 host in brackets. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"{text!r} is no HOST:PORT")
    return host, int(port)


def _listen(host: str, port: int) -> socket.socket:
    """Raises ConfigError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error}") from error


def _greeting(where: dict[str, Any], data: Path, as_json: bool) -> str:
    if as_json:
        return json.dumps(where)
    broker = where["broker"]
    return "\n".join(
        [
            f"page: {where['url']}/  (its token is in {data / 'admin-token'})",
            f"broker: {broker['engine']} at {broker['host']}:{broker['port']}{' with TLS' if broker['tls'] else ''}",
        ]
    )
