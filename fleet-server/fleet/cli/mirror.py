"""`littoral-fleet mirror`: brings a folder up to date that a web server offers to devices."""

import argparse
from pathlib import Path

from fleet import mirror
from fleet.cli import remote
from fleet.exporting import NEWEST
from fleet.mirror import Contents


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "mirror",
        help="bring a folder up to date that a web server offers to devices",
        description="Writes releases and their metadata into DIR and removes what is listed no more, so that any web "
        "server that answers Range requests can take the load of transfers off the broker. Say it again after each "
        "publication, or now and then: what is there is not fetched again, and what a device does not find on its "
        "mirror it takes from the broker.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="its meta, chunk and blob are the mirror")
    parser.add_argument(
        "--newest",
        type=int,
        default=NEWEST,
        metavar="N",
        help=f"of each model the newest N releases ({NEWEST}), and whatever a running rollout offers",
    )
    remote.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises ConflictError, OSError, and the named errors of the server."""
    mirror.check_folder(args.folder)
    with remote.connect(args) as server:
        answer = server.get(f"/api/v1/mirror?newest={args.newest}")
        contents = Contents.from_json(answer)
        written = mirror.write(args.folder, contents, lambda digest: server.parts(f"/api/v1/blobs/{digest}"))
    print(f"{args.folder} holds {len(answer['releases'])} releases ({written} bytes written).")
    return 0
