import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from fleet import durable
from fleet.mirror import Contents, write
from littoral.canonical import digest
from littoral.errors import DigestError
from littoral.wire.messages import parse_names
from tests.fleet.parts import make_bundle

FIRST, SECOND = make_bundle(release=1), make_bundle(release=2)
DIRECTOR = b"the director"


def contents_of(*bundles: object, **more: bytes) -> Contents:
    """A repository of FIRST and SECOND, as far as they are named; `more` are further metadata files."""
    chosen = [one for one in (FIRST, SECOND) if one in bundles]
    blobs = [blob for one in chosen for blob in one.manifest.blobs.values()]
    return Contents(
        metadata={"1.root.json": b"root", "timestamp.json": b"stamp", **{f"{k}.json": v for k, v in more.items()}},
        small={digest(DIRECTOR): DIRECTOR, **{one.digest: one.text.encode() for one in chosen}},
        chunk_lists={blob.chunks for blob in blobs},
        blobs={blob.sha256 for blob in blobs},
    )


class Blobs:
    """What a server gives, in parts, and what it was asked for."""

    def __init__(self) -> None:
        self.held = {**FIRST.blobs, **SECOND.blobs}
        self.asked: list[str] = []

    def read(self, sha256: str) -> Iterable[bytes]:
        self.asked.append(sha256)
        data = self.held[sha256]
        return [data[:7], b"", data[7:]]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_holds_metadata_small_files_lists_and_blobs_under_their_names(tmp_path: Path) -> None:
    written = write(tmp_path / "new" / "mirror", contents_of(FIRST, SECOND), Blobs().read)
    found = files(tmp_path / "new" / "mirror")
    wanted = {"meta/1.root.json": b"root", "meta/timestamp.json": b"stamp", f"chunk/{digest(DIRECTOR)}": DIRECTOR}
    for bundle in (FIRST, SECOND):
        wanted[f"chunk/{bundle.digest}"] = bundle.text.encode()
        for blob in bundle.manifest.blobs.values():
            wanted[f"blob/{blob.sha256}"] = bundle.blobs[blob.sha256]
            wanted[f"chunk/{blob.chunks}"] = bundle.blobs[blob.chunks]
    index = found.pop("meta/index")
    assert found == wanted
    assert parse_names(index) == ["1.root.json", "timestamp.json"]
    assert written == len(index) + sum(map(len, wanted.values()))


def test_what_is_there_and_whole_is_not_asked_for_again(tmp_path: Path) -> None:
    blobs = Blobs()
    write(tmp_path, contents_of(FIRST), blobs.read)
    spoilt = tmp_path / "blob" / FIRST.manifest.blobs["model"].sha256
    spoilt.write_bytes(b"!" + spoilt.read_bytes()[1:])
    blobs.asked.clear()
    assert write(tmp_path, contents_of(FIRST), blobs.read) == FIRST.manifest.blobs["model"].length
    assert blobs.asked == [spoilt.name]
    assert write(tmp_path, contents_of(FIRST), blobs.read) == 0


def test_what_is_listed_no_more_goes_and_what_is_somebody_elses_stays(tmp_path: Path) -> None:
    write(tmp_path, contents_of(FIRST), Blobs().read)
    (tmp_path / "blob" / ".htaccess").write_text("mine")
    (tmp_path / "blob" / f".{'a' * 64}.new").write_text("of a write that was killed")
    write(tmp_path, contents_of(SECOND), Blobs().read)
    names = {path.name for path in (tmp_path / "blob").iterdir()}
    assert names == {".htaccess", *(blob.sha256 for blob in SECOND.manifest.blobs.values())}
    assert not (tmp_path / "chunk" / FIRST.digest).exists()


def test_metadata_stay_for_one_time_more_for_whoever_is_reading_them(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write(tmp_path, contents_of(**{f"{number}.snapshot": b"s"}), Blobs().read)
    assert parse_names((tmp_path / "meta" / "index").read_bytes()) == [
        "1.root.json",
        "3.snapshot.json",
        "timestamp.json",
    ]
    assert not (tmp_path / "meta" / "1.snapshot.json").exists()
    assert (tmp_path / "meta" / "2.snapshot.json").exists()


@pytest.mark.parametrize("spoilt", [b"", b"[]", b'{"names": 3}'])
def test_a_spoilt_index_keeps_nothing_and_costs_nothing(tmp_path: Path, spoilt: bytes) -> None:
    write(tmp_path, contents_of(**{"2.old": b"s"}), Blobs().read)
    (tmp_path / "meta" / "index").write_bytes(spoilt)
    (tmp_path / "meta" / "precious.json").write_bytes(b"somebody's")
    write(tmp_path, contents_of(), Blobs().read)
    kept = {path.name for path in (tmp_path / "meta").iterdir()}
    assert kept == {"index", "1.root.json", "timestamp.json", "precious.json"}


def test_whatever_the_timestamp_leads_to_is_written_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    really = durable.write_file

    def write_file(path: Path, data: bytes) -> None:
        order.append(path.name)
        really(path, data)

    monkeypatch.setattr(durable, "write_file", write_file)
    write(tmp_path, contents_of(FIRST, zebra=b"s"), Blobs().read)
    assert order[-2:] == ["index", "timestamp.json"]
    assert {FIRST.digest, "zebra.json", "1.root.json"} < set(order)


def test_a_write_that_fails_leads_nobody_to_what_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, contents_of(FIRST), Blobs().read)
    before = files(tmp_path)
    blobs = Blobs()
    wrong = SECOND.manifest.blobs["model"].sha256
    blobs.held[wrong] = b"something else"
    with pytest.raises(DigestError):
        write(tmp_path, contents_of(SECOND, new=b"s"), blobs.read)
    after = files(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {name for name in after if name.startswith("meta/")} == {name for name in before if name.startswith("meta/")}
    assert f"blob/{wrong}" not in after


def test_contents_come_as_json() -> None:
    value = {"metadata": {"a.json": "{}"}, "small": {"d": "é"}, "chunk_lists": ["c"], "blobs": ["b"], "releases": []}
    read = Contents.from_json(json.loads(json.dumps(value)))
    assert read == Contents({"a.json": b"{}"}, {"d": "é".encode()}, ["c"], ["b"])
