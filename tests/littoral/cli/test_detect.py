"""`littoral detect`, against the fake server: what is printed, and what is drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from littoral.cli import draw
from littoral.client import Box, Class, Detection, Mask, Point, Pose, ResultKind, Stage
from littoral.fake import FakeModel, FakeServer
from littoral.tensors import Interface
from littoral.wire.vision import Format, Layout, Options
from tests.littoral.cli.commands import run

LABELS = ("cat", "dog")
BOXES = (Box("dog", 0.75, 20, 10, 60, 40), Box("cat", 0.5, 5, 6, 7, 8))
POSES = (Pose("dog", 0.75, 20, 10, 60, 40, (Point(30, 20, 0.9), Point(50, 30, 0.1))),)
BLACK = (0, 0, 0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    with FakeServer({"m": FakeModel(labels=LABELS, sees=BOXES)}) as made:
        monkeypatch.setenv("LITTORAL_SOCKET", str(made.socket))
        yield made


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.new("RGB", (100, 80), BLACK).save(path)
    return path


def test_boxes_are_a_table(server: FakeServer, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "detect", "m", image)
    assert status == 0
    head, *rows = out.splitlines()
    assert head.startswith("m: release 1 (committed) gave boxes in 0.0 ms")
    assert [row.split() for row in rows] == [
        ["score", "label", "x0", "y0", "x1", "y1"],
        ["0.750", "dog", "20.0", "10.0", "60.0", "40.0"],
        ["0.500", "cat", "5.0", "6.0", "7.0", "8.0"],
    ]


@pytest.mark.parametrize(
    ("sees", "kind", "rows"),
    [
        ((Class("cat", 0.5),), None, [["0.500", "cat"]]),
        ((Class("", 0.5, index=9),), None, [["0.500", "#9"]]),
        (POSES, None, [["score", "label", "x0", "y0", "x1", "y1"],
                       ["0.750", "dog", "20.0", "10.0", "60.0", "40.0", "2", "points"]]),
        (Mask(2, 2, b"\1\1\0\xff"), None, [["mask", "of", "2x2"], ["50.0%", "dog"], ["25.0%", "cat"]]),
        ((0.5, 1.5), None, [["2", "values:", "0.5,", "1.5"]]),
        (b"123", None, [["3", "bytes"]]),
        ((), ResultKind.BOXES, [["nothing"]]),
    ],
)  # fmt: skip
def test_every_kind_of_result_is_printed(
    server: FakeServer, image: Path, capsys: pytest.CaptureFixture[str], sees: Any, kind: Any, rows: list[list[str]]
) -> None:
    server.switch("m", FakeModel(labels=LABELS, sees=sees, kind=kind))
    status, out, _ = run(capsys, "detect", "m", image)
    assert status == 0
    assert [line.split() for line in out.splitlines()[1:]] == rows


def test_a_pose_without_a_label_is_called_a_pose(
    server: FakeServer, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.switch("m", FakeModel(sees=(Pose("", 0.5, 1, 2, 3, 4, (), 0),)))
    _, out, _ = run(capsys, "detect", "m", image)
    assert out.splitlines()[-1].split()[:2] == ["0.500", "pose"]


@pytest.mark.parametrize(
    ("sees", "kind", "results"),
    [
        ((Class("cat", 0.5),), "classes", [{"label": "cat", "index": 0, "score": 0.5}]),
        (BOXES[:1], "boxes", [{"label": "dog", "index": 1, "score": 0.75, "box": [20, 10, 60, 40]}]),
        (Mask(2, 2, b"\1\1\0\xff"), "mask", {"width": 2, "height": 2, "labels": {"dog": 0.5, "cat": 0.25}}),
        ((0.5, 1.5), "embedding", [0.5, 1.5]),
        (b"\1\xff", "raw", "01ff"),
    ],
)
def test_json_holds_the_results(
    server: FakeServer, image: Path, capsys: pytest.CaptureFixture[str], sees: Any, kind: str, results: Any
) -> None:
    server.switch("m", FakeModel(labels=LABELS, sees=sees))
    status, out, _ = run(capsys, "detect", "m", image, "--json")
    value = json.loads(out)
    assert status == 0
    assert (value["kind"], value["results"], value["width"], value["height"]) == (kind, results, 100, 80)


def test_json_of_poses_holds_their_points(server: FakeServer, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.switch("m", FakeModel(labels=LABELS, sees=POSES))
    _, out, _ = run(capsys, "detect", "m", image, "--json")
    [pose] = json.loads(out)["results"]
    assert [[round(value, 3) for value in point] for point in pose["points"]] == [[30, 20, 0.9], [50, 30, 0.1]]


def test_options_are_passed_on(server: FakeServer, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[Options] = []

    def look(_layout: Layout, _data: bytes, options: Options) -> tuple[Box, ...]:
        shown.append(options)
        return BOXES

    server.switch("m", FakeModel(labels=LABELS, sees=look, kind=ResultKind.BOXES))
    words = ["--threshold", "0.25", "--overlap", "0.5", "--top", "3", "--labels", "cat,dog"]
    assert run(capsys, "detect", "m", image, *words)[0] == 0
    assert shown == [Options(0.25, 0.5, 3, ("cat", "dog"))]


def test_a_jpeg_is_sent_as_it_is_and_another_image_as_its_pixels(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[tuple[Layout, bytes]] = []

    def look(layout: Layout, data: bytes, _options: Options) -> tuple[Box, ...]:
        shown.append((layout, data))
        return ()

    server.switch("m", FakeModel(labels=LABELS, sees=look, kind=ResultKind.BOXES))
    picture = Image.new("L", (3, 2), 7)
    picture.save(tmp_path / "a.jpg")
    picture.save(tmp_path / "a.bmp")
    for name in ("a.jpg", "a.bmp"):
        assert run(capsys, "detect", "m", tmp_path / name)[0] == 0
    assert shown == [
        (Layout(Format.JPEG), (tmp_path / "a.jpg").read_bytes()),
        (Layout(Format.RGB24, 3, 2), bytes([7] * 18)),
    ]


def test_what_is_no_image_is_a_named_error(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    for name in ("bad.png", "none.png"):
        status, _, err = run(capsys, "detect", "m", tmp_path / name)
        assert (status, "littoral: bad-config:" in err) == (1, True)


def test_an_image_that_cannot_be_written_is_a_named_error(
    server: FakeServer, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("no/folder.png", "no.format"):
        status, _, err = run(capsys, "detect", "m", image, "--out", tmp_path / name)
        assert (status, "littoral: bad-config:" in err) == (1, True)


# --- drawing ----------------------------------------------------------------------------------------------------


def test_the_written_image_has_the_size_of_the_given_one_and_the_boxes_edges(
    server: FakeServer, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, "detect", "m", image, "--out", tmp_path / "out.png")
    assert (status, "out.png" in out) == (0, True)
    with Image.open(tmp_path / "out.png") as drawn:
        assert drawn.size == (100, 80)
        assert [drawn.getpixel(at) for at in ((20, 25), (60, 25), (40, 40))] == [draw.COLOURS[1]] * 3
        assert drawn.getpixel((40, 30)) == BLACK


def detection(width: int, height: int, kind: ResultKind, **items: Any) -> Detection:
    interface = Interface((), (), LABELS)
    return Detection(1, Stage.COMMITTED, 0, 0, 0, 0, width, height, interface, kind, **items)


def test_coordinates_of_a_smaller_frame_are_scaled_to_the_image() -> None:
    found = detection(50, 40, ResultKind.BOXES, boxes=(Box("dog", 0.75, 10, 15, 30, 30, 1),))
    drawn = draw.annotated(Image.new("RGB", (100, 80)), found)
    assert [drawn.getpixel(at) for at in ((20, 50), (60, 50))] == [draw.COLOURS[1]] * 2


def test_points_are_drawn_where_they_are_not_guessed() -> None:
    points = (Point(30, 20, 0.9), Point(50, 30, 0.1))
    pose = Pose("cat", 0.75, 20, 10, 60, 40, points, 0)
    drawn = draw.annotated(Image.new("RGB", (100, 80)), detection(100, 80, ResultKind.POSES, poses=(pose,)))
    assert sum(drawn.getpixel((30, 20))) > 300  # orange, whose rim Pillow blends
    assert drawn.getpixel((50, 30)) == BLACK


def test_a_mask_covers_the_image_and_leaves_out_what_is_nothing() -> None:
    found = detection(100, 80, ResultKind.MASK, mask=Mask(2, 1, b"\1\xff"))
    drawn = draw.annotated(Image.new("RGB", (100, 80)), found)
    half = tuple(round(part * draw.MASK_ALPHA / 255) for part in draw.COLOURS[1])
    assert all(abs(a - b) <= 1 for a, b in zip(drawn.getpixel((10, 60)), half, strict=True))
    assert drawn.getpixel((90, 60)) == BLACK
    assert drawn.getpixel((5, 5)) == draw.COLOURS[1]  # its name stands in the corner


def test_labels_of_one_mask_have_different_colours() -> None:
    data = b"\0" * 60 + b"\7" * 39 + b"\x0e"
    drawn = draw.annotated(Image.new("RGB", (100, 800)), detection(100, 800, ResultKind.MASK, mask=Mask(1, 100, data)))
    assert len({drawn.getpixel((50, y)) for y in (400, 700, 796)}) == 3


def test_classes_are_written_into_the_corner_and_corners_in_any_order_are_drawn() -> None:
    found = detection(100, 80, ResultKind.CLASSES, classes=(Class("cat", 0.5, 0),))
    assert draw.annotated(Image.new("RGB", (100, 80)), found).getbbox() is not None
    turned = detection(100, 80, ResultKind.BOXES, boxes=(Box("dog", 0.75, 60, 40, 20, 10, 1),))
    assert draw.annotated(Image.new("RGB", (100, 80)), turned).getpixel((40, 40)) == draw.COLOURS[1]
