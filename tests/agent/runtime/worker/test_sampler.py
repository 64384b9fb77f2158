"""Which inputs are kept: distinct ones, of all that was answered, of all who ask."""

import os
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from agent.runtime import ring
from agent.runtime.ring import Kind
from agent.runtime.worker.sampler import ALIKE, Sampler, Taken, answer_of, distance, sketch_of
from littoral.errors import PictureError
from littoral.tensors import Interface, Tensor

SIDE = 32
PICTURE = Tensor("in", "uint8", (1, SIDE, SIDE, 3))
SCORES = Tensor("out", "uint8", (1, 4))
INTERFACE = Interface((PICTURE,), (SCORES,), ("a", "b", "c", "d"))


@pytest.fixture
def held() -> Iterator[int]:
    descriptor = ring.make()
    yield descriptor
    os.close(descriptor)


def blocks(seed: int) -> bytes:
    """A picture of 8x8 grey squares, unlike that of any other seed."""
    greys = random.Random(seed).randbytes(64)
    rows = [b"".join(greys[8 * down + across : 8 * down + across + 1] * 12 for across in range(8)) for down in range(8)]
    return b"".join(row * 4 for row in rows)


def taken(data: bytes, answer: int = 0, uid: int = 1000) -> Taken:
    scores = bytes(200 if n == answer else 10 for n in range(4))
    return Taken(uid, INTERFACE, data, scores)


def show(sampler: Sampler, *shown: Taken) -> None:
    for each in shown:
        sampler.take(each)
        sampler.tick()


def test_distinct_inputs_are_kept_with_what_they_were_answered(held: int) -> None:
    show(Sampler(held, 10**7), taken(blocks(1), 2), taken(blocks(2), 3, uid=7))
    first, second = ring.read_all(held).values()
    assert (first.data, first.answer, first.uid, first.kind) == (blocks(1), 2, 1000, Kind.TENSORS)
    assert (second.data, second.answer, second.uid) == (blocks(2), 3, 7)


def test_one_input_is_taken_between_two_ticks(held: int) -> None:
    sampler = Sampler(held, 10**7)
    before = sampler.due
    sampler.take(taken(blocks(1)))
    taken_now = sampler.due
    sampler.tick()
    assert (before, taken_now, sampler.due) == (True, False, True)


def test_a_ring_of_one_repeated_frame_holds_it_once(held: int) -> None:
    noise = random.Random(3)
    still = blocks(1)
    frames = [bytes(min(255, max(0, pixel + noise.randint(-6, 6))) for pixel in still) for _ in range(20)]
    show(Sampler(held, 10**7), *(taken(frame) for frame in frames))
    assert len(ring.read_all(held)) == 1


def test_when_all_places_are_taken_the_oldest_of_the_commonest_answer_leaves(held: int) -> None:
    sampler = Sampler(held, 10**7)
    show(sampler, taken(blocks(0), 1))  # seen once, early: a night frame
    show(sampler, *(taken(blocks(n), 0) for n in range(1, 200)))
    kept = ring.read_all(held).values()
    assert len(kept) == ring.PLACES
    assert Counter(each.answer for each in kept) == {0: 63, 1: 1}
    assert {each.data for each in kept if each.answer == 0} == {blocks(n) for n in range(137, 200)}


def test_no_more_memory_is_taken_than_allowed(held: int) -> None:
    most = 10 * 4_096
    show(Sampler(held, most), *(taken(blocks(n), n % 4) for n in range(40)))
    assert ring.size_bytes(held) <= most
    assert len(ring.read_all(held)) == 10


def test_an_input_larger_than_all_of_the_ring_is_not_kept(held: int) -> None:
    show(Sampler(held, 1_000), taken(blocks(1)))
    assert ring.read_all(held) == {}


def test_a_user_who_floods_the_ring_does_not_drive_another_ones_inputs_out(held: int) -> None:
    sampler = Sampler(held, 10**7)
    show(sampler, *(taken(blocks(n), n % 4, uid=1) for n in range(40)))
    show(sampler, *(taken(blocks(1_000 + n), n % 4, uid=2) for n in range(500)))
    owners = Counter(each.uid for each in ring.read_all(held).values())
    assert owners[1] >= ring.PLACES // 2


def test_a_newcomer_gets_places_of_a_user_who_has_all(held: int) -> None:
    sampler = Sampler(held, 10**7)
    show(sampler, *(taken(blocks(n), n % 4, uid=1) for n in range(100)))
    show(sampler, *(taken(blocks(1_000 + n), n % 4, uid=2) for n in range(100)))
    owners = Counter(each.uid for each in ring.read_all(held).values())
    assert abs(owners[1] - owners[2]) <= 2


def test_the_next_worker_goes_on_with_what_is_there(held: int) -> None:
    show(Sampler(held, 10**7), taken(blocks(1)), taken(blocks(2)))
    show(Sampler(held, 10**7), taken(blocks(1)), taken(blocks(3)))
    assert {each.data for each in ring.read_all(held).values()} == {blocks(1), blocks(2), blocks(3)}


def frame(keep: Callable[[bytes], bytes], grey: int = 0) -> Taken:
    return Taken(1, INTERFACE, b"frame", bytes(4), sketch=lambda data: bytes([grey]) * 64, keep=keep)


def test_a_frame_is_kept_as_what_is_made_of_it(held: int) -> None:
    show(Sampler(held, 10**7), frame(lambda data: b"jpeg of " + data))
    (kept,) = ring.read_all(held).values()
    assert (kept.kind, kept.data, kept.sketch) == (Kind.PICTURE, b"jpeg of frame", bytes(64))


def test_nothing_is_made_of_a_frame_like_one_that_is_held(held: int) -> None:
    made: list[bytes] = []

    def keep(data: bytes) -> bytes:
        made.append(data)
        return b"jpeg"

    show(Sampler(held, 10**7), *(frame(keep, grey) for grey in (0, 3, 100)))
    assert (len(made), len(ring.read_all(held))) == (2, 2)


def test_a_frame_that_cannot_be_kept_is_dropped(held: int) -> None:
    def refuse(data: bytes) -> bytes:
        raise PictureError("no JPEG")

    show(Sampler(held, 10**7), frame(refuse))
    assert ring.read_all(held) == {}


# --- sketches -----------------------------------------------------------------------------------------------------


def test_a_sketch_is_the_grey_of_each_part() -> None:
    greys = random.Random(5).randbytes(64)
    assert sketch_of(PICTURE, blocks(5)) == greys


def test_a_sketch_is_the_same_whatever_the_picture_is_stored_as() -> None:
    greys = random.Random(5).randbytes(64)
    signed = bytes((pixel - 128) % 256 for pixel in blocks(5))
    assert sketch_of(Tensor("in", "int8", (1, SIDE, SIDE, 3), 1 / 128, 0), signed) == greys
    ones = struct.pack(f"<{len(blocks(5))}f", *(pixel / 255 for pixel in blocks(5)))
    assert distance(sketch_of(Tensor("in", "float32", (1, SIDE, SIDE, 3)), ones), greys) < 1
    plane = bytes(blocks(5)[::3])
    assert sketch_of(Tensor("in", "uint8", (1, 3, SIDE, SIDE)), plane * 3) == greys
    assert sketch_of(Tensor("in", "uint8", (1, SIDE, SIDE, 1)), plane) == greys


def test_any_other_tensor_has_a_sketch_too() -> None:
    for shape, dtype in (
        ((1, 490), "int8"),
        ((7,), "float32"),
        ((1,), "int32"),
        ((3, 100), "float16"),
        ((1, 9), "bool"),
    ):
        tensor = Tensor("in", dtype, shape)
        zeros, ones = bytes(tensor.size_bytes), b"\1" * tensor.size_bytes
        assert len(sketch_of(tensor, zeros)) == len(sketch_of(tensor, ones)) == 64


def test_sketches_far_apart_are_two_inputs() -> None:
    assert distance(bytes(64), bytes(64)) == 0
    assert distance(bytes(64), b"\5" * 64) > ALIKE


def test_an_answer_is_where_its_scores_are_greatest() -> None:
    boxes = Tensor("boxes", "float32", (1, 2, 4))
    two = Interface((PICTURE,), (boxes, SCORES), INTERFACE.labels)
    assert answer_of(two, struct.pack("<8f", *range(8)) + b"\1\2\xff\3") == 2
    assert answer_of(Interface((PICTURE,), (boxes,)), struct.pack("<8f", 0, 0, 0, 9, 0, 0, 0, 0)) == 3
