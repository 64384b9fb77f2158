"""Shared memory through a real worker: what is taken, what is refused by name, and that nothing is left behind."""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.runtime.engine import Tuning
from agent.runtime.worker.inbox import MOST_DESCRIPTORS
from littoral.wire import query
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeLone
from tests.agent.runtime.lone import Lone, Peer

SIZE = 8_192
QUESTION = b"\x00\x01\x02\x03"
ANSWER = b"\x01\x02\x03\x04"
MODEL = scripted.model(answer=1)


@contextmanager
def memory(size: int = SIZE, seals: int = fcntl.F_SEAL_SHRINK) -> Iterator[int]:
    memfd = os.memfd_create("frames", os.MFD_ALLOW_SEALING)
    os.ftruncate(memfd, size)
    os.pwrite(memfd, QUESTION, 4_000)
    if seals:
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, seals)
    yield memfd
    os.close(memfd)


def shared(peer: Peer, size: int = SIZE) -> int:
    """A new share with the question at 4,000: its number."""
    with memory(size) as memfd:
        peer.share({"size": size}, memfd, id=7)
        told = peer.info(7)
        assert told["size"] == size
        return int(told["share"])


def ask(peer: Peer, share: int, offset: int = 4_000, id: int = 1) -> bytes:
    peer.send(peer.infer(b"", id, place=query.Place(share, offset)))
    return bytes(peer.answer(id).data)


def refused(peer: Peer, share: int, offset: int) -> bool:
    peer.send(peer.infer(b"", 5, place=query.Place(share, offset)))
    return peer.code(5) == "bad-share"


def settled(worker: Lone) -> int:
    """Open descriptors, once it has done all that was asked before."""
    peer = worker.greeted()
    peer.send(peer.infer(QUESTION, 1))
    peer.answer(1)
    peer.close()
    worker.expect("closed")
    return worker.descriptors()


@pytest.mark.parametrize("tuning", [Tuning(), Tuning(interpreters=2)], ids=["loop", "threads"])
def test_a_request_is_read_where_it_lies(lone: MakeLone, tuning: Tuning) -> None:
    peer = lone(MODEL, tuning=tuning).greeted()
    with memory() as memfd, mmap.mmap(memfd, SIZE) as frames:
        peer.share({"size": SIZE}, memfd, id=1)
        share = peer.info(1)["share"]
        for number in range(10):
            at = number * 100
            frames[at : at + 4] = bytes([number] * 4)
            assert ask(peer, share, at) == bytes([number + 1] * 4)
    assert ask(peer, share) == ANSWER  # the runtime's own descriptor outlives the client's


def test_shares_are_numbered_dropped_and_numbers_not_used_again(lone: MakeLone) -> None:
    peer = lone(MODEL).greeted()
    assert [shared(peer), shared(peer)] == [0, 1]
    peer.share({"drop": 0}, id=2)
    assert peer.info(2) == {"dropped": 0}
    assert refused(peer, 0, 0)
    assert shared(peer) == 2
    assert [ask(peer, 1), ask(peer, 2)] == [ANSWER] * 2
    peer.share({"drop": 0}, id=3)
    assert peer.code(3) == "bad-share"


@pytest.mark.parametrize("offset", [SIZE - 3, SIZE, SIZE + 1, 2**40, 2**64 - 1])
def test_a_place_outside_of_the_memory_is_refused(lone: MakeLone, offset: int) -> None:
    peer = lone(MODEL).greeted()
    share = shared(peer)
    assert refused(peer, share, offset)
    assert ask(peer, share) == ANSWER


def test_the_last_bytes_of_the_memory_can_be_used(lone: MakeLone) -> None:
    peer = lone(MODEL).greeted()
    assert ask(peer, shared(peer), SIZE - 4) == b"\1\1\1\1"


def test_only_a_memfd_sealed_against_shrinking_is_taken(lone: MakeLone) -> None:
    worker = lone(MODEL)
    peer = worker.greeted()
    before = settled(worker)
    for seals in (0, fcntl.F_SEAL_GROW, fcntl.F_SEAL_WRITE):
        with memory(seals=seals) as memfd:
            peer.share({"size": SIZE}, memfd, id=1)
            assert peer.code(1) == "bad-share"
    for descriptor in (os.open("/dev/zero", os.O_RDWR), os.open(__file__, os.O_RDONLY)):
        peer.share({"size": 4}, descriptor, id=2)
        assert peer.code(2) == "bad-share"
        os.close(descriptor)
    assert settled(worker) == before


@pytest.mark.parametrize("size", [SIZE + 1, 0, -1, 2**62, 2**70, True, "8192", None, 1.5])
def test_a_size_that_is_not_the_memorys_is_refused(lone: MakeLone, size: object) -> None:
    worker = lone(MODEL)
    peer = worker.greeted()
    before = settled(worker)
    with memory() as memfd:
        peer.share({"size": size}, memfd, id=1)
        assert peer.code(1) == "bad-share"
    assert settled(worker) == before


def test_a_share_without_a_descriptor_or_without_json_is_refused(lone: MakeLone) -> None:
    worker = lone(MODEL)
    peer = worker.greeted()
    before = settled(worker)
    peer.share({"size": SIZE}, id=1)
    assert peer.code(1) == "bad-share"
    with memory() as memfd:
        socket.send_fds(peer.socket, [query.frame(query.Kind.SHARE, b"[1]", 2)], [memfd])
        assert peer.code(2) == "bad-share"
    assert settled(worker) == before


def test_there_are_limits_to_number_and_bytes(lone: MakeLone) -> None:
    worker = lone(MODEL, max_shares=3, max_share_bytes=4 * SIZE)
    peer = worker.greeted()
    assert peer.welcome is not None
    assert (peer.welcome.max_shares, peer.welcome.max_share_bytes) == (3, 4 * SIZE)
    for _ in range(2):
        shared(peer)
    with memory(3 * SIZE) as memfd:
        peer.share({"size": 3 * SIZE}, memfd, id=1)
        assert peer.code(1) == "bad-share"  # too many bytes
    shared(peer)
    with memory(16) as memfd:
        peer.share({"size": 16}, memfd, id=1)
        assert peer.code(1) == "bad-share"  # too many
    assert ask(peer, 2) == ANSWER


def test_descriptors_beside_other_frames_are_closed(lone: MakeLone) -> None:
    worker = lone(MODEL)
    peer = worker.greeted()
    before = settled(worker)
    with memory() as memfd:
        for number in range(20):
            socket.send_fds(peer.socket, [peer.infer(QUESTION, number)], [memfd])
            assert peer.answer(number).data == ANSWER
    assert settled(worker) == before


def test_of_several_descriptors_beside_a_share_none_leaks(lone: MakeLone) -> None:
    worker = lone(MODEL)
    peer = worker.greeted()
    before = settled(worker)
    with memory() as memfd:
        peer.share({"size": SIZE}, *[memfd] * 20, id=1)
        share = peer.info(1)["share"]
    assert ask(peer, share) == ANSWER
    peer.share({"drop": share}, id=2)
    assert peer.info(2) == {"dropped": share}
    assert settled(worker) == before


def test_descriptors_sent_with_each_byte_of_a_frame_are_bounded(lone: MakeLone) -> None:
    worker = lone(MODEL)
    peer = worker.greeted()
    before = settled(worker)
    with memory() as memfd:
        frame = query.json_frame(query.Kind.SHARE, {"size": SIZE}, 1)
        for at in range(len(frame) - 1):
            socket.send_fds(peer.socket, [frame[at : at + 1]], [memfd])
        assert settled(worker) <= before + MOST_DESCRIPTORS
        peer.send(frame[-1:])
        share = peer.info(1)["share"]
    assert ask(peer, share) == ANSWER


def test_a_frame_cut_anywhere_still_gets_its_descriptor(lone: MakeLone) -> None:
    peer = lone(MODEL, max_shares=100).greeted()
    frame = query.json_frame(query.Kind.SHARE, {"size": SIZE}, 1)
    for cut in range(1, len(frame)):
        with memory() as memfd:
            socket.send_fds(peer.socket, [frame[:cut]], [memfd])
        peer.send(frame[cut:])
        assert peer.info(1)["share"] == cut - 1


def test_a_share_among_other_frames_gets_its_descriptor(lone: MakeLone) -> None:
    peer = lone(scripted.model(answer=1, delay_ms=20)).greeted()
    with memory() as memfd:
        peer.send(peer.infer(QUESTION, 1), peer.infer(QUESTION, 2))
        peer.share({"size": SIZE}, memfd, id=3)
        peer.send(peer.infer(b"", 4, place=query.Place(0, 4_000)))
    assert [peer.answer(n).data for n in (1, 2)] == [ANSWER] * 2
    assert peer.info(3)["share"] == 0
    assert peer.answer(4).data == ANSWER


def test_a_client_that_dies_leaves_nothing_behind(lone: MakeLone) -> None:
    worker = lone(scripted.model(answer=1, delay_ms=20))
    before = settled(worker)
    frame = query.json_frame(query.Kind.SHARE, {"size": SIZE}, 1)
    for cut in (0, 3, len(frame)):
        peer = worker.greeted()
        share = shared(peer)
        with memory() as memfd:
            peer.send(peer.infer(QUESTION, 2), peer.infer(b"", 3, place=query.Place(share, 0)))
            if cut:
                socket.send_fds(peer.socket, [frame[:cut]], [memfd])
        peer.close()
        worker.expect("closed")
    assert settled(worker) == before


def test_a_truncated_memory_grows_at_most(lone: MakeLone) -> None:
    peer = lone(MODEL).greeted()
    with memory() as memfd:
        peer.share({"size": SIZE}, memfd, id=1)
        share = peer.info(1)["share"]
        with pytest.raises(PermissionError):
            os.ftruncate(memfd, 0)
        os.ftruncate(memfd, 2 * SIZE)
    assert ask(peer, share) == ANSWER
    assert refused(peer, share, SIZE)


def test_shares_travel_with_their_connection(lone: MakeLone) -> None:
    worker = lone(MODEL)
    peer = worker.greeted()
    assert [shared(peer), shared(peer)] == [0, 1]
    peer.share({"drop": 0}, id=2)
    peer.info(2)
    for release in (2, 3):
        (carried,) = worker.drain()
        worker = lone(scripted.model(answer=release), release=release)
        worker.give(carried)
        peer.frame(query.Kind.EVENT)
        assert ask(peer, 1) == bytes(n + release for n in QUESTION)
        assert refused(peer, 0, 0)
    assert shared(peer) == 2


@pytest.mark.parametrize("cut", [3, None], ids=["half", "whole"])
def test_a_share_that_is_not_answered_travels_with_its_descriptor(lone: MakeLone, cut: int | None) -> None:
    worker = lone(scripted.model(answer=1, delay_ms=200))
    peer = worker.greeted()
    frame = query.json_frame(query.Kind.SHARE, {"size": SIZE}, 3)
    peer.send(peer.infer(QUESTION, 1), peer.infer(QUESTION, 2))
    with memory() as memfd:
        socket.send_fds(peer.socket, [frame[:cut]], [memfd])
    worker.greeted()  # by now both were received
    first, *others = worker.drain()
    successor = lone(MODEL, release=1)
    for carried in (first, *others):
        successor.give(carried)
    if cut:
        peer.send(frame[cut:])
    assert [peer.answer(n).data for n in (1, 2)] == [ANSWER] * 2
    assert peer.info(3)["share"] == 0
    assert ask(peer, 0) == ANSWER
