"""`littoral-fleet publish`: signs a bundle with the operator's keys and hands it to the fleet server."""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleet import bundle, keys, metadata
from fleet.bundle import Bundle
from fleet.cli import remote
from fleet.cli.init import add_key_options
from fleet.cli.remote import Remote


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "publish",
        help="sign a bundle and hand it to the fleet server",
        description="Signs the bundle in DIR with the operator's targets key and hands it to the fleet server. What "
        "the server holds is verified by the operator's own keys first. No device takes it before a rollout. What "
        "is published already is not signed again; what the server lacks of it is completed.",
    )
    parser.add_argument("bundle", metavar="DIR", type=Path, help="what `bundle build` made")
    add_key_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    remote.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises the named errors of bundle.read, keys.load, metadata.sign_release and the server."""
    found = bundle.read(args.bundle)
    operator = keys.load(args.keys, keys.passphrase(args.passphrase_file))
    with remote.connect(args) as server:
        held = {name: text.encode() for name, text in server.get("/api/v1/metadata")["files"].items()}
        signed = metadata.sign_release(held, found.manifest_bytes, operator, datetime.now(UTC))
        sent_bytes = _upload(server, found)
        body = {
            "manifest": found.manifest_bytes.decode(),
            "metadata": {name: data.decode() for name, data in signed.items()},
        }
        answer = server.post("/api/v1/releases", body)
    _tell(args, answer, sent_bytes, new=bool(signed))
    return 0


def _upload(server: Remote, found: Bundle) -> int:
    """Sends what the server lacks, bundle.json among it: the next build compares with it. Gives the bytes sent."""
    sent_bytes = 0
    for digest in (*found.digests(), found.digest):
        path = f"/api/v1/blobs/{digest}"
        if not server.has(path):
            data = found.manifest_bytes if digest == found.digest else found.blob(digest)
            server.put(path, data)
            sent_bytes += len(data)
    return sent_bytes


def _tell(args: argparse.Namespace, answer: dict[str, Any], sent_bytes: int, new: bool) -> None:
    if args.json:
        print(json.dumps(answer))
        return
    release = f"{answer['model']} release {answer['release']}"
    print(f"{f'Published {release}' if new else f'{release} is published already'} ({sent_bytes} bytes sent).")
    print(f"bundle {answer['bundle']}")
    print(f"Next: littoral-fleet rollout start {answer['model']} --release {answer['release']}", file=sys.stderr)
