"""Shared memory as an attacker would share it: unsealed, shrunk, too much, and asked for where it is not."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from littoral.wire import query, vision
from littoral.wire.query import Kind
from tests.agent.runtime.device import Raw
from tests.attacks.victim import Victim, named

SIZE = 65_536
FAR = (SIZE, SIZE - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 3_000)


@contextmanager
def memory(size: int = SIZE, seals: int = fcntl.F_SEAL_SHRINK) -> Iterator[int]:
    memfd = os.memfd_create("attack", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(memfd, size)
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, seals)
        yield memfd
    finally:
        os.close(memfd)


def share(raw: Raw, *descriptors: int, size: object = SIZE) -> query.Frame:
    frame = query.json_frame(Kind.SHARE, {"size": size}, 1)
    socket.send_fds(raw.socket, [frame], descriptors)
    answer = raw.next()
    assert answer is not None
    return answer


def refused(frame: query.Frame | None) -> bool:
    return frame is not None and named([frame]) == ["bad-share"]


@pytest.fixture
def raw(victim: Victim) -> Raw:
    made = victim.device.raw()
    made.hello(victim.model)
    return made


def test_memory_that_its_owner_could_shrink_is_refused(victim: Victim, raw: Raw) -> None:
    with victim.unharmed():
        with memory(seals=0) as memfd:
            assert refused(share(raw, memfd))
        with memory(seals=fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE) as memfd:
            assert refused(share(raw, memfd))


def test_what_is_no_memory_is_refused(victim: Victim, raw: Raw) -> None:
    reading, writing = os.pipe()
    with victim.unharmed(), Path("/dev/zero").open("rb") as zero, Path(__file__).open("rb") as file, memory() as memfd:
        for descriptor in (reading, zero.fileno(), file.fileno(), raw.socket.fileno()):
            assert refused(share(raw, descriptor))
        assert refused(share(raw))
        assert share(raw, memfd, memfd).kind is Kind.INFO  # the second is closed
        raw.send(query.json_frame(Kind.SHARE, {"drop": 0}, 2))
        raw.frame(Kind.INFO)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("size", [0, -1, SIZE + 1, 1 << 40, 1 << 64, 1.5, "4096", None, True, [1]])
def test_a_size_that_the_memory_has_not_is_refused(victim: Victim, raw: Raw, size: object) -> None:
    with victim.unharmed(), memory() as memfd:
        assert refused(share(raw, memfd, size=size))


def test_more_shares_and_bytes_than_allowed_are_refused(victim: Victim, raw: Raw) -> None:
    welcome = victim.welcome
    with victim.unharmed():
        with memory(welcome.max_share_bytes + 1) as memfd:
            assert refused(share(raw, memfd, size=welcome.max_share_bytes + 1))
        with memory() as memfd:
            for _ in range(welcome.max_shares):
                assert share(raw, memfd).kind is Kind.INFO
            assert refused(share(raw, memfd))
        raw.close()


def test_places_outside_of_a_share_are_refused(victim: Victim, raw: Raw) -> None:
    digest = victim.welcome.interface.digest
    picture = vision.Layout(vision.Format.GREY, 64, 64)
    with victim.unharmed():
        with memory() as memfd:
            number = int(share(raw, memfd).json()["share"])
        places = [query.Place(number, offset) for offset in FAR] + [
            query.Place(number + 1, 0),
            query.Place((1 << 32) - 1, 0),
        ]
        for place in places:
            raw.send(*query.infer(query.Infer(digest, b"", place=place), 2))
            assert refused(raw.next())
            raw.send(*vision.detect(vision.Detect(picture, place=place, size_bytes=4_096), 3))
            assert refused(raw.next())
        raw.send(*vision.detect(vision.Detect(picture, place=query.Place(number, 0), size_bytes=(1 << 32) - 1), 4))
        assert refused(raw.next())
        raw.send(*query.infer(query.Infer(digest, b"", place=query.Place(number, 0)), 5))
        assert raw.frame(Kind.ANSWER).id == 5
        raw.close()


def test_descriptors_beside_other_frames_are_closed(victim: Victim, raw: Raw) -> None:
    with victim.unharmed():
        with memory() as memfd:
            for id in range(50):
                socket.send_fds(raw.socket, [victim.infer(id)], [memfd] * 10)
                assert raw.frame(Kind.ANSWER).id == id
            stranger = victim.device.raw()
            socket.send_fds(stranger.socket, [query.hello(query.Hello(victim.model))], [memfd] * 100)
            stranger.frame(Kind.WELCOME)
        stranger.close()


def test_a_client_that_dies_in_the_middle_of_a_share_leaves_nothing(victim: Victim) -> None:
    frame = query.json_frame(Kind.SHARE, {"size": SIZE}, 1)
    with victim.unharmed():
        for cut in range(1, len(frame) + 1):
            raw = victim.device.raw()
            raw.hello(victim.model)
            with memory() as memfd:
                socket.send_fds(raw.socket, [frame[:cut]], [memfd])
            raw.close()
