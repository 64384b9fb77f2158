from dataclasses import replace

import pytest

from fleet.publishing import pieces_of
from fleet.store import Store
from littoral import canonical
from littoral.bundle.chunks import list_of, split
from littoral.bundle.manifest import Blob
from littoral.errors import BundleError
from tests.fleet.parts import Bundle, make_bundle


def put(store: Store, bundle: Bundle) -> None:
    for name, data in bundle.blobs.items():
        store.blobs.put(name, data)


def test_every_chunk_and_chunk_list_of_a_bundle_is_found_in_its_blobs(opened: Store) -> None:
    bundle = make_bundle(size=20_500)
    put(opened, bundle)
    found = {
        piece.digest: opened.blobs.read(piece.blob, piece.start, piece.length)
        for piece in pieces_of(bundle.manifest, opened.blobs)
    }
    assert found == bundle.chunks()


def test_a_bundle_that_lacks_a_blob_is_refused(opened: Store) -> None:
    bundle = make_bundle()
    for missing in bundle.blobs:
        put(opened, bundle)
        opened.blobs.path(missing).unlink()
        with pytest.raises(BundleError, match="was not sent"):
            pieces_of(bundle.manifest, opened.blobs)


def with_model(bundle: Bundle, **changes: object) -> Bundle:
    blob = replace(bundle.manifest.blobs["model"], **changes)  # type: ignore[arg-type]
    return Bundle(replace(bundle.manifest, blobs={**bundle.manifest.blobs, "model": blob}), bundle.blobs)


def listed(store: Store, data: bytes, chunk_bytes: int) -> str:
    pieces = list_of(split(data, chunk_bytes))
    store.blobs.put(canonical.digest(pieces), pieces)
    return canonical.digest(pieces)


def test_a_chunk_list_that_does_not_fit_its_blob_is_refused(opened: Store) -> None:
    bundle = make_bundle()
    put(opened, bundle)
    blob: Blob = bundle.manifest.blobs["model"]
    model = bundle.blobs[blob.sha256]
    opened.blobs.put(canonical.digest(b"abc"), b"abc")
    for lie, what in (
        (with_model(bundle, length=19_999), "bundle.json says"),
        (with_model(bundle, chunks=listed(opened, model, 2_000)), "its list names"),
        (with_model(bundle, chunks=listed(opened, model[:-1] + b"!", 1_000)), "not what its list says"),
        (with_model(bundle, chunks=canonical.digest(b"abc")), "a chunk list of 3 bytes"),
    ):
        with pytest.raises(BundleError, match=what):
            pieces_of(lie.manifest, opened.blobs)
