"""`littoral-fleet export`: a folder for devices without a network, as a USB stick carries it."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from fleet import mirror
from fleet.cli import remote
from fleet.exporting import DAYS, LONGEST_DAYS
from fleet.mirror import Contents


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "export",
        help="write a folder for devices without a network",
        description="Writes releases and what proves them into DIR, for `littoral-agent install DIR` on devices "
        "without a network. The fleet server signs it to be good for so many days. What the operator signed may "
        "expire before; the date that is printed is the earliest.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="absent, empty, or an earlier export: it is renewed")
    parser.add_argument(
        "--model", action="append", default=[], metavar="M", help="of this model; may be given several times (all)"
    )
    parser.add_argument("--release", type=int, metavar="I", help="this release of the one model (the newest)")
    parser.add_argument(
        "--valid-days", type=int, default=DAYS, metavar="N", help=f"good for N days: 1 to {LONGEST_DAYS} ({DAYS})"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    remote.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises ConflictError, OSError, and the named errors of the server."""
    folder: Path = args.folder
    mirror.check_folder(folder)
    wish = {"models": args.model, "release": args.release, "days": args.valid_days}
    with remote.connect(args) as server:
        answer = server.post("/api/v1/exports", wish)
        written = mirror.write(
            folder, Contents.from_json(answer), lambda digest: server.parts(f"/api/v1/blobs/{digest}")
        )
    _tell(args, answer, written)
    return 0


def _tell(args: argparse.Namespace, answer: dict[str, Any], written: int) -> None:
    if args.json:
        print(json.dumps({name: answer[name] for name in ("releases", "expires")}))
        return
    for one in answer["releases"]:
        print(f"{one['model']} release {one['release']} ({one['version']})")
    until = time.strftime("%Y-%m-%d", time.gmtime(answer["expires"]))
    print(f"{written} bytes written to {args.folder}, good until {until}.")
