"""DETECT through a real worker: by a card, from socket and shared memory, with windows, and refused by name."""

from __future__ import annotations

import fcntl
import json
import os
import struct

import pytest

from agent.runtime.engine import Tuning
from littoral.wire import query, vision
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeLone
from tests.agent.runtime.lone import Peer

CARD = b'[[input]]\nkind = "image"\n[[output]]\ndecoder = "classification"\n'
LABELS = b"a\nb\nc\nd\n"
MODEL = scripted.model(inputs=[["in", "uint8", [1, 2, 2, 3], 0.0, 0]], outputs=[["out", "uint8", [1, 4], 0.0, 0]])
PICTURE = bytes([10, 90, 20, 30, *[0] * 8])  # of 2x2 pixels: its first bytes become the scores
RGB = vision.Layout(vision.Format.RGB24, 2, 2)
WINDOW = b'[[input]]\nkind = "window"\nrate = 100\nhop = 2\n'
SAMPLES = scripted.model(inputs=[["in", "uint8", [1, 4], 0.0, 0]], outputs=[["out", "uint8", [1, 4], 0.0, 0]])


def ask(peer: Peer, data: bytes = PICTURE, layout: vision.Layout = RGB, id: int = 1, **more: object) -> None:
    peer.send(*vision.detect(vision.Detect(layout, data, **more), id))  # type: ignore[arg-type]


def classes(result: vision.Result) -> list[tuple[int, float]]:
    assert result.kind is vision.ResultKind.CLASSES
    return [(label, score) for label, score in struct.iter_unpack("<If", result.items)]


@pytest.mark.parametrize("tuning", [Tuning(), Tuning(interpreters=2)], ids=["loop", "threads"])
def test_a_frame_becomes_labelled_results_by_the_card(lone: MakeLone, tuning: Tuning) -> None:
    worker = lone(MODEL, card=CARD, labels=LABELS, tuning=tuning)
    peer = worker.greeted()
    assert peer.welcome is not None
    assert peer.welcome.detect == "classes"
    assert peer.welcome.max_frame_bytes >= 1920 * 1080 * 3
    ask(peer)
    result = peer.result(1)
    assert classes(result)[:2] == [(1, 90.0), (3, 30.0)]
    assert (result.width, result.height, result.release) == (2, 2, 1)
    assert result.interface == peer.welcome.interface.digest
    worker.counts(answers=1)


def test_options_of_the_request_choose_among_the_results(lone: MakeLone) -> None:
    peer = lone(MODEL, card=CARD, labels=LABELS).greeted()
    ask(peer, options=vision.Options(top=1).encode())
    assert classes(peer.result(1)) == [(1, 90.0)]
    ask(peer, options=vision.Options(labels=("c", "a")).encode(), id=2)
    assert {label for label, _ in classes(peer.result(2))} == {0, 2}
    ask(peer, options=vision.Options(labels=("nobody",)).encode(), id=3)
    assert peer.code(3) == "bad-picture"


def test_a_frame_in_shared_memory_is_read_where_it_lies(lone: MakeLone) -> None:
    peer = lone(MODEL, card=CARD, labels=LABELS).greeted()
    memfd = os.memfd_create("frames", os.MFD_ALLOW_SEALING)
    os.ftruncate(memfd, 4_096)
    os.pwrite(memfd, PICTURE, 100)
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    peer.share({"size": 4_096}, memfd, id=1)
    share = peer.info(1)["share"]
    ask(peer, b"", place=query.Place(share, 100), size_bytes=12, id=2)
    assert classes(peer.result(2))[0] == (1, 90.0)
    ask(peer, b"", place=query.Place(share, 4_090), size_bytes=12, id=3)
    assert peer.code(3) == "bad-share"
    os.close(memfd)


def test_whatever_is_wrong_with_a_frame_is_named_and_the_connection_goes_on(lone: MakeLone) -> None:
    peer = lone(MODEL, card=CARD, labels=LABELS).greeted()
    bad = [
        query.frame(query.Kind.DETECT, b"short", 1),
        b"".join(vision.detect(vision.Detect(RGB, PICTURE[:-1]), 1)),
        b"".join(vision.detect(vision.Detect(vision.Layout(vision.Format.JPEG), b"no JPEG"), 1)),
        b"".join(vision.detect(vision.Detect(vision.Layout(vision.Format.SAMPLES, 2, 1), b"\0\0"), 1)),
        b"".join(vision.detect(vision.Detect(RGB, PICTURE, options=b"{"), 1)),
        b"".join(vision.detect(vision.Detect(RGB, PICTURE, options=json.dumps({"top": 0}).encode()), 1)),
    ]
    for frame in bad:
        peer.send(frame)
        assert peer.code(1) == "bad-picture"
    ask(peer)
    peer.result(1)


def test_a_model_whose_card_describes_no_picture_does_not_detect(lone: MakeLone) -> None:
    peer = lone(MODEL).greeted()
    assert peer.welcome is not None
    assert peer.welcome.detect == ""
    ask(peer)
    assert peer.code(1) == "unsupported"


def test_results_and_answers_keep_the_order_of_their_requests(lone: MakeLone) -> None:
    peer = lone(MODEL, card=CARD, labels=LABELS, tuning=Tuning(interpreters=2)).greeted()
    for number in range(0, 20, 2):
        ask(peer, id=number)
        peer.send(peer.infer(PICTURE, number + 1))
    for number in range(0, 20, 2):
        peer.result(number)
        assert peer.answer(number + 1).data == PICTURE[:4]


def test_subscribers_get_results_too(lone: MakeLone) -> None:
    worker = lone(MODEL, card=CARD, labels=LABELS)
    subscriber, peer = worker.greeted(subscribes=True), worker.greeted()
    ask(peer, id=40)
    assert classes(peer.result(40)) == classes(subscriber.result(1))


def test_deadlines_and_latest_wins_hold_for_frames(lone: MakeLone) -> None:
    slow = scripted.model(**{**json.loads(MODEL), "delay_ms": 20})
    worker = lone(slow, card=CARD, labels=LABELS)
    peer = worker.greeted(latest=True)
    peer.send(*(b"".join(vision.detect(vision.Detect(RGB, PICTURE), n)) for n in range(3)))
    assert [peer.code(0), peer.code(1)] == ["replaced"] * 2
    peer.result(2)
    other = worker.greeted()
    frames = [vision.detect(vision.Detect(RGB, PICTURE, deadline_us=us), us) for us in (0, 1)]
    other.send(b"".join(b"".join(frame) for frame in frames))
    other.result(0)
    assert other.code(1) == "deadline"


# --- windows ----------------------------------------------------------------------------------------------------


def samples(peer: Peer, data: bytes, id: int) -> bytes | None:
    """What the model was given; None while the window is not full."""
    ask(peer, data, vision.Layout(vision.Format.SAMPLES, len(data), 1), id)
    result = peer.result(id)
    return None if result.kind is vision.ResultKind.NOTHING else bytes(result.items)


def test_a_window_is_answered_whenever_a_hop_is_complete(lone: MakeLone) -> None:
    worker = lone(SAMPLES, card=WINDOW)
    peer, other = worker.greeted(), worker.greeted()
    assert samples(peer, b"\1\2", 1) is None
    assert samples(other, b"\7\7", 1) is None
    assert samples(peer, b"\3", 2) is None
    assert samples(peer, b"\4\5", 3) == b"\1\2\3\4"
    assert samples(peer, b"\6", 4) == b"\3\4\5\6"
    assert samples(other, b"\7\7", 2) == b"\7\7\7\7"
    worker.counts(answers=3)


def test_the_window_of_a_connection_travels_with_it(lone: MakeLone) -> None:
    worker = lone(SAMPLES, card=WINDOW)
    peer = worker.greeted()
    assert samples(peer, b"\1\2", 1) is None
    (carried,) = worker.drain()
    lone(SAMPLES, card=WINDOW, release=2).give(carried)
    peer.frame(query.Kind.EVENT)
    assert samples(peer, b"\3\4", 2) == b"\1\2\3\4"
