"""A whole update out of a folder: no network is needed, nothing is tried again, and the rest holds as for any other."""

from pathlib import Path
from typing import Any

import pytest

from agent import control
from agent.updater import folder
from agent.updater.device import DeviceMemory
from agent.updater.folder import FolderSource
from agent.updater.local import WISH, LocalWish, Wish
from agent.updater.machine import State
from agent.updater.update import Updates
from littoral.bundle import chunks
from littoral.bundle.manifest import Needs
from littoral.errors import BundleError, ExpiredMetadataError, FloorError, MetadataError, NoRoomError
from littoral.wire.messages import Desired, SignedDesired
from tests.agent.updater.fakes import FakeVerdict, Release, make_release
from tests.agent.updater.running import Device


class Offline(Device):
    """A device that can do without a network: it takes in wishes and reads its folder as agent/main.py does."""

    def __init__(self, state: Path) -> None:
        self.source = FolderSource(state / folder.NAME)
        self.stick = state / folder.NAME
        self.memory = DeviceMemory(state, "main", "farm-1")
        self.begin_local()
        super().__init__(state)
        self.world.folder = self.source
        self.before_turn = self.loop
        self.start()

    def begin_local(self) -> None:
        self.local = LocalWish(self.stick.parent, self.memory, lambda kind, model, release, text, facts: None)

    def start_agent(self) -> Updates:
        self.begin_local()
        return super().start_agent()

    def loop(self) -> None:
        for got in self.source.poll():
            self.updates.arrived(got.name, got.data, self.now, local=True)
        self.take_in()

    def take_in(self) -> None:
        if self.local.take_in():
            self._want()
        if self.local.settle({name: update.record for name, update in self.updates.models.items()}):
            self._want()

    def _want(self) -> None:
        self.updates.end_local()
        desired = Desired("main", "farm-1", self.generation, "", self.wanted)
        if self.generation > self.memory.generation:
            self.memory.accept(SignedDesired(desired, "01", "00"))
        self.updates.want(desired)
        self.updates.want_local(self.local.wants, self.generation)

    def copy(self, number: int, floor: int = 0, **changes: Any) -> Release:
        """Wishes for a release, as an install does."""
        release = self.world.add(make_release(number, floor, **changes))
        (self.stick / "blob").mkdir(parents=True, exist_ok=True)
        for data in release.blobs.values():
            (self.stick / "blob" / chunks.digest_of(data)).write_bytes(data)
        (self.stick / WISH).write_bytes(Wish(0, {"cats": release.want()}).encode())
        return release


@pytest.fixture
def device(tmp_path: Path) -> Offline:
    device = Offline(tmp_path)
    device.install(1)
    device.world.online = False
    return device


def test_a_release_out_of_the_folder_is_committed_without_a_network(device: Offline) -> None:
    device.copy(2, floor=1)
    asked = len(device.world.source.wanted)
    device.run()
    assert (device.served, device.record.floor, device.ending) == (2, 1, ("committed", ""))
    assert len(device.world.source.wanted) == asked


def test_the_child_is_told_of_the_folder_and_no_delta_is_made_use_of(device: Offline) -> None:
    device.copy(2)
    device.turn()
    device.turn()
    (request,) = (each for each in device.world.planner.requests if each.release == 2)
    assert request.folder == str(device.stick)
    assert request.held == ()


@pytest.mark.parametrize(
    "error", [ExpiredMetadataError("the folder was good until 2026-12-23: export a new one"), MetadataError("forged")]
)
def test_what_does_not_verify_is_refused_at_once(device: Offline, error: MetadataError) -> None:
    device.copy(2)
    device.world.planner.error = error
    device.run(5)
    assert device.state is State.IDLE
    assert device.ending == ("refused", error.code)
    assert device.served == 1
    assert device.record.last is not None
    assert device.record.last.reason == error.cause


def test_a_piece_that_the_folder_lacks_ends_the_update(device: Offline) -> None:
    device.copy(2)
    for path in (device.stick / "blob").iterdir():
        path.write_bytes(b"altered")
    device.run(5)
    assert device.ending == ("refused", BundleError.code)
    assert device.served == 1


def test_floor_blocklist_self_test_and_probation_hold(device: Offline) -> None:
    device.copy(2)
    device.until(State.PROBATION)
    device.world.judge.word = FakeVerdict("constant", "the same to everything")
    device.run()
    assert (device.served, device.ending) == (1, ("rolled-back", "constant"))
    device.world.judge.word = None
    begun = device.world.kinds().count("update-started")
    device.copy(2)
    device.run()
    assert (device.served, device.local.wants) == (1, {})
    assert device.world.kinds().count("update-started") == begun
    third = device.copy(3)
    device.world.runtime.fails[third.bundle] = ("golden-mismatch", True)
    device.run()
    assert (device.served, device.ending) == (1, ("failed", "golden-mismatch"))
    device.copy(5, floor=5)
    device.run()
    assert (device.served, device.record.floor) == (5, 5)
    device.copy(4)
    device.run()
    assert (device.served, device.ending) == (5, ("refused", FloorError.code))
    assert not device.stick.exists()


@pytest.mark.parametrize("named", [True, False])
def test_a_wish_that_failed_leaves_no_trace_in_what_is_wanted(device: Offline, named: bool) -> None:
    """Whether the desired state names the model or not."""
    if not named:
        device.wanted.clear()
        device.want(None, model="dogs")
    device.world.planner.error = MetadataError("forged")
    device.copy(2)
    device.run(10)
    assert device.world.kinds().count("update-started") == 2  # of release 1, and this one
    assert device.state is State.IDLE
    assert device.served == 1


def test_a_model_that_nobody_wants_online_comes_and_stays(device: Offline) -> None:
    device.wanted.clear()
    device.want(None, model="dogs")  # a desired state that does not name cats
    device.copy(2)
    device.run()
    device.start()
    device.run(5)
    assert device.served == 2


def test_the_stored_desired_state_does_not_undo_it_and_a_newer_one_does(device: Offline) -> None:
    first = device.record.serves
    assert first is not None
    device.copy(2)
    device.run()
    device.start()
    device.run()
    assert device.served == 2
    device.world.online = True
    device.want(device.wanted["cats"])
    device.run()
    assert device.served == 1


def test_how_it_ended_says_nothing_of_any_rollout(device: Offline) -> None:
    device.world.planner.error = MetadataError("forged")
    second = device.copy(2)
    device.run(5)
    device.world.planner.error = None
    assert device.record.last is not None
    assert (device.record.last.bundle, device.record.last.attempt) == (second.bundle, 0)
    device.world.online = True
    device.want(second.want())
    device.run()
    assert device.served == 2


def test_whoever_asks_at_the_device_does_not_wait_for_what_was_refused_before(device: Offline) -> None:
    second = device.world.add(make_release(2, needs=Needs(memory_bytes=2_000)))
    device.world.online = True
    device.world.runtime.greeting = control.Greeting("litert 2.3.0", 1_000)
    device.want(second.want())
    device.run(5)
    assert device.ending == ("refused", NoRoomError.code)
    device.world.runtime.greeting = control.Greeting("litert 2.3.0", 10**9)
    device.world.online = False
    device.run(5)
    assert device.served == 1
    device.copy(2, needs=Needs(memory_bytes=2_000))
    device.run()
    assert device.served == 2


def test_a_restart_in_the_middle_goes_on_out_of_the_folder(device: Offline) -> None:
    device.copy(2)
    device.until(State.FETCH)
    device.start()
    device.run()
    assert device.served == 2
    assert not device.stick.exists()


def test_when_the_fleet_server_wants_the_same_the_rest_comes_from_there(device: Offline) -> None:
    second = device.copy(2)
    device.before_turn = device.take_in  # the folder gives nothing
    device.until(State.FETCH)
    device.run(3)
    assert device.state is State.FETCH
    device.world.online = True
    device.want(second.want())
    device.run()
    assert device.served == 2
    assert f"chunk/{chunks.digest_of(second.blobs['model'][:64])}" in [each.name for each in device.world.source.wanted]
    assert not device.stick.exists()


def test_what_came_by_a_folder_comes_again_over_the_network_where_the_disk_spoiled_it(device: Offline) -> None:
    second = device.copy(2)
    device.run()
    device.world.online = True
    path = device.config.state / "releases" / second.bundle / "model"
    path.write_bytes(b"spoiled")
    device.world.runtime.said.append(control.Failed("cats", second.bundle, "digest-mismatch", "spoiled"))
    device.run(10)
    assert path.read_bytes() == second.blobs["model"]
