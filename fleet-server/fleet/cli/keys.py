"""`littoral-fleet keys show`, `keys renew` and `keys rotate`: which keys are in force, and new ones in their place."""

import argparse
import json
import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from fleet import keys, metadata, rotation
from fleet.cli import remote, tables
from fleet.cli.init import add_key_options
from fleet.cli.remote import Remote
from fleet.keys import ONLINE_ROLES, OPERATOR_ROLES
from fleet.metadata import Verified
from littoral.bundle.keys import PublicKey, public_key

DAY_S = 86_400


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("keys", help="look at the fleet's keys, renew their signatures, replace them")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="show which keys are in force, and until when their signatures hold")
    show.set_defaults(run=run_show)
    renew = commands.add_parser(
        "renew",
        help="sign root, targets and old roles of models for another year",
        description="Signs a new root and new targets with the same keys, for another year, and so the role of each "
        "model that is past half its life.",
    )
    renew.set_defaults(run=run_rotate, role=())
    rotate = commands.add_parser(
        "rotate",
        help="put new keys in the place of old ones",
        description="Makes new keys for the roles named and signs a root by which they alone are in force. Devices "
        "follow it by themselves. A server whose online keys were stolen is recovered by it. Signatures are renewed "
        "as by `keys renew`.",
    )
    rotate.add_argument(
        "--role",
        action="append",
        choices=[*OPERATOR_ROLES, *ONLINE_ROLES],
        help="may be given several times (default: snapshot, timestamp and director, the keys of the server)",
    )
    rotate.set_defaults(run=run_rotate)
    for command in (renew, rotate):
        add_key_options(command)
    for command in (show, renew, rotate):
        command.add_argument("--json", action="store_true", help="print JSON")
        remote.add_options(command)


def run_show(arguments: argparse.Namespace) -> int:
    with remote.connect(arguments) as server:
        _tell(server.get("/api/v1/keys"), arguments.json)
    return 0


def run_rotate(arguments: argparse.Namespace) -> int:
    """Raises the named errors of keys.load, rotation.sign and the server."""
    roles = ONLINE_ROLES if arguments.role is None else tuple(arguments.role)
    secret = keys.passphrase(arguments.passphrase_file)
    with remote.connect(arguments) as server:
        held = _held(server)
        _settle(arguments, metadata.verify(held))
        operator = keys.load(arguments.keys, secret)
        metadata.check_ours(metadata.verify(held), operator)
        following = keys.make_next(arguments.keys, [role for role in roles if role in OPERATOR_ROLES], operator, secret)
        signed = rotation.sign(held, operator, following, _online(server, roles), datetime.now(UTC))
        answer = server.post("/api/v1/keys", {"metadata": {name: data.decode() for name, data in signed.items()}})
        _settle(arguments, metadata.verify(_held(server)))
    _tell(answer, arguments.json)
    return 0


def _held(server: Remote) -> dict[str, bytes]:
    return {name: text.encode() for name, text in server.get("/api/v1/metadata")["files"].items()}


def _online(server: Remote, roles: Collection[str]) -> dict[str, PublicKey]:
    """The server's own keys by role, new ones for those of `roles` that are its."""
    answer = server.post("/api/v1/keys/next", {"roles": [role for role in roles if role in ONLINE_ROLES]})
    return {
        role: public_key(key["keytype"], key["scheme"], key["keyval"]["public"]) for role, key in answer["keys"].items()
    }


def _settle(arguments: argparse.Namespace, known: Verified) -> None:
    """Puts new keys of the operator in their place once a root of his own says that they are in force."""
    listed = known.root.roles["root"].keyids
    if listed in [[keyid] for keyid in keys.keyids(arguments.keys, "root")]:
        keys.adopt(arguments.keys, {*listed, *known.root.roles["targets"].keyids})


def _tell(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer))
        return
    expires, now = answer["expires"], time.time()
    rows = [[role, ", ".join(ids), _until(expires.get(role), now)] for role, ids in answer["keys"].items()]
    rows += [[role, "signed by targets", _until(at, now)] for role, at in expires.items() if role not in answer["keys"]]
    print(tables.show(["ROLE", "KEY", "SIGNED UNTIL"], rows, "no keys"))
    for warning in answer["warnings"]:
        print(f"warning: {warning}")


def _until(at: int | None, now: float) -> str:
    if at is None:
        return "renewed by the server"
    return f"{tables.date(at)} ({int((at - now) // DAY_S)} days)"
