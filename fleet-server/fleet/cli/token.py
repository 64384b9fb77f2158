"""`littoral-fleet token create`: a one-time token with which one device may join."""

import argparse
import json

from fleet.cli import remote


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("token", help="make enrolment tokens", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="make a token that lets one device join, and print it")
    create.add_argument("--life-s", type=int, metavar="N", help="good for N seconds (default: a day)")
    create.add_argument("--json", action="store_true", help="print JSON")
    remote.add_options(create)
    create.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    wish = {} if arguments.life_s is None else {"life_s": arguments.life_s}
    with remote.connect(arguments) as server:
        answer = server.post("/api/v1/tokens", wish)
    print(json.dumps(answer) if arguments.json else answer["token"])
    return 0
