"""The C client against a runtime that the test plays, and that sends nonsense: a named error, and never a crash."""

from __future__ import annotations

import random
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from littoral import errors
from littoral.wire import query, vision
from littoral.wire.query import Kind
from tests.clients.driver import INPUTS, INTERFACE, Driver, Runtime, changed, opened, welcome_of


def changes_that_make_no_sense() -> list[dict[str, Any]]:
    tensor = changed()["inputs"][0]
    wrong: list[dict[str, Any]] = [{key: None} for key in ("model", "release", "engine", "limits", "labels", "outputs")]
    wrong += [{"interface": digits} for digits in ("00", "x" * 32, "\u00e9" * 32, 7)]
    wrong += [{"labels": labels} for labels in (["a", 3], {"a": "b"}, ["\0"])]
    wrong += [{"stage": 3}, {"release": -1}, {"release": 1 << 64}, {"limits": {"max_frame_bytes": 1.5}}]
    for change in (
        {"dtype": "string"}, {"dtype": None}, {"shape": [-1]}, {"shape": [1 << 32]}, {"shape": [1 << 20, 1 << 20]},
        {"shape": 4}, {"scale": 0.5}, {"scale": "nan"}, {"scale": "0x1p"}, {"scale": "0x1p99999"}, {"scale": "1p0"},
        {"zero_point": 1 << 63}, {"zero_point": "0"}, {"name": None},
    ):  # fmt: skip
        wrong.append({"inputs": [{**tensor, **change}]})
    return wrong


@pytest.mark.parametrize("change", changes_that_make_no_sense(), ids=repr)
def test_a_welcome_that_makes_no_sense_is_refused(driver: Driver, runtime: Runtime, change: dict[str, Any]) -> None:
    driver.tell("open", "m")
    runtime.accept()
    runtime.send(query.json_frame(Kind.WELCOME, {**changed(), **change}))
    assert driver.said().get("error") == "protocol"


WELCOME = query.welcome(welcome_of())[query.HEADER.size :]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", WELCOME + b"x", WELCOME[:-1], WELCOME[:-1] + b",}", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(driver: Driver, runtime: Runtime, body: bytes) -> None:
    assert greeted_with(driver, runtime, body).get("error") == "protocol"


@pytest.mark.parametrize(
    "value",
    [
        b"01", b"1.", b".5", b"+1", b"1e", b"-", b"NaN", b"tru", b"nulls", b"", b"[1,]", b"[1 2]", b'{"a" 1}',
        b'{"a":1,}', b"{1:2}", b'"\xff"', b'"\xc0\x80"', b'"\xe0\x80\x80"', b'"\xed\xa0\x80"',
        b'"\xf4\x90\x80\x80"', b'"\x01"', b'"\\x"', b'"\\ud800"', b'"\\ud800\\u0041"', b'"\\udc00\\ud800"',
        b'"\\u00"', b'"\\u0000"', b'"', b"[" * 40 + b"]" * 40,
    ],
)  # fmt: skip
def test_json_that_is_not_strict_is_refused_in_fields_that_nobody_reads_too(
    driver: Driver, runtime: Runtime, value: bytes
) -> None:
    body = b'{"other":' + value + b"," + WELCOME[1:]
    assert greeted_with(driver, runtime, body).get("error") == "protocol"


def test_fields_that_nobody_reads_are_skipped_whatever_they_hold(driver: Driver, runtime: Runtime) -> None:
    value = rb'[{"a b":[-1.5e+3,0,0.1E-2,true,false,null,{},[]]},"\"\\\/\b\u00e9\ud83d\ude00"]'
    body = b' {"other" : ' + value + b' ,\n"\\u006dodel":"first",' + WELCOME[1:] + b" "
    assert "error" not in greeted_with(driver, runtime, body)
    assert driver.do("info")["model"] == "first"


def greeted_with(driver: Driver, runtime: Runtime, body: bytes) -> dict[str, Any]:
    driver.tell("open", "m")
    runtime.accept()
    runtime.send(query.frame(Kind.WELCOME, body))
    return driver.said()


def test_many_labels_are_known(driver: Driver, runtime: Runtime) -> None:
    labels = tuple(f"label {number} \u00e9" for number in range(20_000))
    opened(driver, runtime, interface=replace(INTERFACE, labels=labels))
    assert driver.do("info")["labels"] == 20_000


@pytest.mark.parametrize(
    "frame",
    [
        b"Lx" + bytes(14),
        query.HEADER.pack(b"Lt", 2, Kind.ANSWER, 0, 1),
        query.HEADER.pack(b"Lt", 1, Kind.ANSWER, 0xFFFF_FFFF, 1),
        query.HEADER.pack(b"Lt", 1, Kind.WELCOME, (1 << 20) + 1, 1),
        query.frame(Kind.INFER, bytes(40), 1),
        query.frame(Kind.ANSWER, bytes(23), 1),
        query.frame(Kind.ANSWER, bytes(16) + b"\x03" + bytes(7), 1),
        query.frame(Kind.ANSWER, bytes(24), 2),
        query.frame(Kind.RESULT, bytes(56), 1),
        query.frame(Kind.INFO, b"{}", 1),
        query.frame(Kind.ERROR, b"{}", 1),
        query.frame(Kind.ERROR, b'{"code":"busy","cause":7}', 1),
        query.frame(Kind.EVENT, b'{"event":"changed"}', 0),
        query.frame(Kind.WELCOME, b"{}", 0),
        query.error(errors.BusyError("x"), 2),
        query.error(errors.StaleInterfaceError("x"), 1),
    ],
)
def test_a_frame_out_of_place_ends_the_connection_with_a_named_error(
    driver: Driver, runtime: Runtime, frame: bytes
) -> None:
    opened(driver, runtime)
    driver.do("submit", driver.file(INPUTS))
    runtime.take(Kind.INFER)
    runtime.send(frame)
    refused = driver.tried("poll", 60_000)
    assert (refused["error"], refused["id"]) == ("protocol", 0)


@pytest.mark.parametrize(
    ("kind", "item_bytes", "count", "size"),
    [(7, 1, 0, 0), (1, 7, 1, 7), (2, 24, 2, 24), (2, 0, 1, 0), (2, 65_535, 0xFFFF_FFFF, 10), (4, 0, 9, 0)],
)
def test_a_result_that_contradicts_itself_is_refused(
    driver: Driver, runtime: Runtime, kind: int, item_bytes: int, count: int, size: int
) -> None:
    opened(driver, runtime)
    driver.tell("detect", 1, 2, 1, driver.file(b"RGBRGB"))
    id = runtime.take(Kind.DETECT).id
    head = vision.RESULT_HEAD.pack(bytes(16), 7, 0, 0, 0, 0, 4, 4, 0, kind, item_bytes, count)
    runtime.send(query.frame(Kind.RESULT, head + bytes(size), id))
    assert driver.said()["error"] == "protocol"


@pytest.mark.parametrize("seed", range(3))
def test_spoiled_bytes_never_break_the_client(driver: Driver, tmp_path: Path, seed: int) -> None:
    spoil = random.Random(seed)
    data = driver.file(INPUTS)
    whole = (
        query.welcome(welcome_of())
        + query.json_frame(Kind.EVENT, {"event": "changed", "welcome": changed(release=8)})
        + query.error(errors.BusyError("x"), 1, retry_after_ms=1)
    )
    for turn in range(100):
        stream = bytearray(whole)
        for _ in range(spoil.choice((1, 1, 3, 20))):
            stream[spoil.randrange(len(stream))] = spoil.randrange(256)
        path = tmp_path / f"{turn}.sock"
        with closing(Runtime(path)) as runtime, suppress(BrokenPipeError):  # it may have given up already
            driver.tell("open", "m", f"socket={path}", "timeout_ms=20")
            runtime.accept()
            runtime.send(stream[: spoil.choice((len(stream), spoil.randrange(len(stream))))])
        path.unlink()
        if "error" not in driver.said():
            driver.tried("infer", data)
            driver.do("close")
