"""`python -m littoral.fake --socket PATH MODELS.json`: the fake server as a process, for apps in other languages."""

import argparse
import json
import signal
import sys
from pathlib import Path

from littoral import errors
from littoral.fake.model import FakeModel, from_json
from littoral.fake.server import FakeServer


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m littoral.fake", description="Serves fake models until SIGTERM.")
    parser.add_argument("--socket", required=True, metavar="PATH", help="where to listen")
    parser.add_argument("models", type=Path, metavar="MODELS.json", help="an object of models by name")
    options = parser.parse_args(argv)
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)  # before the threads that would take them
    try:
        with FakeServer(_models(options.models), options.socket) as server:
            print(f"listening on {server.socket}", flush=True)
            signal.sigwait(ending)
    except errors.LittoralError as error:
        print(f"littoral.fake: {error.code}: {error}", file=sys.stderr)
        return 1
    return 0


def _models(path: Path) -> dict[str, FakeModel]:
    try:
        value = json.loads(path.read_bytes())
        return {name: from_json(model) for name, model in value.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise errors.ConfigError(f"{path} holds no models: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
