"""detect: frames in, labelled results out. The runtime's own decoding is tested where it lives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from littoral import errors
from littoral.client import (
    Box,
    Class,
    Client,
    Detection,
    Format,
    Mask,
    Picture,
    Point,
    Pose,
    ResultKind,
    Slot,
    Stage,
)  # fmt: skip
from littoral.client.results import read_detection
from littoral.fake import FakeModel, FakeServer
from littoral.wire import query, vision
from littoral.wire.vision import Layout, Options

LABELS = ("cat", "dog", "fish")
BOXES = (Box("dog", 0.75, 1, 2, 30, 40), Box("cat", 0.5, 5, 6, 7, 8), Box("fish", 0.25, 0, 0, 9, 9))
MODEL = FakeModel(labels=LABELS, sees=BOXES)
GREY = Picture(Format.GREY, 4, 2, bytes(8))


class Looking:
    """A fake model that remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[Layout, bytes, Options]] = []

    def __call__(self, layout: Layout, data: bytes, options: Options) -> tuple[Box, ...]:
        self.shown.append((layout, data, options))
        return BOXES


@pytest.fixture
def looking() -> Looking:
    return Looking()


@pytest.fixture
def server(looking: Looking) -> Iterator[FakeServer]:
    models = {"m": MODEL, "looking": replace(MODEL, sees=looking, kind=ResultKind.BOXES)}
    with FakeServer(models) as made:
        yield made


@pytest.fixture
def asking(server: FakeServer) -> Iterator[Client]:
    with Client("looking", server.socket) as made:
        yield made


def seen(model: FakeModel) -> Detection:
    with FakeServer({"m": model}) as server, Client("m", server.socket) as asking:
        return asking.detect(GREY)


# --- what comes out ---------------------------------------------------------------------------------------------


def test_boxes_have_names_scores_and_corners_the_best_first(server: FakeServer) -> None:
    with Client("m", server.socket) as asking:
        detection = asking.detect(GREY)
    assert detection.kind is ResultKind.BOXES
    assert detection.boxes == (
        Box("dog", 0.75, 1, 2, 30, 40, 1), Box("cat", 0.5, 5, 6, 7, 8, 0), Box("fish", 0.25, 0, 0, 9, 9, 2),
    )  # fmt: skip
    assert (detection.width, detection.height, detection.release, detection.stage) == (4, 2, 1, Stage.COMMITTED)
    assert detection.labels == LABELS


@pytest.mark.parametrize(
    ("field", "items", "expected"),
    [
        ("classes", (Class("cat", 0.25), Class("fish", 0.5)), (Class("fish", 0.5, 2), Class("cat", 0.25, 0))),
        (
            "poses",
            (Pose("dog", 0.5, 1, 2, 3, 4, (Point(1, 2, 0.5), Point(3, 4, 0.25))),),
            (Pose("dog", 0.5, 1, 2, 3, 4, (Point(1, 2, 0.5), Point(3, 4, 0.25)), 1),),
        ),
        ("mask", Mask(3, 2, b"\0\1\2\xff\0\1"), Mask(3, 2, b"\0\1\2\xff\0\1")),
        ("embedding", (0.5, -1.0), (0.5, -1.0)),
        ("raw", b"\1\2\3", b"\1\2\3"),
    ],
)
def test_every_kind_of_result_has_its_field_and_the_others_are_empty(field: str, items: Any, expected: Any) -> None:
    detection = seen(FakeModel(labels=LABELS, sees=items))
    assert detection.kind.name.lower() == field
    fields = {name: getattr(detection, name) for name in ("classes", "boxes", "poses", "mask", "embedding", "raw")}
    assert fields.pop(field) == expected
    assert not any(fields.values())


def test_nothing_is_seen_while_a_window_is_not_full() -> None:
    detection = seen(FakeModel(sees=b"", kind=ResultKind.NOTHING))
    assert (detection.kind, detection.boxes, detection.raw) == (ResultKind.NOTHING, (), b"")


def test_a_label_beyond_the_models_has_no_name() -> None:
    assert seen(FakeModel(labels=LABELS, sees=(Box("", 0.5, 0, 0, 1, 1, index=7),))).boxes[0].label == ""


def result_frame(item: bytes, kind: ResultKind) -> query.Frame:
    digest = MODEL.interface.digest
    result = vision.Result(digest, 1, Stage.COMMITTED, 0, 0, 0, 0, 4, 2, kind, len(item), 1, item)
    return query.Frame(query.Kind.RESULT, 1, b"".join(vision.result(result, 1))[query.HEADER.size :])


def test_bytes_at_the_end_of_an_item_that_nobody_knows_are_skipped() -> None:
    box = vision.BOX_ITEM.pack(1, 0.5, 1, 2, 3, 4)
    for kind, field in ((ResultKind.BOXES, "boxes"), (ResultKind.POSES, "poses"), (ResultKind.CLASSES, "classes")):
        detection = read_detection(result_frame(box + b"later", kind), MODEL.interface, MODEL.interface.digest)
        [item] = getattr(detection, field)
        assert (item.label, item.score) == ("dog", 0.5)


def test_items_too_short_for_their_kind_are_a_named_error() -> None:
    with pytest.raises(errors.ProtocolError, match="items"):
        read_detection(result_frame(b"\0\0\0", ResultKind.BOXES), MODEL.interface, MODEL.interface.digest)


def test_a_result_of_an_interface_that_nobody_told_is_a_named_error() -> None:
    with pytest.raises(errors.ProtocolError, match="which no WELCOME"):
        read_detection(result_frame(bytes(24), ResultKind.BOXES), MODEL.interface, "0" * 32)


def test_labels_are_right_after_a_switch_and_the_app_need_not_ask_anew(server: FakeServer) -> None:
    with Client("m", server.socket) as asking:
        asking.detect(GREY)
        server.switch("m", replace(MODEL, labels=("fish", "dog", "cat"), release=2))
        detection = asking.detect(GREY)
    assert detection.release == 2
    assert [(box.label, box.index) for box in detection.boxes] == [("dog", 1), ("cat", 2), ("fish", 0)]


def test_a_detection_of_a_new_interface_does_not_make_bytes_of_the_old_one_fit(server: FakeServer) -> None:
    with Client("m", server.socket) as asking:
        server.switch("m", replace(MODEL, labels=("fish", "dog", "cat"), release=2))
        assert asking.detect(GREY).release == 2
        with pytest.raises(errors.StaleInterfaceError):
            asking.infer(bytes(MODEL.interface.input_bytes))
        assert asking.labels == ("fish", "dog", "cat")
        assert asking.infer(bytes(MODEL.interface.input_bytes)).release == 2


# --- what goes in -----------------------------------------------------------------------------------------------


def test_options_are_kept_to(server: FakeServer) -> None:
    with Client("m", server.socket) as asking:
        assert [box.label for box in asking.detect(GREY, threshold=0.4).boxes] == ["dog", "cat"]
        assert [box.label for box in asking.detect(GREY, top=1).boxes] == ["dog"]
        assert [box.label for box in asking.detect(GREY, labels=["fish", "cat"]).boxes] == ["cat", "fish"]
        assert [box.label for box in asking.detect(GREY, labels="fish").boxes] == ["fish"]


def test_options_arrive_as_they_were_given(asking: Client, looking: Looking) -> None:
    asking.detect(GREY, threshold=0.5, overlap=0.25, top=3, labels=("cat",))
    asking.detect(GREY)
    assert [shown[2] for shown in looking.shown] == [Options(0.5, 0.25, 3, ("cat",)), Options()]


@pytest.mark.parametrize(
    ("given", "format", "layout"),
    [
        (np.arange(24, dtype="uint8").reshape(2, 4, 3), None, Layout(Format.RGB24, 4, 2)),
        (np.arange(24, dtype="uint8").reshape(2, 4, 3), Format.BGR24, Layout(Format.BGR24, 4, 2)),
        (np.arange(24, dtype="uint8").reshape(4, 6), None, Layout(Format.GREY, 6, 4)),
        (np.arange(24, dtype="uint8").reshape(4, 6, 1), None, Layout(Format.GREY, 6, 4)),
        (np.arange(24, dtype="int16").reshape(12, 2), Format.SAMPLES, Layout(Format.SAMPLES, 12, 2)),
        (np.arange(24, dtype="float32"), Format.SAMPLES, Layout(Format.SAMPLES, 24, 1)),
    ],
)
def test_arrays_are_pictures_and_samples(
    asking: Client, looking: Looking, given: Any, format: Format | None, layout: Layout
) -> None:
    asking.detect(given, format=format)
    assert looking.shown[0][:2] == (layout, given.tobytes())


def test_a_part_of_an_array_is_sent_without_what_lies_between(asking: Client, looking: Looking) -> None:
    whole = np.arange(300, dtype="uint8").reshape(10, 10, 3)
    asking.detect(whole[2:4, 3:8])
    assert looking.shown[0][:2] == (Layout(Format.RGB24, 5, 2), whole[2:4, 3:8].tobytes())


def test_bytes_are_a_jpeg_file(asking: Client, looking: Looking) -> None:
    asking.detect(b"\xff\xd8\xff and so on")
    assert looking.shown[0][:2] == (Layout(Format.JPEG), b"\xff\xd8\xff and so on")


def test_planes_with_strides_and_offsets_are_told(asking: Client, looking: Looking) -> None:
    asking.detect(Picture(Format.NV12, 4, 2, bytes(40), strides=(16, 8), offsets=(0, 32)))
    assert looking.shown[0][0] == Layout(Format.NV12, 4, 2, (16, 8, 0), (0, 32, 0))


def test_a_frame_may_lie_in_shared_memory(asking: Client, looking: Looking) -> None:
    slot: Slot = asking.share(16, slots=2).slot(1)
    slot.view[:8] = b"12345678"
    asking.detect(Picture(Format.GREY, 4, 2, slot, size_bytes=8))
    asking.wait(asking.submit_picture(Picture(Format.GREY, 4, 4, slot)))
    assert [shown[1] for shown in looking.shown] == [b"12345678", b"12345678" + bytes(8)]


def test_submitted_pictures_may_be_overwritten_at_once(asking: Client, server: FakeServer, looking: Looking) -> None:
    frame = np.ones((2, 4, 3), "uint8")
    server.stop()
    id = asking.submit_picture(frame)
    frame[:] = 2
    server.start()
    assert isinstance(asking.wait(id), Detection)
    assert set(looking.shown[0][1]) == {1}


@pytest.mark.parametrize(
    ("given", "format"),
    [
        (b"GIF89a", None),
        ("photograph.jpg", None),
        (np.zeros((0, 4, 3), "uint8"), None),
        (np.zeros((2, 4, 3), "float32"), None),
        (np.zeros((2, 4, 4), "uint8"), None),
        (np.zeros(8, "uint8"), None),
        (np.zeros((2, 4), "uint8"), Format.RGB24),
        (np.zeros((2, 4, 3), "uint8"), Format.GREY),
    ],
)
def test_what_is_no_picture_is_refused_before_it_is_sent(
    asking: Client, looking: Looking, given: Any, format: Format | None
) -> None:
    with pytest.raises(errors.PictureError):
        asking.detect(given, format=format)
    assert looking.shown == []


def test_an_unknown_label_is_refused_and_the_next_frame_is_looked_at(server: FakeServer) -> None:
    with Client("m", server.socket) as asking:
        with pytest.raises(errors.PictureError, match="bird"):
            asking.detect(GREY, labels=["bird"])
        assert len(asking.detect(GREY).boxes) == 3


def test_a_model_whose_card_describes_no_picture_is_unsupported() -> None:
    with pytest.raises(errors.UnsupportedError):
        seen(FakeModel())
