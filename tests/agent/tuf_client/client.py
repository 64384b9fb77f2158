"""`littoral-agent tuf` as a test calls it: in this process, by its own command line."""

import json
from pathlib import Path

from agent import cli
from tests.agent.tuf_client.repository import TufRepository

FIRST = ["/metadata/2.root.json", "/metadata/timestamp.json", "/metadata/1.snapshot.json", "/metadata/1.targets.json"]


class Client:
    """The commands of one client with its folders. Each gives the exit status."""

    def __init__(self, home: Path, url: str, repository: TufRepository) -> None:
        self.url = url
        self.repository = repository
        self.known = home / "metadata"
        self.kept = home / "targets"
        self.root = home / "initial_root.json"
        self.root.write_bytes(repository.files["/metadata/1.root.json"])

    def words(self, action: str, *more: str) -> list[str]:
        return ["tuf", "--metadata-dir", str(self.known), "--metadata-url", f"{self.url}/metadata", *more, action]

    def init(self) -> int:
        return cli.main(["tuf", "--metadata-dir", str(self.known), "init", str(self.root)])

    def refresh(self) -> int:
        self.repository.asked.clear()
        return cli.main(self.words("refresh"))

    def download(self, *names: str) -> int:
        self.repository.asked.clear()
        more = ["--target-base-url", f"{self.url}/targets/", "--target-dir", str(self.kept)]
        for name in names:
            more += ["--target-name", name]
        return cli.main(self.words("download", *more))

    def version(self, role: str) -> int:
        version: int = json.loads((self.known / f"{role}.json").read_bytes())["signed"]["version"]
        return version

    def targets(self) -> list[bytes]:
        return [path.read_bytes() for path in self.kept.rglob("*") if path.is_file()] if self.kept.exists() else []
