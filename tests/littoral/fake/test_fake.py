"""The fake server: what a test of an app may rely on. The client's tests run against it as well."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from littoral import errors
from littoral.client import Box, Client, Picture, models, stats
from littoral.fake import FakeModel, FakeServer
from littoral.fake.model import from_json
from littoral.tensors import Tensor
from littoral.wire import query
from littoral.wire.query import Kind
from littoral.wire.report import Report, report
from littoral.wire.vision import Format, ResultKind
from tests.agent.runtime.device import ROOT, Raw

MODEL = FakeModel(labels=("cat", "dog"))
QUESTION = bytes(MODEL.interface.input_bytes)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer({"m": MODEL, "other": FakeModel()}) as made:
        yield made


@pytest.fixture
def raw(server: FakeServer) -> Iterator[Raw]:
    with closing(Raw(server.socket)) as made:
        yield made


def test_the_same_question_has_the_same_answer_and_another_one_another(server: FakeServer) -> None:
    with Client("m", server.socket) as asking:
        answers = [asking.infer(question).data for question in (QUESTION, QUESTION, b"\1" + QUESTION[1:])]
    assert answers[0] == answers[1] != answers[2]
    assert len(answers[0]) == MODEL.interface.output_bytes


def test_answers_are_bytes_or_made_by_a_function(server: FakeServer) -> None:
    with Client("m", server.socket) as asking:
        server.switch("m", replace(MODEL, answer=b"abcd"))
        assert asking.infer(QUESTION).data == b"abcd"
        server.switch("m", replace(MODEL, answer=lambda data: data[:4]))
        assert asking.infer(b"wxyz" + QUESTION[4:]).data == b"wxyz"


def test_what_was_asked_is_counted_and_listed(server: FakeServer) -> None:
    with Client("m", server.socket) as asking:
        asking.infer(QUESTION)
        asking.infer(QUESTION)
    assert (server.asked("m"), server.asked("other")) == (2, 0)
    counted = stats(server.socket)["m"]
    assert (counted["answers"], sum(counted["histogram"])) == (2, 2)
    assert [entry["model"] for entry in models(server.socket)] == ["m", "other"]


def test_it_goes_away_and_comes_back_at_the_same_place(server: FakeServer) -> None:
    server.stop()
    with pytest.raises(errors.UnreachableError):
        models(server.socket)
    server.stop()  # is nothing twice
    server.start()
    assert len(models(server.socket)) == 2


def test_nothing_of_it_is_left_behind() -> None:
    with FakeServer({}) as server:
        assert server.socket.exists()
    assert not server.socket.parent.exists()


def test_an_unclear_kind_of_result_is_the_tests_own_mistake() -> None:
    with pytest.raises(ValueError, match="kind"):
        _ = FakeModel(sees=()).result_kind
    assert FakeModel(sees=(), kind=ResultKind.BOXES).result_kind is ResultKind.BOXES


# --- it speaks as the runtime does -------------------------------------------------------------------------------


def test_bytes_that_are_not_the_protocol_end_the_connection(raw: Raw) -> None:
    raw.send(b"GET / HTTP/1.1\r\n")
    assert raw.code() == "protocol"
    assert raw.next() is None


def test_a_subscriber_that_asks_and_a_kind_that_is_not_served_are_unsupported(server: FakeServer, raw: Raw) -> None:
    raw.hello("m")
    raw.send(query.json_frame(Kind.LIST, {}, 1))
    assert raw.code() == "unsupported"
    with closing(Raw(server.socket)) as subscriber:
        subscriber.send(query.hello(query.Hello("m", mode=query.Mode.SUBSCRIBE)))
        subscriber.frame(Kind.WELCOME)
        subscriber.send(query.json_frame(Kind.LIST, {}, 1))
        assert subscriber.code() == "unsupported"


def test_what_was_reported_can_be_asked(server: FakeServer) -> None:
    with Client("m", server.socket) as asking:
        answer = asking.infer(QUESTION)
        assert asking.report(answer, "bad", "no cat")
        server.switch("m", replace(MODEL, release=2))
        assert not asking.report(answer, "good")
    told = [Report(answer.id, 1, good=False, note="no cat"), Report(answer.id, 1, good=True)]
    assert server.reports("m") == told
    assert server.reports("other") == []
    counts = stats(server.socket)["m"]
    assert (counts["votes"], counts["votes_bad"]) == (1, 1)


def test_what_is_no_report_is_refused_by_name(server: FakeServer, raw: Raw) -> None:
    raw.hello("m")
    raw.send(query.json_frame(Kind.REPORT, {}, 1), report(Report(1, 1, good=False), 2))
    assert [raw.code(), raw.code()] == ["bad-report", "unknown-answer"]
    assert server.reports("m") == []


def test_an_interface_a_size_and_a_deadline_are_checked(server: FakeServer, raw: Raw) -> None:
    digest = raw.hello("m").interface.digest
    raw.send(*query.infer(query.Infer("0" * 32, QUESTION), 1))
    stale = raw.frame(Kind.ERROR).json()
    assert (stale["code"], stale["welcome"]["interface"]) == ("stale-interface", digest)
    raw.send(*query.infer(query.Infer(digest, QUESTION[1:]), 2))
    assert raw.code() == "wrong-size"
    server.pause()
    raw.send(*query.infer(query.Infer(digest, QUESTION, deadline_us=1), 3))
    server.resume()
    assert raw.code() == "deadline"


def test_shared_memory_is_refused_unless_it_is_sealed_and_large_enough(raw: Raw) -> None:
    digest = raw.hello("m").interface.digest
    open_memfd = os.memfd_create("open")
    os.ftruncate(open_memfd, 4_096)
    share = query.json_frame(Kind.SHARE, {"size": 4_096}, 1)
    socket.send_fds(raw.socket, [share], [open_memfd])
    assert raw.code() == "bad-share"
    os.close(open_memfd)
    raw.send(share)  # without a descriptor
    assert raw.code() == "bad-share"
    raw.send(query.json_frame(Kind.SHARE, {"drop": 7}, 2))
    assert raw.code() == "bad-share"
    raw.send(*query.infer(query.Infer(digest, b"", place=query.Place(0, 0)), 3))
    assert raw.code() == "bad-share"


def test_a_place_beyond_the_memory_is_refused(server: FakeServer) -> None:
    with Client("m", server.socket) as asking:
        slot = asking.share(len(QUESTION), 2).slot(1)
        asking.infer(slot)
        with pytest.raises(errors.ShareError):
            asking.infer(replace(slot, offset=slot.offset + 1))


# --- as a process -----------------------------------------------------------------------------------------------


def test_it_runs_as_a_process_for_apps_in_other_languages(tmp_path: Path) -> None:
    described = {
        "m": {
            "inputs": [Tensor("in", "uint8", (2,)).to_json()],
            "outputs": [Tensor("out", "uint8", (2,)).to_json()],
            "labels": ["cat"],
            "release": 7,
            "answer": [1, 2],
            "boxes": [["cat", 0.5, 1, 2, 3, 4]],
        }
    }
    (tmp_path / "models.json").write_text(json.dumps(described))
    command = [sys.executable, "-m", "littoral.fake", "--socket", str(tmp_path / "s"), str(tmp_path / "models.json")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"listening on {tmp_path / 's'}\n"
        with Client("m", tmp_path / "s") as asking:
            answer, seen = asking.infer(b"\0\0"), asking.detect(Picture(Format.GREY, 1, 1, b"\0"))
        process.send_signal(signal.SIGTERM)
    assert (process.returncode, (tmp_path / "s").exists()) == (0, False)
    assert (answer.release, answer.data, seen.boxes) == (7, b"\1\2", (Box("cat", 0.5, 1, 2, 3, 4, 0),))


@pytest.mark.parametrize(
    "described",
    [{"colour": 1}, {"boxes": [["cat"]]}, {"inputs": [{}]}, {"answer": [300]}, {"release": "one"}, []],
)
def test_a_description_that_cannot_be_read_is_a_named_error(described: Any) -> None:
    with pytest.raises(errors.ConfigError):
        from_json(described)


@pytest.mark.parametrize("content", [b"nothing", b"[]", b'{"m": {"colour": 1}}', None])
def test_a_file_that_cannot_be_read_ends_it_with_a_named_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "models.json").write_bytes(content)
    command = [sys.executable, "-m", "littoral.fake", "--socket", str(tmp_path / "s"), str(tmp_path / "models.json")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, "littoral.fake: bad-config:" in ran.stderr) == (1, True)


def test_every_kind_of_result_can_be_described() -> None:
    items = {
        "classes": [["cat", 0.5]],
        "poses": [["cat", 0.5, 0, 0, 1, 1, [[1, 2, 0.5]]]],
        "embedding": [1, 2],
    }
    for name, described in items.items():
        model = from_json({"labels": ["cat"], name: described})
        assert model.result_kind is ResultKind[name.upper()]
