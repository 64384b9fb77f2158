"""What somebody at the device wishes for: taken in, held over restarts, and ended."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import fsio
from agent.slots import Blocked, Slot, SlotRecord, Update
from agent.updater import folder
from agent.updater.device import DeviceMemory
from agent.updater.local import HELD, WISH, LocalWish, Wish
from littoral.wire.messages import Desired, SignedDesired, Want

WANT = Want(7, "a" * 64)
RUNNING = SlotRecord("cats", update=Update(7, "a" * 64, 1, 0, "plan", local=True))
COMMITTED = SlotRecord("cats", a=Slot(7, "a" * 64, "7.0", evidence="first"), active="a", stage="committed")


class Scene:
    """A state folder, into which an install puts what it copied."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.memory = DeviceMemory(state, "main", "farm-1")
        self.wish = self.again()

    def again(self) -> LocalWish:
        """As after a restart."""
        self.wish = LocalWish(
            self.state, self.memory, lambda kind, model, release, text, facts: self.told.append((kind, facts))
        )
        return self.wish

    @property
    def folder(self) -> Path:
        return self.state / folder.NAME

    def install(self, data: bytes | None = None, want: Want = WANT, model: str = "cats") -> None:
        self.folder.mkdir()
        (self.folder / WISH).write_bytes(data or Wish(1000, {model: want}).encode())

    def desire(self, generation: int, want: Want | None) -> None:
        desired = Desired("main", "farm-1", generation, "", {"cats": want})
        self.memory.accept(SignedDesired(desired, "01", "00"))


def wish(models: dict[str, Any]) -> bytes:
    return json.dumps({"uid": 0, "models": models, "before": {}, "generations": {}}).encode()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_wish_is_taken_in_once_and_told_with_who_made_it(scene: Scene) -> None:
    assert not scene.wish.take_in()
    scene.install()
    assert scene.wish.take_in()
    assert scene.wish.wants == {"cats": WANT}
    assert scene.told == [("installed-locally", {"uid": 1000, "bundle": "a" * 64})]
    assert not scene.wish.take_in()
    assert scene.folder.exists()


def test_it_holds_over_a_restart_until_a_newer_desired_state_is_accepted(scene: Scene) -> None:
    scene.desire(3, Want(6, "b" * 64))
    scene.install()
    scene.wish.take_in()
    assert scene.again().wants == {"cats": WANT}
    scene.desire(4, Want(6, "b" * 64))
    assert scene.wish.wants == {}
    assert scene.again().wants == {}


def test_a_new_director_key_that_counts_from_one_is_newer_too(scene: Scene) -> None:
    scene.desire(30, Want(6, "b" * 64))
    scene.install()
    scene.wish.take_in()
    scene.memory.accept(SignedDesired(Desired("main", "farm-1", 1, "", {}), "02", "00"))
    assert scene.wish.wants == {}


def test_the_folder_goes_when_the_update_was_committed_and_the_wish_goes_on(scene: Scene) -> None:
    scene.install()
    scene.wish.take_in()
    assert not scene.wish.settle({})
    assert not scene.wish.settle({"cats": SlotRecord("cats")})
    assert not scene.wish.settle({"cats": RUNNING})
    assert scene.folder.exists()
    assert not scene.wish.settle({"cats": COMMITTED})
    assert not scene.folder.exists()
    assert scene.again().wants == {"cats": WANT}
    assert not scene.wish.settle({"cats": COMMITTED})


def test_an_update_that_ended_otherwise_ends_the_wish(scene: Scene) -> None:
    scene.install()
    scene.wish.take_in()
    scene.wish.settle({"cats": RUNNING})
    assert scene.wish.settle({"cats": SlotRecord("cats")})
    assert scene.wish.wants == {}
    assert not scene.folder.exists()
    assert scene.again().wants == {}


def test_what_is_blocklisted_here_ends_the_wish_at_once(scene: Scene) -> None:
    scene.install()
    scene.wish.take_in()
    assert scene.wish.settle({"cats": SlotRecord("cats", blocked=(Blocked("a" * 64, 1, "constant"),))})
    assert scene.wish.wants == {}


def test_the_wish_counts_attempts_as_the_fleet_server_does(scene: Scene) -> None:
    """Where the server has cleared a blocklist entry, the folder profits from it."""
    scene.desire(3, replace(WANT, attempt=2))
    scene.install()
    scene.wish.take_in()
    assert scene.wish.wants["cats"].attempt == 2
    assert not scene.wish.settle({"cats": SlotRecord("cats", blocked=(Blocked("a" * 64, 1, "constant"),))})


def test_it_waits_for_the_verdict_on_something_else(scene: Scene) -> None:
    scene.install()
    scene.wish.take_in()
    online = SlotRecord("cats", update=Update(6, "b" * 64, 1, 3, "probation"))
    assert not scene.wish.settle({"cats": online})
    assert scene.folder.exists()


def test_a_commit_that_was_given_up_later_ends_the_wish(scene: Scene) -> None:
    scene.install()
    scene.wish.take_in()
    scene.wish.settle({"cats": RUNNING})
    scene.wish.settle({"cats": COMMITTED})
    bad = SlotRecord("cats", blocked=(Blocked("a" * 64, 1, "constant"),))
    assert scene.wish.settle({"cats": bad})
    assert scene.wish.wants == {}


def test_a_second_wish_that_fails_leaves_the_first_one_in_force(scene: Scene) -> None:
    scene.install()
    scene.wish.take_in()
    scene.wish.settle({"cats": COMMITTED})
    better = Want(8, "c" * 64)
    scene.install(want=better)
    scene.wish.take_in()
    assert scene.again().wants == {"cats": better}
    running = replace(COMMITTED, update=Update(8, "c" * 64, 1, 0, "plan", local=True))
    assert not scene.wish.settle({"cats": running})
    assert scene.wish.settle({"cats": COMMITTED})
    assert scene.wish.wants == {"cats": WANT}
    assert not scene.wish.settle({"cats": COMMITTED})
    assert scene.again().wants == {"cats": WANT}


def test_a_crash_while_a_wish_is_taken_in_loses_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise OSError("the power is gone")

    scene.install()
    scene.wish.take_in()
    scene.wish.settle({"cats": COMMITTED})
    scene.install(want=Want(8, "c" * 64))
    with monkeypatch.context() as patch:
        patch.setattr(fsio, "remove", crash)
        with pytest.raises(OSError, match="power"):
            scene.wish.take_in()
    assert scene.again().take_in()
    scene.wish.settle({"cats": replace(COMMITTED, update=Update(8, "c" * 64, 1, 0, "plan", local=True))})
    assert scene.wish.settle({"cats": COMMITTED})
    assert scene.wish.wants == {"cats": WANT}


def test_a_wish_for_another_model_leaves_the_first_one_in_force(scene: Scene) -> None:
    scene.install()
    scene.wish.take_in()
    scene.wish.settle({"cats": COMMITTED})
    scene.install(want=Want(1, "d" * 64), model="dogs")
    scene.wish.take_in()
    assert scene.again().wants == {"cats": WANT, "dogs": Want(1, "d" * 64)}


def test_a_second_wish_is_not_judged_by_how_the_first_one_ended(scene: Scene) -> None:
    scene.install()
    scene.wish.take_in()
    scene.wish.settle({"cats": RUNNING})
    scene.wish.settle({"cats": COMMITTED})
    scene.install(want=Want(8, "c" * 64))
    assert scene.wish.take_in()
    assert not scene.wish.settle({"cats": COMMITTED})
    assert scene.wish.wants == {"cats": Want(8, "c" * 64)}
    assert scene.folder.exists()


def test_a_newer_desired_state_leaves_the_folder_to_the_update_that_reads_it(scene: Scene) -> None:
    scene.install()
    scene.wish.take_in()
    scene.wish.settle({"cats": RUNNING})
    scene.desire(1, Want(9, "d" * 64))
    scene.wish.settle({"cats": RUNNING})
    assert scene.folder.exists()
    scene.wish.settle({"cats": SlotRecord("cats")})
    assert not scene.folder.exists()


def test_a_folder_without_a_wish_that_nothing_needs_goes(scene: Scene) -> None:
    scene.folder.mkdir()
    assert not scene.wish.take_in()
    assert not scene.wish.settle({"cats": COMMITTED})
    assert not scene.folder.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"null",
        wish({"../x": {"release": 1, "bundle": "a" * 64}}),
        wish({"cats": {"release": 1, "bundle": "../../x"}}),
        wish({"cats": {"release": "1", "bundle": "a" * 64}}),
        wish({"cats": {"what": 1}}),
    ],
)
def test_a_wish_that_cannot_be_read_is_told_and_removed(scene: Scene, data: bytes) -> None:
    scene.install(data)
    assert not scene.wish.take_in()
    assert [kind for kind, _ in scene.told] == ["desired-refused"]
    assert not scene.folder.exists()
    assert scene.wish.wants == {}


def test_a_spoilt_record_of_the_wish_is_as_none(scene: Scene) -> None:
    (scene.state / HELD).write_bytes(b"\0\0")
    assert scene.again().wants == {}


def test_a_disk_that_takes_nothing_loses_no_wish(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("read-only")

    scene.install()
    with monkeypatch.context() as patch:
        patch.setattr(fsio, "write_file", refuse)
        with pytest.raises(OSError, match="read-only"):
            scene.wish.take_in()
        assert scene.wish.wants == {}
    assert scene.wish.take_in()
    assert scene.wish.wants == {"cats": WANT}


def test_a_wish_that_came_in_the_middle_of_a_turn_is_not_swept_away(scene: Scene) -> None:
    assert not scene.wish.take_in()
    scene.install()
    scene.wish.settle({})
    assert scene.wish.take_in()
