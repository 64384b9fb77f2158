"""`littoral-fleet init`: makes a fleet, and the operator's keys where there are none."""

import argparse
import shutil
from datetime import UTC, datetime
from pathlib import Path

from fleet import ca, durable, keys, repo, store
from fleet.keys import OperatorKeys
from littoral.errors import ConflictError
from littoral.owner import as_owner

ADMIN_TOKEN = "admin-token"


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "init",
        help="make a fleet, and the operator's keys",
        description="Makes a fleet in DATA: its certificate authority, online keys, signed metadata, database and an "
        "administrator's API token (DATA/admin-token). Where KEYS is absent or empty, the operator's root and "
        "targets keys are made there, sealed with a passphrase; else those in KEYS are used. Keep KEYS off the "
        "server: who has it and the passphrase can sign releases.",
    )
    parser.add_argument("data", metavar="DATA", type=Path, help="folder of the fleet server")
    add_key_options(parser)
    parser.set_defaults(run=run)


def add_key_options(parser: argparse.ArgumentParser) -> None:
    """--keys and --passphrase-file, the same for every command that signs."""
    parser.add_argument("--keys", type=Path, required=True, help="folder of the operator's keys")
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        help=f"file with their passphrase; else {keys.PASSPHRASE_VARIABLE}, else it is asked on the terminal",
    )


def run(args: argparse.Namespace) -> int:
    """Raises ConflictError, PassphraseError, KeysError, OSError, sqlite3.Error."""
    data: Path = args.data
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        what = "holds a fleet already" if repo.is_there(data) else "is not empty"
        raise ConflictError(f"{data} {what}", remedy="Choose an absent or empty folder.")
    new = not keys.are_there(args.keys)
    secret = keys.passphrase(args.passphrase_file, new=new)
    operator = keys.make(args.keys, secret) if new else keys.load(args.keys, secret)
    durable.make_folder(data, 0o700)
    with as_owner(data):
        try:
            _fill(data, operator)
        except BaseException:
            for child in data.iterdir():  # it was empty: what is there now is half a fleet
                shutil.rmtree(child) if child.is_dir() else child.unlink()
            raise
    if new:
        print(f"Made the operator's keys in {args.keys}. Back them up, and keep them off the server.")
    print(f"Made a fleet in {data}. The administrator's API token is in {data / ADMIN_TOKEN}.")
    return 0


def _fill(data: Path, operator: OperatorKeys) -> None:
    ca.create(data)
    repo.create(data, operator, datetime.now(UTC))
    token = store.create(data)
    durable.write_file(data / ADMIN_TOKEN, f"{token}\n".encode(), 0o600)
