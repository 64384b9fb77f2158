from dataclasses import replace

import pytest

from fleet.publishing import pieces_of
from fleet.store import Store
from littoral import canonical
from littoral.bundle import delta as deltas
from littoral.bundle.chunks import list_of, split
from littoral.bundle.manifest import Blob, Delta
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


def with_delta(store: Store, base: bytes, data: bytes) -> Bundle:
    """A bundle whose model is told by the delta `data` from `base` too. All but the base is put into the store."""
    bundle = make_bundle()
    put(store, bundle)
    store.blobs.put(canonical.digest(data), data)
    chunks = listed(store, data, bundle.manifest.chunk_bytes)
    delta = Delta("model", canonical.digest(base), canonical.digest(data), len(data), chunks)
    return Bundle(replace(bundle.manifest, deltas=(delta,)), bundle.blobs)


def model_of(bundle: Bundle) -> bytes:
    return bundle.blobs[bundle.manifest.blobs["model"].sha256]


def test_a_delta_is_found_in_chunks_like_a_blob(opened: Store) -> None:
    model, base = model_of(make_bundle()), model_of(make_bundle(release=2))
    data = deltas.make(base, model)
    opened.blobs.put(canonical.digest(base), base)
    pieces = pieces_of(with_delta(opened, base, data).manifest, opened.blobs)
    assert (
        b"".join(
            opened.blobs.read(piece.blob, piece.start, piece.length)
            for piece in pieces
            if piece.blob == canonical.digest(data)
        )
        == data
    )


def test_a_delta_that_does_not_make_its_blob_is_refused(opened: Store) -> None:
    model, base = model_of(make_bundle()), model_of(make_bundle(release=2))
    with pytest.raises(BundleError, match="never published here"):
        pieces_of(with_delta(opened, base, deltas.make(base, model)).manifest, opened.blobs)
    opened.blobs.put(canonical.digest(base), base)
    for lie, what in (
        (deltas.make(base, model[:-1] + b"!"), "makes another blob"),
        (deltas.make(base, model[:-1]), "19999 bytes in place of 20000"),
        (deltas.make(base, bytes(10_000_000)), "more than 20000"),
        (b"this is no delta at all", "cannot be read"),
    ):
        with pytest.raises(BundleError, match=what):
            pieces_of(with_delta(opened, base, lie).manifest, opened.blobs)


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
