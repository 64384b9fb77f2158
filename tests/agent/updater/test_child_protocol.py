"""The socket between agent and updater child: every message, and nothing outside the grammar."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.updater import child_protocol
from agent.updater.child_protocol import ChildReader, Fail, Get, Plan, Request, fail, get, have, parse_request
from littoral.errors import DigestError, ExpiredMetadataError, LittoralError, NotListedError

DIGEST = "0f" * 32
PLAN = Plan('{"model":"pérson"}', {"model": (DIGEST, DIGEST), "labels": ()}, "", 1_793_500_000, 2)


def test_every_message_is_read_as_it_was_written() -> None:
    reader = ChildReader()
    assert reader.feed(get("meta/2.root.json", 61_440)) == [Get("meta/2.root.json", 61_440)]
    assert reader.feed(get(f"chunk/{DIGEST}", 0) + PLAN.encode()) == [Get(f"chunk/{DIGEST}", 0), PLAN]
    assert ChildReader().feed(Fail("metadata", "no", "", "").encode()) == [Fail("metadata", "no")]


@given(st.lists(st.integers(1, 30), min_size=1))
def test_messages_may_come_in_any_pieces(cuts: list[int]) -> None:
    data = get("meta/timestamp.json", 16_384) + get("meta/index", 100) + PLAN.encode()
    reader, found, at = ChildReader(), [], 0
    for cut in [*cuts, len(data)]:
        found += reader.feed(data[at : at + cut])
        at += cut
    assert found == [Get("meta/timestamp.json", 16_384), Get("meta/index", 100), PLAN]


@pytest.mark.parametrize(
    "data",
    [
        b"GET\n",
        b"GET meta/x\n",
        b"GET ../identity/device.key 10\n",
        b"GET meta/../x 10\n",
        b"GET chunk/0f 10\n",
        b"GET meta/x 61441\n",
        b"GET meta/x -1\n",
        b"GET meta/x 1e3\n",
        b"GET meta/x \xc2\xb2\n",
        b"get meta/x 10\n",
        b"HAVE 3\nabc",
        b"PLAN\n",
        b"PLAN 99999999\n",
        b"PLAN 2\n{}",
        b"PLAN 2\n[]",
        b"PLAN 3\nabc",
        b"FAIL 2\n{}",
        b"\n",
        b"\xff\n",
        b"x" * 300,
        b'PLAN 71\n{"manifest":"","chunks":{"m":["../x"]},"keyid":"","time":0,"root_version":1}',
    ],
)
def test_what_is_outside_the_grammar_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        ChildReader().feed(data)


@given(st.binary(max_size=300))
def test_random_bytes_are_a_value_error_or_nothing(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert ChildReader().feed(data) == []


def test_nothing_may_follow_the_end() -> None:
    reader = ChildReader()
    reader.feed(PLAN.encode())
    with pytest.raises(ValueError, match="after its end"):
        reader.feed(b"G")


def test_a_request_is_read_as_it_was_written() -> None:
    request = Request("plan", "/r", "/tuf", "main", "cam-1", 7, None, "person", 2, DIGEST)
    assert parse_request(request.encode()) == request
    desired = Request("desired", "/r", "/tuf", desired='{"a":"é\n"}')
    assert desired.encode().count(b"\n") == 1
    assert parse_request(desired.encode()) == desired
    for line in (b"{}", b'{"job":"dance","root":"","metadata_dir":""}', b"x", b"[]"):
        with pytest.raises((ValueError, TypeError)):
            parse_request(line)


def test_a_failure_is_the_named_error_again_on_the_agents_side() -> None:
    for error in (ExpiredMetadataError("old"), NotListedError("none")):
        again = fail(error, 3).error()
        assert type(again) is type(error)
        assert again.cause == error.cause
    digest = fail(DigestError("aa", "bb"), 3)
    (read,) = ChildReader().feed(digest.encode())
    assert isinstance(read, Fail)
    assert read.root_version == 3
    found = read.error()
    assert isinstance(found, DigestError)
    assert (found.wanted, found.got) == ("aa", "bb")
    assert type(Fail("of-the-future", "x").error()) is LittoralError


def test_answers_are_what_the_child_reads() -> None:
    assert have(b"abc") == b"HAVE 3\nabc"
    assert have(b"") == b"HAVE 0\n"
    assert child_protocol.ABSENT == b"ABSENT\n"
    assert child_protocol.NOANSWER == b"NOANSWER\n"
    assert json.loads(PLAN.encode().split(b"\n", 1)[1])["root_version"] == 2
