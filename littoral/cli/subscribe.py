"""`littoral subscribe`: follows what a model answers to others."""

import argparse
import json
from typing import Any

from littoral import client
from littoral.cli import arguments
from littoral.cli.text import answer_json, detection_json
from littoral.client import Answer


def add(commands: Any, socket: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "subscribe",
        parents=[socket],
        help="follow what a model answers to others",
        description="Prints one JSON object a line for each answer that the model gives to others, until Ctrl-C. "
        '{"dropped": N} stands where N were left out because they were not taken in time.',
    )
    parser.add_argument("model", metavar="MODEL", help="a model, or an alias: MODEL@baseline, MODEL@trial")
    parser.add_argument("--count", type=arguments.count, metavar="N", help="end after so many results")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    dropped, given = 0, 0
    with client.subscribe(options.model, options.socket, name="littoral subscribe") as subscription:
        for result in subscription:
            if subscription.dropped > dropped:
                print(json.dumps({"dropped": subscription.dropped - dropped}))
                dropped = subscription.dropped
            told = (
                answer_json(options.model, result)
                if isinstance(result, Answer)
                else detection_json(options.model, result)
            )
            print(json.dumps(told), flush=True)
            given += 1
            if given == options.count:
                break
    return 0
