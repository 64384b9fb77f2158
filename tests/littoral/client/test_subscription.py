"""Reading along what a model answers to others."""

from __future__ import annotations

from pathlib import Path

import pytest

from littoral import errors
from littoral.client import Answer, Box, Client, Detection, Picture, subscribe
from littoral.fake import FakeModel, FakeServer
from littoral.wire.vision import Format
from tests.agent.runtime import scripted
from tests.agent.runtime.device import PATIENCE_S
from tests.littoral.client.sides import Side

FRAME = Picture(Format.GREY, 2, 2, bytes(4))


def test_a_subscriber_gets_what_others_are_answered(side: Side) -> None:
    side.serve(scripted.model(answer=1))
    reading, asking = side.subscription(), side.client()
    for number in range(3):
        asking.infer(bytes([number]) * 4)
    results = [result for _, result in zip(range(3), reading, strict=False)]
    assert [result.data for result in results if isinstance(result, Answer)] == [bytes([n]) * 4 for n in (1, 2, 3)]


def test_a_subscriber_goes_on_through_a_switch_and_a_restart(side: Side) -> None:
    side.serve(scripted.model(answer=1), scripted.model(answer=2))
    reading, asking = side.subscription(), side.client()
    asking.infer(bytes(4))
    assert _release(reading.next(PATIENCE_S)) == 1
    side.switch(2)
    asking.infer(bytes(4))
    assert _release(reading.next(PATIENCE_S)) == 2
    assert reading.welcome.release == 2
    side.kill()
    side.revive()
    assert reading.next(0.05) is None  # it is connected again
    assert reading.connections == 2
    asking.infer(bytes(4))
    assert _release(reading.next(PATIENCE_S)) == 2


def _release(result: Answer | Detection | None) -> int:
    assert result is not None
    return result.release


def test_where_nothing_comes_in_time_there_is_none(side: Side) -> None:
    side.serve(scripted.model())
    assert side.subscription().next(0.01) is None


def test_a_runtime_that_stays_away_is_unreachable(side: Side) -> None:
    side.serve(scripted.model())
    reading = side.subscription()
    reading.timeout_s = 0.05
    side.kill()
    with pytest.raises(errors.UnreachableError):
        reading.next(PATIENCE_S)
    side.revive()


def test_what_was_left_out_is_said() -> None:
    model = FakeModel(labels=("cat",), sees=(Box("cat", 1.0, 0, 0, 1, 1),))
    with (
        FakeServer({"m": model}) as server,
        subscribe("m", server.socket) as reading,
        Client("m", server.socket) as asking,
    ):
        server.skip_results("m", 2)
        for _ in range(3):
            asking.detect(FRAME)
        seen = reading.next(PATIENCE_S)
        assert isinstance(seen, Detection)
        assert seen.boxes[0].label == "cat"
        assert reading.dropped == 2


def test_an_unknown_model_is_a_named_error(tmp_path: Path) -> None:
    with FakeServer({}, tmp_path / "s") as server, pytest.raises(errors.UnknownModelError):
        subscribe("m", server.socket)
