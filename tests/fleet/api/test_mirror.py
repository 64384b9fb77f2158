"""The server's own mirror, and what it says of a mirror elsewhere."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from agent.config import Config
from agent.config import Mirror as Settings
from agent.link.mirror import Mirror, Missed
from agent.source import Got, Wanted
from fleet.service import Service
from fleet.store import Store
from littoral.canonical import digest
from littoral.wire.messages import parse_names
from tests.fleet.api.conftest import running
from tests.fleet.parts import WAIT_S, Bundle, eventually, make_bundle

FIRST, SECOND, THIRD = (make_bundle(release=number) for number in (1, 2, 3))
Publish = Callable[[Bundle], None]


@pytest.fixture
def mirror(service: Service) -> Iterator[httpx.Client]:
    """A device, which has no token."""
    with running(service, mirrored=True) as client:
        yield client


def test_nothing_is_mirrored_unless_the_operator_says_so(visitor: httpx.Client) -> None:
    for path in ("meta/timestamp.json", "meta/index", f"blob/{'a' * 64}"):
        assert visitor.get(f"/mirror/{path}").status_code == 404


def test_metadata_are_there_without_a_token(mirror: httpx.Client, service: Service) -> None:
    names = parse_names(mirror.get("/mirror/meta/index").content)
    assert names == sorted(service.metadata())
    for name, text in service.metadata().items():
        answer = mirror.get(f"/mirror/meta/{name}")
        assert (answer.text, answer.headers["cache-control"]) == (text, "no-cache")
    assert mirror.get("/mirror/meta/absent.json").status_code == 404


def test_a_listed_release_is_there_in_whole_and_in_parts(mirror: httpx.Client, publish: Publish) -> None:
    publish(FIRST)
    model = FIRST.manifest.blobs["model"]
    data = FIRST.blobs[model.sha256]
    assert mirror.get(f"/mirror/chunk/{FIRST.digest}").text == FIRST.text
    assert mirror.get(f"/mirror/chunk/{model.chunks}").content == FIRST.blobs[model.chunks]
    whole = mirror.get(f"/mirror/blob/{model.sha256}")
    assert (whole.content, whole.headers["accept-ranges"]) == (data, "bytes")
    assert "immutable" in whole.headers["cache-control"]
    part = mirror.get(f"/mirror/blob/{model.sha256}", headers={"Range": "bytes=1000-2999"})
    assert (part.status_code, part.content) == (206, data[1_000:3_000])
    assert part.headers["content-range"] == f"bytes 1000-2999/{len(data)}"
    late = mirror.get(f"/mirror/blob/{model.sha256}", headers={"Range": f"bytes={len(data)}-"})
    assert late.status_code == 416
    assert mirror.head(f"/mirror/blob/{model.sha256}").headers["content-length"] == str(len(data))


def test_a_device_fetches_the_pieces_of_a_release_from_it(mirror: httpx.Client, publish: Publish) -> None:
    publish(FIRST)
    model, size = FIRST.manifest.blobs["model"], FIRST.manifest.chunk_bytes
    data = FIRST.blobs[model.sha256]
    wanted = [
        Wanted(f"chunk/{digest(data[at : at + size])}", model.sha256, at, len(data[at : at + size]))
        for at in range(0, len(data), size)
    ]
    config = Config(state=Path("/nonexistent"), mirror=Settings(str(mirror.base_url.join("/mirror"))))
    device = Mirror(config, WAIT_S, lambda: None)
    device.ask(wanted)
    got: list[Got | Missed] = []

    def all_came() -> bool:
        got.extend(device.poll())
        return len(got) == len(wanted)

    eventually(all_came)
    device.stop()
    assert set(got) == {Got(one.name, data[one.offset : one.offset + one.length]) for one in wanted}


def test_a_blob_of_no_listed_release_is_not_there(mirror: httpx.Client, opened: Store) -> None:
    data = b"uploaded and never published"
    opened.blobs.put(digest(data), data)
    for kind in ("blob", "chunk"):
        assert mirror.get(f"/mirror/{kind}/{digest(data)}").status_code == 404
    for path in ("blob/..%2f..%2ffleet.db", "chunk/..%2fx", "meta/..%2f..%2fkeys", "blob/", "elsewhere/x"):
        assert mirror.get(f"/mirror/{path}").status_code == 404


def test_a_mirror_holds_the_newest_releases_and_what_a_rollout_offers(
    client: httpx.Client, publish: Publish, service: Service
) -> None:
    for bundle in (FIRST, SECOND, THIRD):
        publish(bundle)
    service.start_rollout("eye", 1, "all")

    def held(newest: int) -> list[int]:
        return [one["release"] for one in client.get(f"/api/v1/mirror?newest={newest}").json()["releases"]]

    assert (held(1), held(2), held(9)) == ([1, 3], [1, 2, 3], [1, 2, 3])
    answer = client.get("/api/v1/mirror?newest=1").json()
    assert answer["metadata"] == service.metadata()
    assert {FIRST.digest, THIRD.digest} < set(answer["small"])
    assert len(answer["small"]) == 3  # and director.json
    named = [blob for one in (FIRST, THIRD) for blob in one.manifest.blobs.values()]
    assert set(answer["blobs"]) == {blob.sha256 for blob in named}
    assert set(answer["chunk_lists"]) == {blob.chunks for blob in named}
    assert client.get("/api/v1/mirror?newest=0").status_code == 400
