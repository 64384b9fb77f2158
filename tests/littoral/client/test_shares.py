"""Frames written straight into memory that the runtime sees too."""

from __future__ import annotations

import fcntl
import os

import numpy as np
import pytest

from littoral import errors
from littoral.client import Answer, Client, Share
from littoral.fake import FakeModel, FakeServer
from tests.agent.runtime import scripted
from tests.littoral.client.sides import Side


def test_what_is_written_into_a_slot_is_what_the_model_gets(side: Side) -> None:
    side.serve(scripted.model(answer=1))
    asking = side.client()
    share = asking.share(4, slots=3)
    for number in range(3):
        share.slot(number).view[:] = bytes((number, 0, 0, 9))
    ids = [asking.submit(share.slot(number)) for number in (2, 0, 1)]
    answers = [asking.wait(id) for id in ids]
    assert [answer.data for answer in answers if isinstance(answer, Answer)] == [
        b"\3\1\1\x0a", b"\1\1\1\x0a", b"\2\1\1\x0a",
    ]  # fmt: skip


def test_numpy_writes_into_a_slot(side: Side) -> None:
    side.serve(scripted.model())
    asking = side.client()
    slot = asking.share(16).slot(0)
    pixels = np.frombuffer(slot.view, "uint8")
    pixels[:4] = 1, 2, 3, 4
    assert asking.infer(slot).data == b"\1\2\3\4"  # the rest of the slot is not the model's


def test_it_is_shared_again_after_a_reconnect(side: Side) -> None:
    side.serve(scripted.model(answer=1))
    asking = side.client()
    one, two = asking.share(4), asking.share(4)
    one.slot(0).view[:], two.slot(0).view[:] = b"\1\1\1\1", b"\2\2\2\2"
    side.kill()
    asking.submit(two.slot(0))
    side.revive()
    assert asking.wait(1 + 2) is not None
    assert asking.infer(one.slot(0)).data == b"\2\2\2\2"


def test_it_is_shared_once_where_the_connection_is_lost_meanwhile() -> None:
    with FakeServer({"m": FakeModel()}) as server, Client("m", server.socket) as asking:
        server.pause()
        asking.submit(bytes(asking.interface.input_bytes))
        server.drop_connections()
        server.resume()
        numbers = [asking.share(4).number for _ in range(2)]
    assert (numbers, asking.connections) == ([0, 1], 2)


def test_shares_outlive_a_switch(side: Side) -> None:
    side.serve(scripted.model(answer=1), scripted.model(answer=2))
    asking = side.client()
    share = asking.share(4)
    side.switch(2)
    assert asking.infer(share.slot(0)).data == b"\2\2\2\2"


def test_a_share_that_was_given_up_makes_room_for_others(side: Side) -> None:
    side.serve(scripted.model())
    asking = side.client()
    for _ in range(2 * asking.welcome.max_shares):
        asking.unshare(asking.share(4))
    assert asking.infer(asking.share(4).slot(0)).data == bytes(4)


def test_more_than_the_runtime_allows_is_a_named_error_and_the_next_question_is_answered(side: Side) -> None:
    side.serve(scripted.model())
    asking = side.client()
    with pytest.raises(errors.ShareError):
        asking.share(asking.welcome.max_share_bytes + 1)
    kept = [asking.share(4) for _ in range(asking.welcome.max_shares)]
    with pytest.raises(errors.ShareError):
        asking.share(4)
    assert asking.infer(kept[-1].slot(0)).data == bytes(4)


def test_a_slot_too_small_for_the_inputs_is_refused_before_it_is_sent(side: Side) -> None:
    side.serve(scripted.model())
    asking = side.client()
    with pytest.raises(errors.WrongSizeError, match="slot of 3 bytes"):
        asking.infer(asking.share(3).slot(0))


def test_the_memory_is_sealed_so_that_nobody_can_end_its_reader() -> None:
    share = Share(4_096, 2)
    seals = fcntl.fcntl(share.fileno(), fcntl.F_GET_SEALS)
    assert seals & fcntl.F_SEAL_SHRINK
    with pytest.raises(PermissionError):
        os.ftruncate(share.fileno(), 0)
    share.close()


def test_a_share_has_the_slots_it_was_made_with() -> None:
    share = Share(4, 2)
    for number in (-1, 2):
        with pytest.raises(IndexError):
            share.slot(number)
    for slot_bytes, slots in ((0, 1), (1, 0)):
        with pytest.raises(ValueError):
            Share(slot_bytes, slots)
    share.close()
