"""One device under test: real records on a real disk, the updater's own code, and stand-ins for the rooms around it."""

from collections.abc import Callable
from pathlib import Path

from agent import control, slots
from agent.config import Config, Probation
from agent.config import Updates as Settings
from agent.slots import SlotRecord
from agent.updater.machine import Moment, State
from agent.updater.model_update import ModelUpdate
from agent.updater.update import Updates
from littoral.wire.messages import Desired, Want
from tests.agent.updater.fakes import FakeCanaryResult, Release, World, make_release


class Device:
    """Its disk stays, agents and runtimes come and go. A turn is one round of the agent's loop, a second long."""

    def __init__(self, state: Path, settings: Settings | None = None, name: str = "farm-1") -> None:
        settings = settings or Settings(retry_first_s=1, retry_last_s=4, disk_reserve_bytes=0, jitter_s=0)
        self.config = Config(state=state, device=name, updates=settings, probation=Probation(10, 5, 1000))
        self.world = World(state, self.config)
        self.now = 0.0
        self.boots = 0
        self.generation = 1
        self.wanted: dict[str, Want | None] = {}
        self.before_turn: Callable[[], None] = lambda: None
        self.updates = self.start()

    def start(self) -> Updates:
        """A new agent, and a new boot with it."""
        self.boots += 1
        return self.start_agent()

    def start_agent(self) -> Updates:
        """A new agent in the same boot: the one before it crashed."""
        self.updates = Updates(self.world.rooms(), Moment(0, f"boot-{self.boots}"))
        self._want()
        return self.updates

    def want(self, want: Want | None, model: str = "cats") -> None:
        """A newer desired state."""
        self.wanted[model] = want
        self.generation += 1
        self._want()

    def _want(self) -> None:
        self.updates.want(Desired("main", self.config.device, self.generation, "", self.wanted))

    def install(self, number: int, floor: int = 0, trusted: bool = True) -> Release:
        """Release `number`, committed; with `trusted` on full evidence."""
        release = self.world.add(make_release(number, floor))
        self.want(release.want())
        self.until(State.IDLE)
        assert self.record.stage == "committed"
        for _ in range(60 if trusted else 0):
            self.turn()
        return release

    def turn(self, seconds: float = 1.0) -> None:
        """One round of the agent's loop, with everything that arrives in it."""
        self.before_turn()
        self.now += seconds
        world = self.world
        for message in [*world.runtime.said]:
            world.runtime.said.remove(message)
            self.updates.notice(message, self.now)
        for model, release in list(world.canary.watched.items()):
            self.updates.models[model].canary(FakeCanaryResult(model, release, ok=world.canary.ok), self.now)
        if world.traffic:
            for model, served in world.runtime.serving.items():
                self._tell_counters(model, served)
        for name in [*world.source.asked]:
            world.source.asked.remove(name)
            self.updates.arrived(name, world.source.held[name], self.now)
        self.updates.tick(self.now, int(self.now))

    def _tell_counters(self, model: str, served: control.Serving) -> None:
        if served.release:
            counters = control.Counters(model, served.release, served.bundle, served.stage, 1, answers=int(self.now))
            self.updates.notice(counters, self.now)

    def run(self, turns: int = 60) -> None:
        for _ in range(turns):
            self.turn()

    def until(self, state: State, model: str = "cats") -> None:
        for _ in range(200):
            self.turn()
            if model in self.updates.models and self.updates.models[model].state is state:
                return
        raise AssertionError(f"never came to {state}")

    @property
    def cats(self) -> ModelUpdate:
        return self.updates.models["cats"]

    @property
    def record(self) -> SlotRecord:
        """As it is on the disk."""
        return self.record_of("cats")

    def record_of(self, model: str) -> SlotRecord:
        found = slots.read(slots.path_of(self.config.state, model))
        assert found is not None
        return found

    @property
    def served(self) -> int:
        """Release that the record of `cats` names, 0 for none."""
        serves = self.record.serves
        return serves.release if serves else 0

    @property
    def ending(self) -> tuple[str, str]:
        """Outcome and code of the last update."""
        last = self.record.last
        assert last is not None
        return last.outcome, last.code

    @property
    def state(self) -> State:
        return self.cats.state
