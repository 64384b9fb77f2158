"""bundle.json: what is read as it was written, and what makes no sense."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.bundle import manifest
from littoral.bundle.manifest import Blob, Golden, Health, Limits, Lineage, Manifest, Needs
from littoral.errors import ManifestError

DIGEST = "0f" * 32


def whole(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "model": "person-detect",
        "release": 4,
        "version": "2026.11",
        "floor": 3,
        "lineage": Lineage.RETRAINED,
        "blobs": {"model": Blob(DIGEST, 1000, DIGEST), "golden": Blob(DIGEST, 10, DIGEST)},
        "chunk_bytes": 61_440,
        "interface": {"shapes": DIGEST, "labels": DIGEST},
        "interface_change": True,
        "needs": Needs(("aarch64",), ("litert",), 5, 6, "edgetpu", "refuse"),
        "limits": Limits(1000, 2000),
        "health": Health(10_000, 50_000),
        "golden": Golden(8, "top1", 0, "copied"),
        **changes,
    }
    return Manifest(**fields)


def altered(path: str, value: Any) -> bytes:
    data = json.loads(whole().encode())
    *outer, last = path.split(".")
    place = data
    for key in outer:
        place = place[key]
    place[last] = value
    return json.dumps(data).encode()


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert manifest.parse(whole().encode()) == whole()
    bare = whole(blobs={"model": Blob(DIGEST, 1, DIGEST)}, golden=None, needs=Needs(), limits=Limits())
    assert manifest.parse(bare.encode()) == bare


def test_a_manifest_from_before_the_cpu_could_be_refused_is_read() -> None:
    data = json.loads(whole().encode())
    del data["needs"]["cpu"]
    assert manifest.parse(json.dumps(data).encode()).needs.cpu == "fallback"


def test_labelled_cases_say_which_share_must_be_right() -> None:
    labelled = whole(golden=Golden(100, "top1", 0, "labelled", 850_000), accept_explained=True)
    assert manifest.parse(labelled.encode()) == labelled
    assert json.loads(labelled.encode())["golden"]["right_ppm"] == 850_000
    assert json.loads(labelled.encode())["accept_explained"] is True


def test_what_older_releases_do_not_say_does_not_change_their_name() -> None:
    """A server that reads an older bundle.json and writes it again must come to the same digest."""
    encoded = whole().encode()
    assert b"accept_explained" not in encoded
    assert b"right_ppm" not in encoded
    assert manifest.parse(encoded).encode() == encoded
    assert not manifest.parse(encoded).accept_explained


@pytest.mark.parametrize(
    "golden",
    [
        {"compare": "tolerance", "right_ppm": 800_000},
        {"compare": "top1", "right_ppm": 1_000_001},
        {"compare": "top1", "right_ppm": -1},
        {"compare": "top1", "right_ppm": "1"},
        {"compare": "top1"},
    ],
)
def test_labelled_cases_that_cannot_be_judged_are_refused(golden: dict[str, Any]) -> None:
    described = {"cases": 3, "tolerance_ppm": 0, "expected": "labelled", **golden}
    with pytest.raises(ManifestError):
        manifest.parse(altered("golden", described))


def test_a_manifest_from_before_a_release_said_what_is_normal_for_it_is_read() -> None:
    encoded = whole(health=Health()).encode()
    assert b"health" not in encoded
    assert manifest.parse(encoded).health == Health()
    assert manifest.parse(encoded).encode() == encoded


def test_it_knows_its_name_in_the_signed_metadata_and_its_size() -> None:
    assert whole().target == "person-detect/4.json"
    assert manifest.role_name("person-detect") == "m-person-detect"
    assert whole().size_bytes == 1010


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", 2),
        ("model", "../etc"),
        ("model", 7),
        ("release", 0),
        ("release", "4"),
        ("release", 4.0),
        ("release", True),
        ("floor", 5),
        ("floor", -1),
        ("lineage", "cousin"),
        ("blobs", {}),
        ("blobs", []),
        ("blobs.model.length", 0),
        ("blobs.model.length", 2**40),
        ("blobs.model.sha256", "short"),
        ("blobs.model.sha256", DIGEST.upper()),
        ("blobs.model.chunks", None),
        ("blobs.script", {"sha256": DIGEST, "length": 1, "chunks": DIGEST}),
        ("needs.cpu", "maybe"),
        ("chunk_bytes", 0),
        ("chunk_bytes", 61_441),
        ("golden", None),
        ("golden.compare", "by-eye"),
        ("golden.expected", "hoped"),
        ("golden.cases", 0),
        ("health.errors_ppm", 1_000_000),
        ("health.late_ppm", -1),
        ("health.late_ppm", 0.5),
        ("health", 7),
        ("needs", None),
        ("needs.architectures", 3),
        ("limits.p95_us", -1),
        ("interface", None),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(path: str, value: Any) -> None:
    with pytest.raises(ManifestError):
        manifest.parse(altered(path, value))


def test_a_description_of_golden_vectors_that_are_not_there_is_refused() -> None:
    with pytest.raises(ManifestError, match="golden"):
        manifest.parse(whole(blobs={"model": Blob(DIGEST, 1, DIGEST)}).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"7", b"\xff", b"[" * 9000, b" " * 16_385])
def test_bytes_that_are_no_manifest_are_a_named_error(data: bytes) -> None:
    with pytest.raises(ManifestError):
        manifest.parse(data)


@given(st.data())
def test_no_altered_byte_gives_anything_but_a_manifest_or_the_named_error(data: st.DataObject) -> None:
    encoded = bytearray(whole().encode())
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ManifestError):
        manifest.parse(bytes(encoded))
