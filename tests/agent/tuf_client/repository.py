"""A repository of The Update Framework in memory, served over real HTTP: whatever a test makes of it is published.

It is no repository of a fleet: any role, any key, any lie.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

DAY = timedelta(days=1)
TOP = ("root", "targets", "snapshot", "timestamp")


class TufRepository:
    """`signed` and `signers` by role are the test's to change; publish() makes files of them.

    `files` is what the server gives, by path; `asked` the paths that were asked for; `status` what it answers to a path
    in place of 200, or of 404 where it has no file.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.status: dict[str, int] = {}
        self.expires = datetime.now(UTC).replace(microsecond=0) + 30 * DAY
        self.hashes = False  # whether timestamp and snapshot carry lengths and digests
        self.root = Root(expires=self.expires, consistent_snapshot=True)
        self.targets = Targets(expires=self.expires)
        self.snapshot = Snapshot(expires=self.expires)
        self.timestamp = Timestamp(expires=self.expires)
        self.signed: dict[str, Any] = {
            "root": self.root,
            "targets": self.targets,
            "snapshot": self.snapshot,
            "timestamp": self.timestamp,
        }
        self.signers: dict[str, list[Signer]] = {role: [] for role in TOP}
        for role in TOP:
            self.add_key(role)
        self.publish("root", "targets", "snapshot", "timestamp")

    def add_key(self, role: str, signer: Signer | None = None) -> Signer:
        signer = signer or CryptoSigner.generate_ed25519()
        self.root.add_key(signer.public_key, role)
        self.signers[role].append(signer)
        return signer

    def rotate(self, role: str, signer: Signer | None = None) -> None:
        """A new key in the place of all; root is not published by it."""
        for keyid in list(self.root.roles[role].keyids):
            self.root.revoke_key(keyid, role)
        self.signers[role].clear()
        self.add_key(role, signer)

    def delegate(self, parent: str, role: str, terminating: bool = False, **paths: Any) -> Targets:
        """A role that `parent` names for all targets, or for `paths`."""
        delegator = self.signed[parent]
        assert isinstance(delegator, Targets)
        if delegator.delegations is None:
            delegator.delegations = Delegations({}, {})
        assert delegator.delegations.roles is not None
        delegator.delegations.roles[role] = DelegatedRole(role, [], 1, terminating, **(paths or {"paths": ["*"]}))
        signer = CryptoSigner.generate_ed25519()
        delegator.add_key(signer.public_key, role)
        self.signers.setdefault(role, []).append(signer)
        made = self.signed.setdefault(role, Targets(expires=self.expires))
        assert isinstance(made, Targets)
        return made

    def add_target(self, name: str, data: bytes, role: str = "targets") -> str:
        """Lists a target; gives the path it is served at."""
        made = TargetFile.from_data(name, data, ["sha256"])
        listed = self.signed[role]
        assert isinstance(listed, Targets)
        listed.targets[name] = made
        folder, slash, last = name.rpartition("/")
        prefix = f"{made.hashes['sha256']}." if self.root.consistent_snapshot else ""
        path = f"/targets/{folder}{slash}{prefix}{last}"
        self.files[path] = data
        return path

    def update(self, *roles: str) -> None:
        """New versions of the roles named, and of all that names them."""
        for role in (*roles, "snapshot", "timestamp"):
            self.signed[role].version += 1
        self.publish(*roles, "snapshot", "timestamp")

    def publish(self, *roles: str) -> None:
        """Signs the roles as they are now, and lists them in snapshot and timestamp as these are now."""
        for role in roles:
            signed = self.signed[role]
            made: Metadata[Any] = Metadata(signed)
            for signer in self.signers[role]:
                made.sign(signer, append=True)
            data = made.to_bytes()
            name = quote(role, "")
            for file in (f"{signed.version}.{name}.json", f"{name}.json"):
                self.files[f"/metadata/{file}"] = data
            meta = MetaFile.from_data(signed.version, data, ["sha256"]) if self.hashes else MetaFile(signed.version)
            if role == "snapshot":
                self.timestamp.snapshot_meta = meta
            elif role not in ("root", "timestamp"):
                self.snapshot.meta[f"{role}.json"] = meta


@contextmanager
def serving(repository: TufRepository) -> Iterator[str]:
    """The URL of a real server that gives the repository's files, asked for by their paths as they are on the line."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            repository.asked.append(self.path)
            data = repository.files.get(self.path, b"")
            self.send_response(repository.status.get(self.path, 200 if self.path in repository.files else 404))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
