from typing import Any

import pytest

from fleet.steering import Policy, Steering
from fleet.store import Device, Store
from fleet.store.releases import Release
from littoral.errors import BadRequestError, NotFoundError, WindowError
from littoral.wire.messages import ModelState, Want
from tests.fleet.parts import Bundle, committed, ended, make_bundle, reported, updating

ONE, TWO, THREE = (make_bundle(release=number) for number in (1, 2, 3))
EAR = make_bundle("ear")


class Ship:
    """A store with devices, and the steering on it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.steering = Steering(store)
        for bundle in (ONE, TWO, THREE, EAR):
            store.releases.add(Release(bundle.manifest, bundle.digest, 1), bundle.text, [])
        for name, site in (("door", "north"), ("gate", "south")):
            self.join(name, site)

    def join(self, name: str, site: str) -> list[str]:
        self.store.devices.add(Device(name, {"site": site}, "x86_64", 1))
        return self.refresh(name)

    def start(self, bundle: Bundle, to: str = "all", **said: Any) -> list[str]:
        manifest = bundle.manifest
        with self.store.atomic():
            self.steering.start(manifest.model, manifest.release, to, 100, Policy(**said))
            return self.steering.refresh(self.store.devices.all(), now=100)[0]

    def report(self, name: str, generation: int = 0, **models: ModelState) -> list[str]:
        self.store.devices.set_reported(name, reported(name, generation, **models), now=101)
        return self.refresh(name)

    def refresh(self, name: str) -> list[str]:
        device = self.store.devices.get(name)
        assert device is not None
        with self.store.atomic():
            return self.steering.refresh([device], now=102)[0]

    def wanted(self, name: str) -> dict[str, Want | None]:
        desired = self.store.rollouts.desired(name)
        return {} if desired is None else desired.models

    def generation(self, name: str) -> int:
        desired = self.store.rollouts.desired(name)
        return 0 if desired is None else desired.generation

    def states(self) -> list[tuple[int, str]]:
        return [(one.release, one.state.value) for one in self.store.rollouts.all()]

    def standings(self, release: int) -> dict[str, str]:
        """In the newest rollout of a release."""
        newest = next(one for one in self.store.rollouts.all() if one.release == release)
        return {name: one.outcome.value for name, one in self.store.rollouts.standings(newest.id).items()}


@pytest.fixture
def ship(opened: Store) -> Ship:
    return Ship(opened)


def want(bundle: Bundle, attempt: int = 1) -> Want:
    return Want(bundle.manifest.release, bundle.digest, attempt)


def test_a_rollout_changes_the_desired_state_of_the_devices_it_names(ship: Ship) -> None:
    assert ship.start(ONE, "site=north") == ["door"]
    assert ship.wanted("door") == {"eye": want(ONE)}
    assert ship.wanted("gate") == {}
    assert ship.standings(1) == {"door": "offered"}


def test_models_roll_out_side_by_side(ship: Ship) -> None:
    ship.start(ONE)
    ship.start(EAR, "door")
    assert ship.wanted("door") == {"eye": want(ONE), "ear": want(EAR)}
    assert ship.states() == [(1, "running"), (1, "running")]


def test_a_rollout_is_done_when_every_device_committed(ship: Ship) -> None:
    ship.start(ONE)
    ship.report("door", 1, eye=committed(ONE))
    assert ship.states() == [(1, "running")]
    ship.report("gate", 1, eye=committed(ONE, "first"))
    assert ship.states() == [(1, "done")]


def test_a_model_fault_halts_and_what_was_offered_stays(ship: Ship) -> None:
    ship.start(ONE)
    for name in ("door", "gate"):
        ship.report(name, 1, eye=committed(ONE))
    ship.start(TWO)
    assert ship.report("door", 2, eye=ended(TWO, "rolled-back", "64 equal answers")) == []
    assert ship.states() == [(2, "halted"), (1, "done")]
    assert ship.store.rollouts.all()[0].reason == "door rolled-back: 64 equal answers"
    assert ship.wanted("door") == ship.wanted("gate") == {"eye": want(TWO)}
    ship.report("gate", 2, eye=committed(TWO))
    assert ship.standings(2) == {"door": "rolled-back", "gate": "committed"}
    assert ship.states()[0] == (2, "halted")


def test_a_late_joiner_of_a_halted_rollout_gets_the_one_before(ship: Ship) -> None:
    ship.start(ONE)
    for name in ("door", "gate"):
        ship.report(name, 1, eye=committed(ONE))
    ship.start(TWO)
    ship.report("door", 2, eye=ended(TWO, "failed"))
    assert ship.join("yard", "north") == ["yard"]
    assert ship.wanted("yard") == {"eye": want(ONE)}
    assert ship.standings(2)["yard"] == "pending"
    assert ship.states() == [(2, "halted"), (1, "running")]


def test_a_late_joiner_gets_the_newest_rollout_that_names_it(ship: Ship) -> None:
    ship.start(ONE)
    ship.start(TWO, "site=north")
    ship.join("yard", "north")
    ship.join("roof", "west")
    assert ship.wanted("yard") == {"eye": want(TWO)}
    assert ship.wanted("roof") == {}  # the first was aborted before it was done


def test_a_newer_rollout_takes_the_place_of_an_unfinished_one(ship: Ship) -> None:
    ship.start(ONE)
    ship.report("door", 1, eye=committed(ONE))
    assert ship.start(TWO) == ["door", "gate"]
    assert ship.states() == [(2, "running"), (1, "aborted")]
    assert ship.standings(1) == {"door": "committed", "gate": "superseded"}


def test_a_device_that_a_newer_rollout_does_not_name_keeps_what_it_has(ship: Ship) -> None:
    ship.start(ONE)
    assert ship.start(TWO, "door") == ["door"]
    assert ship.wanted("gate") == {"eye": want(ONE)}
    ship.report("gate", 1, eye=committed(ONE))
    assert ship.standings(1) == {"door": "superseded", "gate": "committed"}


def test_a_second_rollout_of_a_bundle_is_another_attempt(ship: Ship) -> None:
    ship.start(ONE)
    ship.report("door", 1, eye=ended(ONE, "failed"))
    ship.start(ONE)
    assert ship.wanted("door") == {"eye": want(ONE, attempt=2)}
    ship.refresh("door")
    assert ship.standings(1) == {"door": "offered", "gate": "offered"}  # the first attempt's verdict is not this one's
    ship.report("door", 2, eye=ended(ONE, "rolled-back", attempt=2))
    assert ship.states() == [(1, "halted"), (1, "halted")]


def test_a_device_that_falls_back_opens_its_rollout_again(ship: Ship) -> None:
    ship.start(ONE, "door")
    ship.report("door", 1, eye=committed(ONE))
    assert ship.states() == [(1, "done")]
    ship.report("door", 1, eye=ModelState(last=committed(ONE).last))
    assert ship.states() == [(1, "running")]
    ship.report("door", 1, eye=committed(ONE))
    assert ship.states() == [(1, "done")]


def test_the_generation_grows_only_when_the_content_changes(ship: Ship) -> None:
    ship.start(ONE)
    assert ship.generation("door") == 1
    for state in (updating(ONE, "fetch", 3, 9), committed(ONE)):
        assert ship.report("door", 1, eye=state) == []
    assert ship.generation("door") == 1
    assert ship.start(TWO, "gate") == ["gate"]
    assert (ship.generation("door"), ship.generation("gate")) == (1, 2)


def test_a_restored_server_is_heard_again(ship: Ship) -> None:
    ship.start(ONE)
    assert ship.report("door", 40) == ["door"]  # told so by the server before it was lost
    assert ship.generation("door") == 41
    assert ship.report("door", 41) == []


def test_a_generation_wound_up_by_a_thief_is_not_gone_on_from(ship: Ship) -> None:
    """It would be the last that there can be; with the next director's key they count anew."""
    ship.start(ONE)
    assert ship.report("door", 2**53 - 1) == []
    assert ship.generation("door") == 1
    ship.start(TWO)
    assert ship.generation("door") == 2


def test_what_a_rollout_cannot_be_is_refused(ship: Ship) -> None:
    for model, release, to, error in (
        ("eye", 9, "all", NotFoundError),
        ("nose", 1, "all", NotFoundError),
        ("eye", 1, "yard", NotFoundError),
        ("eye", 1, "Site=x", BadRequestError),
    ):
        with pytest.raises(error):
            ship.steering.start(model, release, to, now=1)
    assert ship.states() == []


def test_a_rollout_to_nobody_waits_for_those_who_join(ship: Ship) -> None:
    ship.start(ONE, "site=west")
    assert (ship.states(), ship.standings(1)) == ([(1, "running")], {})
    assert ship.join("roof", "west") == ["roof"]


def test_the_window_and_the_urgency_of_a_rollout_reach_the_desired_state(ship: Ship) -> None:
    ship.start(ONE, window="sat,sun 02:00-05:00")
    assert ship.wanted("door") == {"eye": Want(1, ONE.digest, 1, window="sat,sun 02:00-05:00")}
    ship.start(TWO, urgent=True)
    assert ship.wanted("door") == {"eye": Want(2, TWO.digest, 1, urgent=True)}
    newest, older = ship.store.rollouts.all()
    assert (newest.window, newest.urgent) == ("", True)
    assert (older.window, older.urgent) == ("sat,sun 02:00-05:00", False)


def test_a_rollout_to_a_window_that_is_none_is_refused_and_leaves_the_one_before_alone(ship: Ship) -> None:
    ship.start(ONE)
    with pytest.raises(WindowError):
        ship.start(TWO, window="at night")
    with pytest.raises(BadRequestError, match="urgent"):
        ship.start(TWO, window="sun 02:00-03:00", urgent=True)
    assert ship.states() == [(1, "running")]


def test_how_strictly_a_rollout_compares_and_how_long_in_the_shadow_reach_the_desired_state(ship: Ship) -> None:
    ship.start(ONE, gate="strict", shadow_s=172_800)
    assert ship.wanted("door") == {"eye": Want(1, ONE.digest, 1, gate="strict", shadow_s=172_800)}
    (stored,) = ship.store.rollouts.all()
    assert (stored.gate, stored.shadow_s) == ("strict", 172_800)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"gate": "wide open"}, "wide open"),
        ({"shadow_s": -1}, "-1 seconds"),
        ({"shadow_s": 30 * 86_400 + 1}, "720 hours"),
        ({"urgent": True, "shadow_s": 60}, "shadow"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_and_leaves_the_rollout_before_alone(
    ship: Ship, said: dict[str, Any], why: str
) -> None:
    ship.start(ONE)
    with pytest.raises(BadRequestError, match=why):
        ship.start(TWO, **said)
    assert ship.states() == [(1, "running")]
