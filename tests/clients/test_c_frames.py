"""The C client against a runtime that the test plays: what it sends, and what it makes of each frame."""

from __future__ import annotations

import os
import random
import struct
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from littoral import errors
from littoral.tensors import Interface, Tensor
from littoral.wire import query, vision
from littoral.wire.query import Kind
from littoral.wire.vision import ResultKind
from tests.clients.driver import INPUTS, INTERFACE, Driver, Runtime, changed, opened, welcome_of

OUTPUTS = bytes(range(100, 119))


def result(frame: query.Frame, kind: ResultKind, item_bytes: int, count: int, items: bytes) -> list[bytes | memoryview]:
    value = vision.Result(INTERFACE.digest, 7, query.Stage.TRIAL, 1, 2, 3, 4, 640, 480, kind, item_bytes, count, items)
    return vision.result(value, frame.id)


# --- HELLO and WELCOME


def test_hello_says_all_options(driver: Driver, runtime: Runtime) -> None:
    hello = opened(driver, runtime, 'client=a"\\b', "signature=second", "latest=1")
    assert hello == query.Hello("m", 'a"\\b', query.Mode.INFER, "second", query.Queue.LATEST)


def test_everything_welcome_says_is_known(driver: Driver, runtime: Runtime) -> None:
    fields = {
        "signature": "s",
        "signatures": ("s", "t"),
        "max_shares": 3,
        "max_share_bytes": 4,
        "card": {"input": [{}]},
    }
    opened(driver, runtime, **fields)
    info = driver.do("info")
    assert (info["model"], info["release"], info["version"], info["stage"]) == ("m", 7, "v7", query.Stage.TRIAL)
    assert (info["engine"], info["signature"], info["signatures"]) == ("scripted 1", "s", 2)
    assert (info["interface"], info["limits"], info["detect"]) == (INTERFACE.digest, [1 << 20, 3, 4], ResultKind.BOXES)
    for side, tensors in (("inputs", INTERFACE.inputs), ("outputs", INTERFACE.outputs)):
        said = [(t["name"], t["dtype"], tuple(t["shape"]), t["scale"], t["zero_point"]) for t in info[side]]
        assert said == [(t.name, t.dtype, t.shape, t.scale, t.zero_point) for t in tensors]
        assert [(t["offset"], t["size"]) for t in info[side]] == offsets(tensors)
    assert (info["input_bytes"], info["output_bytes"]) == (8, 19)


def offsets(tensors: tuple[Tensor, ...]) -> list[tuple[int, int]]:
    ends = [sum(t.size_bytes for t in tensors[:n]) for n in range(len(tensors))]
    return [(end, tensor.size_bytes) for end, tensor in zip(ends, tensors, strict=True)]


@pytest.mark.parametrize("scale", [0.0, 1 / 255, 2.0**-1074, 1.7976931348623157e308, 0.1, 3.0])
def test_no_bit_of_a_scale_is_lost(driver: Driver, runtime: Runtime, scale: float) -> None:
    tensor = Tensor("x", "int8", (4,), scale, -128)
    opened(driver, runtime, interface=Interface((tensor,), (tensor,)))
    assert driver.do("info")["inputs"][0]["scale"] == scale


def test_labels_arrive_in_utf8_and_escaped(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    names = [label(driver, runtime, index) for index in range(4)]
    assert names == [*INTERFACE.labels, ""]


def label(driver: Driver, runtime: Runtime, index: int) -> str:
    driver.tell("detect", 6, 0, 0, driver.file(b"jpeg"))
    frame = runtime.take(Kind.DETECT)
    runtime.send(*result(frame, ResultKind.CLASSES, 8, 1, struct.pack("<If", index, 0.5)))
    return str(driver.said()["items"][0]["name"])


# --- INFER


def test_an_inference_goes_out_and_its_answer_comes_back(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime, "deadline_us=5000")
    driver.tell("infer", driver.file(INPUTS))
    infer = query.parse_infer(runtime.answer(OUTPUTS))
    assert (infer.interface, bytes(infer.data), infer.deadline_us) == (INTERFACE.digest, INPUTS, 5000)
    said = driver.said()
    assert (bytes.fromhex(said["data"]), said["release"], said["stage"]) == (OUTPUTS, 7, query.Stage.TRIAL)
    assert said["times"] == [3, 0, 4, 0]


def test_frames_that_come_in_any_pieces_are_put_together(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    pieces = random.Random(3)
    ids = [driver.do("submit", driver.file(INPUTS))["id"] for _ in range(20)]
    answers = [os.urandom(pieces.choice((0, 1, 7, 70_000))) for _ in ids]
    stream = b"".join(
        b"".join(query.answer(query.Answer(7, query.Stage.COMMITTED, 0, 0, data), id))
        for id, data in zip(ids, answers, strict=True)
    )
    sender = threading.Thread(target=send_in_pieces, args=(runtime, stream, pieces))
    sender.start()
    got = [driver.do("poll", 60_000) for _ in ids]
    sender.join()
    assert [(a["id"], bytes.fromhex(a["data"])) for a in got] == list(zip(ids, answers, strict=True))
    assert all(a["aligned"] for a in got)


def send_in_pieces(runtime: Runtime, stream: bytes, pieces: random.Random) -> None:
    while stream:
        cut = pieces.choice((1, 15, 17, 1_000, 100_000))
        runtime.send(stream[:cut])
        stream = stream[cut:]


def test_sixty_four_requests_wait_at_most(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    data = driver.file(INPUTS)
    for _ in range(64):
        driver.do("submit", data)
    assert driver.tried("submit", data)["error"] == "busy"
    assert driver.tried("infer", data)["error"] == "busy"
    runtime.answer(OUTPUTS)
    driver.do("poll", 60_000)
    driver.do("submit", data)


def test_nothing_blocks_while_the_runtime_does_not_read(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    data = driver.file(bytes(500_000))
    for _ in range(8):
        driver.do("submit", data)
    assert driver.do("poll", 0) == {}
    for _ in range(8):
        driver.tell("poll", 60_000)
        assert len(runtime.answer(OUTPUTS).body) == query.INFER_HEAD.size + 500_000
        assert driver.said()["data"] == OUTPUTS.hex()


def test_a_request_over_the_limit_is_not_sent(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime, max_frame_bytes=100)
    assert driver.tried("infer", driver.file(bytes(69)))["error"] == "frame-too-large"
    driver.tell("infer", driver.file(bytes(68)))
    runtime.answer(OUTPUTS)
    assert driver.said()["data"]


def test_a_refused_request_names_its_id_and_the_next_is_answered(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    ids = [driver.do("submit", driver.file(INPUTS))["id"] for _ in range(2)]
    frame = runtime.take(Kind.INFER)
    runtime.send(query.error(errors.BusyError("too much waits", remedy="come again"), frame.id, retry_after_ms=20))
    runtime.answer(OUTPUTS)
    refused = driver.tried("poll", 60_000)
    assert (refused["error"], refused["id"], refused["retry_after_ms"]) == ("busy", ids[0], 20)
    assert (refused["cause"], refused["remedy"]) == ("too much waits", "come again")
    assert driver.do("poll", 60_000)["id"] == ids[1]


def test_an_answer_that_does_not_come_in_time_is_a_named_error(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime, "timeout_ms=500")
    assert driver.tried("infer", driver.file(INPUTS))["error"] == "deadline"
    driver.tell("infer", driver.file(INPUTS))
    runtime.welcome()
    runtime.answer(OUTPUTS)
    assert driver.said()["data"] == OUTPUTS.hex()


# --- switches and restarts


def test_a_switch_within_the_interface_shows_in_info_only(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    driver.tell("infer", driver.file(INPUTS))
    runtime.send(query.json_frame(Kind.EVENT, {"event": "news", "of": [1, {"deep": None}]}))
    runtime.send(query.json_frame(Kind.EVENT, {"event": "changed", "welcome": changed(release=8)}))
    runtime.answer(OUTPUTS, release=8)
    assert driver.said()["release"] == 8
    assert driver.do("info")["release"] == 8


OTHER = replace(INTERFACE, labels=("bird",))


def test_a_stale_request_is_refused_until_the_app_has_looked(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    data = driver.file(INPUTS)
    event = {"event": "changed", "welcome": changed(interface=OTHER, release=8)}
    for _ in range(2):
        driver.tell("infer", data)
        frame = runtime.take(Kind.INFER)
        assert query.parse_infer(frame).interface == INTERFACE.digest
        runtime.send(query.json_frame(Kind.EVENT, event))
        runtime.send(query.error(errors.StaleInterfaceError("stale"), frame.id, welcome=event["welcome"]))
        assert driver.said()["error"] == "stale-interface"
    assert driver.do("info")["interface"] == OTHER.digest
    driver.tell("infer", data)
    assert query.parse_infer(runtime.answer(OUTPUTS)).interface == OTHER.digest
    assert driver.said()["release"] == 7


def test_what_was_not_answered_is_asked_again_after_a_restart(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    questions = [bytes([n]) * 8 for n in range(3)]
    ids = [driver.do("submit", driver.file(data))["id"] for data in questions]
    driver.tell("poll", 60_000)
    runtime.answer(OUTPUTS)
    driver.said()
    driver.tell("poll", 60_000)
    runtime.welcome()
    asked = [runtime.answer(OUTPUTS) for _ in range(2)]
    assert [(f.id, bytes(query.parse_infer(f).data)) for f in asked] == list(zip(ids, questions, strict=True))[1:]
    assert [driver.said()["id"], driver.do("poll", 60_000)["id"]] == ids[1:]


def test_another_interface_after_a_restart_is_told_by_the_runtime(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    driver.tell("infer", driver.file(INPUTS))
    runtime.take(Kind.INFER)
    runtime.welcome(welcome_of(OTHER))
    assert query.parse_infer(runtime.answer(OUTPUTS)).interface == INTERFACE.digest
    driver.said()


def test_a_client_waits_for_a_runtime_that_is_not_there_yet(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "query.sock").touch()
    assert driver.tried("open", "m", "timeout_ms=50")["error"] == "unreachable"
    assert driver.tried("open", "m", "timeout_ms=50", "socket=" + "p" * 108)["error"] == "socket-path"
    assert driver.tried("open", "m" * 5_000)["error"] == "protocol"


def test_a_runtime_that_never_greets_is_left(driver: Driver, runtime: Runtime) -> None:
    said = driver.tried("open", "m", "timeout_ms=50")
    assert said["error"] == "unreachable"
    assert "WELCOME" in said["cause"]


def test_a_busy_runtime_is_asked_again(driver: Driver, runtime: Runtime) -> None:
    driver.tell("open", "m")
    runtime.accept()
    runtime.take(Kind.HELLO)
    runtime.send(query.error(errors.BusyError("full"), 0, retry_after_ms=1))
    runtime.welcome()
    assert "error" not in driver.said()


def test_an_error_about_the_connection_ends_what_is_in_flight_and_the_next_call_begins_anew(
    driver: Driver, runtime: Runtime
) -> None:
    opened(driver, runtime)
    data = driver.file(INPUTS)
    driver.do("submit", data)
    driver.do("submit", data)
    runtime.send(query.error(errors.NoReleaseError("the trial ended")))
    refused = driver.tried("poll", 60_000)
    assert (refused["error"], refused["id"]) == ("no-release", 0)
    driver.tell("infer", data)
    runtime.welcome()
    runtime.answer(OUTPUTS)
    assert driver.said()["data"] == OUTPUTS.hex()


# --- SHARE


def shared(driver: Driver, runtime: Runtime, number: int) -> int:
    """Answers SHARE and gives its size."""
    frame = runtime.take(Kind.SHARE)
    size = int(frame.json()["size"])
    runtime.send(query.json_frame(Kind.INFO, {"share": number, "size": size}, frame.id))
    return size


def test_a_shared_frame_is_written_where_the_runtime_sees_it(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    driver.tell("share", 100, 3)
    assert shared(driver, runtime, 5) == 3 * 128
    driver.said()
    driver.tell("infer", f"!{driver.file(INPUTS)}")
    infer = query.parse_infer(runtime.answer(OUTPUTS))
    assert infer.place == query.Place(5, 0)
    assert os.pread(runtime.descriptors[0], 8, 0) == INPUTS
    with pytest.raises(PermissionError):
        os.ftruncate(runtime.descriptors[0], 100)
    driver.said()


def test_a_slot_is_free_when_its_answer_has_come(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    driver.tell("share", 64, 2)
    shared(driver, runtime, 0)
    driver.said()
    data = f"!{driver.file(INPUTS)}"
    assert driver.do("slot")["slot"] == 0
    driver.do("submit", data)
    assert driver.do("slot")["slot"] == 64
    driver.do("submit", data)
    assert driver.do("slot")["slot"] == -1
    assert driver.tried("submit", f"={driver.file(INPUTS)}")["error"] == "bad-share"
    assert query.parse_infer(runtime.answer(OUTPUTS)).place == query.Place(0, 0)
    driver.do("poll", 60_000)
    assert driver.do("slot")["slot"] == 0
    assert driver.tried("unshare")["error"] == "busy"


def test_shares_are_given_anew_after_a_restart(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    driver.tell("share", 64, 2)
    shared(driver, runtime, 1)
    driver.said()
    driver.tell("infer", f"!{driver.file(INPUTS)}")
    runtime.take(Kind.INFER)
    runtime.welcome()
    shared(driver, runtime, 9)
    assert query.parse_infer(runtime.answer(OUTPUTS)).place == query.Place(9, 0)
    driver.said()
    driver.tell("unshare")
    frame = runtime.take(Kind.SHARE)
    assert frame.json() == {"drop": 9}
    runtime.send(query.json_frame(Kind.INFO, {"dropped": 9}, frame.id))
    assert "error" not in driver.said()


def test_a_refused_share_is_an_error_and_the_connection_goes_on(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    driver.tell("share", 64, 2)
    frame = runtime.take(Kind.SHARE)
    runtime.send(query.error(errors.ShareError("too many"), frame.id))
    assert driver.said()["error"] == "bad-share"
    driver.tell("infer", driver.file(INPUTS))
    runtime.answer(OUTPUTS)
    assert driver.said()["release"] == 7
    assert driver.tried("share", 0, 2)["error"] == "bad-share"


# --- DETECT and subscribers


def test_a_picture_and_its_wishes_go_out(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    wishes = ("threshold=0.25", "overlap=0.5", "top=3", 'label=a"dog"', "stride=70", "offset=2100")
    driver.tell("detect", 4, 64, 30, driver.file(b"x" * 3_200), *wishes)
    detect = vision.parse_detect(runtime.take(Kind.DETECT))
    assert detect.layout == vision.Layout(vision.Format.NV12, 64, 30, (70, 70, 0), (0, 2100, 0))
    assert (bytes(detect.data), detect.place) == (b"x" * 3_200, None)
    assert vision.parse_options(detect.options) == vision.Options(0.25, 0.5, 3, ('a"dog"',))
    runtime.hang_up()
    runtime.welcome()
    runtime.send(*result(runtime.take(Kind.DETECT), ResultKind.BOXES, 24, 0, b""))
    assert driver.said()["items"] == []
    assert driver.tried("detect", 4, 64, 30, driver.file(b"x"), "threshold=1.5")["error"] == "bad-picture"


@pytest.mark.parametrize(
    ("wish", "options"),
    [
        ("top=2", vision.Options(top=2)),
        ("label=cat", vision.Options(labels=("cat",))),
        ("threshold=1", vision.Options(1.0)),
    ],
)
def test_one_wish_alone_goes_out(driver: Driver, runtime: Runtime, wish: str, options: vision.Options) -> None:
    opened(driver, runtime)
    driver.tell("detect", 3, 2, 2, driver.file(b"grey"), wish)
    frame = runtime.take(Kind.DETECT)
    assert vision.parse_options(vision.parse_detect(frame).options) == options
    runtime.send(*result(frame, ResultKind.NOTHING, 0, 0, b""))
    assert driver.said()["kind"] == ResultKind.NOTHING


def detected(driver: Driver, runtime: Runtime, kind: ResultKind, item_bytes: int, count: int, items: bytes) -> Any:
    driver.tell("detect", 1, 2, 1, driver.file(b"RGBRGB"))
    runtime.send(*result(runtime.take(Kind.DETECT), kind, item_bytes, count, items))
    said = driver.said()
    assert (said["size"], said["times"], said["kind"]) == ([640, 480], [1, 2, 3, 4], kind)
    return said


def test_every_kind_of_result_is_read(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    box = struct.pack("<Ifffff", 1, 0.5, 1, 2, 3, 4)
    item = {"label": 1, "score": 0.5, "box": [1, 2, 3, 4], "name": 'a "dog"', "points": []}
    assert detected(driver, runtime, ResultKind.BOXES, 28, 2, (box + b"more") * 2)["items"] == [item, item]
    points = struct.pack("<6f", 5, 6, 0.25, 7, 8, 0.75)
    pose = {**item, "points": [[5, 6, 0.25], [7, 8, 0.75]]}
    assert detected(driver, runtime, ResultKind.POSES, 48, 1, box + points)["items"] == [pose]
    assert detected(driver, runtime, ResultKind.MASK, 3, 2, bytes([9, 1, 1, 1, 1, 255]))["corners"] == [9, 255]
    assert detected(driver, runtime, ResultKind.EMBEDDING, 4, 2, struct.pack("<2f", 1.5, -2))["values"] == [1.5, -2]
    assert detected(driver, runtime, ResultKind.RAW, 1, 3, b"abc")["data"] == b"abc".hex()


def test_a_subscriber_gets_what_others_are_answered_and_how_much_it_missed(driver: Driver, runtime: Runtime) -> None:
    assert opened(driver, runtime, "subscribe=1").mode is query.Mode.SUBSCRIBE
    runtime.send(*query.answer(query.Answer(7, query.Stage.COMMITTED, 0, 0, b"one"), 40))
    runtime.send(query.json_frame(Kind.EVENT, {"event": "dropped", "count": 5}))
    runtime.send(*query.answer(query.Answer(7, query.Stage.COMMITTED, 0, 0, b"two"), 46))
    runtime.send(*query.answer(query.Answer(7, query.Stage.COMMITTED, 0, 0, b"three"), 47))
    said = [driver.do("poll", 60_000) for _ in range(3)]
    assert [(s["id"], s["dropped"]) for s in said] == [(40, 0), (46, 5), (47, 0)]
    assert driver.do("poll", 0) == {}
    assert driver.tried("submit", driver.file(INPUTS))["error"] == "unsupported"
