"""A fleet, a device and the folder between them: what the tests of trust and of the updater child stand on."""

from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata

from agent.updater.trust import Trust
from littoral.bundle import keys
from tests.repository import NOW, Fleet, FolderAsker, seconds

MODEL = "person"


class Device:
    """A device with its folder of known metadata, asking a folder."""

    def __init__(self, fleet: Fleet, home: Path, wire: Path) -> None:
        self.first_root = fleet.repository.first_root()
        self.known = home / "tuf"
        self.asker = FolderAsker(wire)

    def trust(self, now: Any = NOW) -> Trust:
        return Trust(self.asker, self.known, self.first_root, seconds(now))

    def forget(self) -> None:
        """Loses all metadata but the first root."""
        for path in self.known.glob("*.json"):
            path.unlink()

    def release(self, number: int, bundle: str, now: Any = NOW) -> bytes:
        return self.trust(now).release(MODEL, number, bundle)[0]


def resign(wire: Path, name: str, change: Any, *signers: keys.Ed25519Signer) -> None:
    """Changes a published file and signs it by whom the test says: an attacker with those keys."""
    path = wire / "meta" / name
    found: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
    change(found.signed)
    found.signatures.clear()
    for signer in signers:
        found.sign(signer, append=True)
    path.write_bytes(found.to_bytes())
