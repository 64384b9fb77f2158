"""Published releases, and where in which blob each chunk lies."""

from collections.abc import Iterable
from dataclasses import dataclass

from fleet.store.session import Session
from littoral.bundle.manifest import Manifest, parse


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk: `length` bytes at `start` of the blob. A chunk list is one piece, itself."""

    digest: str
    blob: str
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Release:
    """A listed release as the server knows it. `bundle` is the digest of its bundle.json."""

    manifest: Manifest
    bundle: str
    published: int


class Releases:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, release: Release, text: str, pieces: Iterable[Piece]) -> None:
        manifest, bundle = release.manifest, release.bundle
        rows = (
            {"digest": p.digest, "bundle": bundle, "blob": p.blob, "start": p.start, "length": p.length} for p in pieces
        )
        row = {
            "model": manifest.model,
            "release": manifest.release,
            "bundle": bundle,
            "manifest": text,
            "published": release.published,
        }
        with self._session.atomic() as db:
            db.table("chunks").insert_all(rows, pk=("digest", "bundle"), ignore=True)
            db.table("releases").upsert(row, pk=("model", "release"))

    def get(self, model: str, release: int) -> Release | None:
        found = self._select("WHERE model = ? AND release = ?", model, release)
        return found[0] if found else None

    def all(self, model: str | None = None) -> list[Release]:
        """By model, the newest first."""
        return self._select() if model is None else self._select("WHERE model = ?", model)

    def piece(self, digest: str) -> Piece | None:
        row = self._session.row("SELECT * FROM chunks WHERE digest = ? LIMIT 1", digest)
        return None if row is None else Piece(row["digest"], row["blob"], row["start"], row["length"])

    def pieces(self, bundles: Iterable[str]) -> list[str]:
        """Digests of the chunks and chunk lists of these bundles, the lists first."""
        named = list(bundles)
        marks = ",".join("?" * len(named))
        sql = f"SELECT digest FROM chunks WHERE bundle IN ({marks}) GROUP BY digest ORDER BY blob != digest, min(rowid)"
        return [row["digest"] for row in self._session.rows(sql, *named)]

    def has_blob(self, sha256: str) -> bool:
        """Whether a listed release has this blob, chunk list or delta."""
        return self._session.row("SELECT 1 FROM chunks WHERE blob = ? LIMIT 1", sha256) is not None

    def drop(self, model: str, release: int) -> None:
        """Forgets a release."""
        found = self.get(model, release)
        if found is None:
            return
        with self._session.atomic() as db:
            db.table("releases").delete((model, release))
            db.table("chunks").delete_where("bundle = ?", [found.bundle])

    def _select(self, where: str = "", *parameters: object) -> list[Release]:
        sql = f"SELECT * FROM releases {where} ORDER BY model, release DESC"
        return [
            Release(parse(row["manifest"].encode()), row["bundle"], row["published"])
            for row in self._session.rows(sql, *parameters)
        ]
