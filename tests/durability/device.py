"""A device that lives through a story on any disk, and the promises that are checked at every step of it.

The updater's code is the real one, from the desired state to the slot record. Around it stand the fakes of
tests/agent/updater; the runtime here loads nothing, and reads records and files as the real one does.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent import control, fsio, record, slots
from agent.config import Config, Probation
from agent.config import Updates as Settings
from agent.slots import Slot, SlotRecord
from agent.updater.device import DeviceMemory
from agent.updater.machine import Moment, State
from agent.updater.safety import SafeMode
from agent.updater.steps import Rooms
from agent.updater.update import Updates
from littoral.bundle.manifest import Manifest
from littoral.wire.messages import Desired, SignedDesired
from tests.agent.updater.fakes import FakeCanaryResult, World
from tests.durability.around import Around, BrokenError, Judge, whole
from tests.durability.story import BY_BUNDLE, Act, Story, want

TURN_S = 5.0
LATE_TURN_S = 1_200.0  # a self-test with its rehearsal takes two, and has 3600 s
LONGEST_TURNS = 90  # of an act; the last third of them are longer, for what is tried again later
MOST_WRITES = 60  # of slot records in one act, over all its boots


@dataclass(frozen=True, slots=True)
class Seen:
    """What the world outside has been told by a device, so that no power cut may undo it.

    sequences: newest record of each model. serving: models of which a release was committed. act: the one that runs;
    `begun`: its beginning is over. boots counts them. writes: of slot records in this act. spoiled: releases that the
    disk has spoiled, of which nobody can expect that they are whole.
    """

    act: int = 0
    begun: bool = False
    boots: int = 0
    generation: int = 0
    writes: int = 0
    sequences: dict[str, int] = field(default_factory=dict)
    serving: frozenset[str] = frozenset()
    spoiled: frozenset[str] = frozenset()


class Device:
    """One boot of a device after the other, on the disk that fsio has now. Raises BrokenError."""

    def __init__(
        self,
        story: Story,
        seen: Seen,
        state: Path,
        around: Around | None = None,
        tell: Callable[[Seen], None] = lambda seen: None,
    ) -> None:
        self.story = story
        self._tell_outside = tell
        self.seen = replace(seen, boots=seen.boots + 1)
        settings = Settings(retry_first_s=1, retry_last_s=4, disk_reserve_bytes=0, jitter_s=0)
        probation = Probation(healthy_s=10, answers=5, longest_s=1000)
        self.config = Config(state=state, device="farm-1", updates=settings, probation=probation)
        self.around = around or Around()
        self.runtime = self.around.runtime
        self.runtime.state, self.runtime.spoiled = state, seen.spoiled
        self.world = World(state, self.config)
        self.now = 0.0
        with suppress(OSError):  # as agent/main.py does
            fsio.settle(state)
        if self.runtime.serving:
            self.runtime.greet()
        else:
            self.runtime.restart()
        self.spoiling = False  # what is written now is the disk's own doing
        self._taken = -1  # the act whose desired state was taken in
        self._told: dict[str, SlotRecord] | None = None
        self._check_what_is_left()
        self.memory = DeviceMemory(state, "main", "farm-1")
        self._check_memory()
        self.safety = SafeMode(self.memory, self.now)
        self.updates = Updates(self._rooms(), Moment(self._at, f"boot-{self.seen.boots}"))
        wanted = self.memory.wanted()
        if wanted is not None:
            self.updates.want(wanted)

    @property
    def act(self) -> Act:
        """The present one; the last one stays when it is over."""
        return self.story.acts[min(self.seen.act, len(self.story.acts) - 1)]

    def play_act(self) -> None:
        """The rest of the present act."""
        if not self.seen.begun:
            self._begin()
        for turns in range(LONGEST_TURNS):
            self.turn(TURN_S if turns < LONGEST_TURNS * 2 / 3 else LATE_TURN_S)
            if self._ended():
                self.seen = replace(self.seen, act=self.seen.act + 1, begun=False, writes=0)
                self._tell_outside(self.seen)
                return
        found = {name: (m.view().update, m.problem, m.record) for name, m in self.updates.models.items()}
        raise BrokenError(f"the wished end was not reached: {found}")

    def turn(self, seconds: float = TURN_S) -> None:
        """One round of the agent's loop, with everything that arrives in it."""
        self.now += seconds
        self._take_in()
        world = self.world
        said, self.runtime.said = self.runtime.said, []
        for message in said:
            self.updates.notice(message, self.now)
        for model, release in [] if self.around.quiet else list(world.canary.watched.items()):
            self.updates.models[model].canary(FakeCanaryResult(model, release), self.now)
        for serving in list(self.runtime.serving.values()):
            if serving.release and not self.around.quiet:
                self.updates.notice(_counters(serving, int(self.now)), self.now)
        asked, world.source.asked = world.source.asked, []
        for name, data in self.around.deliver(asked):
            self.updates.arrived(name, data, self.now)
        self.safety.tick(self.now)
        self.updates.tick(self.now, self._at)
        self._check_turn()
        self._tell_outside(self.seen)

    def wrote(self, operation: str, path: Path) -> None:
        """Counts writes of slot records."""
        if operation in ("create", "write") and "slots.dat" in path.name:
            self.seen = replace(self.seen, writes=self.seen.writes + 1)

    def excuse(self) -> None:
        """Notes which releases the disk has spoiled: nobody can expect any more that they are whole."""
        state = self.config.state
        broken = {name for name in fsio.names(state / "releases") if not whole(state, name)}
        self.seen = replace(self.seen, spoiled=self.seen.spoiled | broken)
        self.runtime.spoiled = self.seen.spoiled

    def _rooms(self) -> Rooms:
        self.world.runtime, self.world.planner = self.runtime, self.around.planner
        rooms = replace(self.world.rooms(), judge=self._judge, safe=lambda: self.safety.active)
        return replace(rooms, wall=lambda: self.around.wall, tell=self._note)

    @property
    def _at(self) -> int:
        return int(self.around.wall)

    def _note(self, kind: str, model: str, release: int, text: str, facts: dict[str, Any]) -> None:
        self.around.told.append(kind)

    def _judge(self, manifest: Manifest, slot: Slot) -> Judge:
        return Judge(lambda: manifest.release in self.act.bad | self.around.bad)

    def _begin(self) -> None:
        if self.act.spoils:
            self._spoil(self.act.spoils)
        self.seen = replace(self.seen, begun=True)
        self._tell_outside(self.seen)

    def _spoil(self, role: str) -> None:
        """The disk spoils a file of what serves `cats`, under all its names; the runtime has to load it again."""
        serves = self._record("cats").serves
        assert serves is not None
        blob = BY_BUNDLE[serves.bundle].manifest.blobs[role]
        releases = self.config.state / "releases"
        spoiled = {name for name in fsio.names(releases) if blob in BY_BUNDLE[name].manifest.blobs.values()}
        self.seen = replace(self.seen, spoiled=self.seen.spoiled | spoiled)
        self._tell_outside(self.seen)
        self.spoiling = True
        fsio.put(releases / serves.bundle / role, b"spoiled", 0)
        fsio.sync_file(releases / serves.bundle / role)
        self.spoiling = False
        self.runtime.spoiled = self.seen.spoiled
        self.runtime.restart()

    def _take_in(self) -> None:
        """The broker keeps the desired state, and gives it again at each connection."""
        if self._taken == self.seen.act:
            return
        signed = _signed(self.seen.act + 1, self.act)
        self.runtime.untestable = frozenset(want(number).bundle for number in self.act.untestable)
        try:
            if self.memory.check(signed):
                self.memory.accept(signed)
                self.safety.heard_newer()
                self.updates.want(signed.desired)
        except OSError:
            return
        self._taken = self.seen.act
        self.seen = replace(self.seen, generation=signed.desired.generation)

    def _ended(self) -> bool:
        update = self.updates.models.get("cats")
        if update is not None and update.state is self.act.until:
            return True
        if self.updates.busy or any(update.problem for update in self.updates.models.values()):
            return False
        evidence = update.record.serves.evidence if update is not None and update.record.serves is not None else ""
        if self.act.evidence not in ("", evidence):
            return False
        serving = {name: served.release for name, served in self.runtime.serving.items()}
        return all(serving.get(name, 0) == number for name, number in self.act.ends.items()) and all(
            self._decided(name) for name in self.act.wants
        )

    def _decided(self, model: str) -> bool:
        """Whether the device has said what became of what is wanted now."""
        wanted, update = self.act.wants[model], self.updates.models.get(model)
        if wanted is None:
            return update is None
        if update is None:
            return False
        serves, last = update.record.serves, update.record.last
        if serves is not None and serves.bundle == wanted.bundle:
            return True
        said = last is not None and (last.bundle, last.attempt) == (wanted.bundle, wanted.attempt)
        return said and last is not None and last.outcome != "refused"  # that is tried again

    # --- promises -------------------------------------------------------------------------------------------------

    def _check_what_is_left(self) -> None:
        """After each start: no release that is not whole, no record older than told, and what was committed serves."""
        state = self.config.state
        for name in fsio.names(state / "releases"):
            if not name.startswith(".") and name not in self.seen.spoiled and not whole(state, name):
                raise BrokenError(f"releases/{name[:8]} is not whole")
        for model, told in self.seen.sequences.items():
            found = record.read(slots.path_of(state, model))
            if found is None and self.act.wants.get(model, "") is None:
                continue
            if found is None or found[0] < told:
                raise BrokenError(f"{model}: decision {told} was told and is {found} now")
            self._check_named(self._record(model))
        self._check_serving()

    def _check_named(self, found: SlotRecord) -> None:
        named = {slot.bundle for slot in (found.a, found.b) if slot is not None and not found.removing}
        for bundle in named - self.seen.spoiled:
            if not whole(self.config.state, bundle):
                raise BrokenError(f"{found.model}: a slot names {bundle[:8]}, which is not whole")

    def _check_memory(self) -> None:
        if self.memory.generation < self.seen.generation:
            raise BrokenError(f"generation {self.seen.generation} was taken in and is {self.memory.generation} now")
        if self.seen.generation and self.memory.wanted() is None:
            raise BrokenError("what is wanted is forgotten")

    def _check_turn(self) -> None:
        if self.seen.writes > MOST_WRITES:
            raise BrokenError(f"{self.seen.writes} writes of slot records in one act")
        self._check_serving()
        for update in self.updates.models.values():
            if update.state is State.IDLE:
                self._check_blocked(update.record)
        told = {name: update.record for name, update in self.updates.models.items() if not update.problem}
        if told != self._told:
            self._tell(told)

    def _tell(self, told: dict[str, SlotRecord]) -> None:
        """What stands in the records now is reported, and may not be undone."""
        self._told = told
        sequences, serving = dict(self.seen.sequences), set(self.seen.serving)
        for name, found in told.items():
            written = record.read(slots.path_of(self.config.state, name))
            if written is not None:
                sequences[name] = written[0]
            if found.stage == "committed":
                serving.add(name)
            if found.removing:
                serving.discard(name)
        for name in set(sequences) - set(self.updates.models):
            del sequences[name]
            serving.discard(name)
        self.seen = replace(self.seen, sequences=sequences, serving=frozenset(serving))

    def _check_serving(self) -> None:
        for model in self.seen.serving:
            served = self.runtime.serving.get(model)
            going = self.act.wants.get(model, "") is None or self.act.spoils
            if (served is None or not served.release) and not going:
                raise BrokenError(f"{model} serves nothing, and did before")

    def _check_blocked(self, found: SlotRecord) -> None:
        served = self.runtime.serving.get(found.model)
        if served is None or not served.release:
            return
        attempts = [
            wanted.attempt
            for act in self.story.acts[: self.seen.act + 1]
            for wanted in act.wants.values()
            if wanted is not None and wanted.bundle == served.bundle
        ]
        if found.blocks(served.bundle, max(attempts, default=1)) is not None:
            raise BrokenError(f"{found.model}: release {served.release} is blocklisted and serves")

    def _record(self, model: str) -> SlotRecord:
        found = slots.read(slots.path_of(self.config.state, model))
        assert found is not None
        return found


def _signed(generation: int, act: Act) -> SignedDesired:
    return SignedDesired(Desired("main", "farm-1", generation, "", act.wants), "aa", "bb")


def _counters(serving: control.Serving, answers: int) -> control.Counters:
    return control.Counters(serving.model, serving.release, serving.bundle, serving.stage, 1, answers=answers)
