"""How a release comes into memory: what it needs and runs on, whether it fits beside what is loaded, and is forked."""

from agent.runtime.host import journal, memory
from agent.runtime.host.choice import Target
from agent.runtime.host.memory import Switch
from agent.runtime.host.surroundings import Settings, Surroundings
from agent.runtime.host.workers import Owner, Worker, need_bytes
from littoral import errors


class Admission:
    """One release about to be loaded. Raises BundleError, ManifestError, DigestError, IncompatibleError."""

    def __init__(self, model: str, target: Target, settings: Settings, around: Surroundings) -> None:
        self.target = target
        self._model = model
        self._settings = settings
        self._around = around
        self._release = settings.shelf.release(target.slot.bundle)
        self._delegate = around.delegate(model, self._release)
        self.need_bytes = need_bytes(target, self._release)

    def free_bytes(self, own_bytes: int = 0) -> int:
        """What the budget has left beside all other models, and beside `own_bytes` of this one."""
        return max(0, self._settings.budget_bytes - self._around.others_bytes(self._model) - own_bytes)

    def switch_from(self, old: Worker | None, free_bytes: int, alone: bool) -> Switch:
        """How it can follow `old`; `alone` forbids that both are loaded."""
        old_bytes = 0 if old is None else old.measure()
        switch = memory.choose_switch(self.need_bytes, free_bytes, old_bytes, 0)
        if switch is Switch.OVERLAP and (alone or self._shares_accelerator(old)):
            return Switch.HANDOVER
        return switch

    def follow(self, old: Worker | None, beside_bytes: int, *, alone: bool, needed: bool) -> Switch:
        """How it can follow `old` now; REFUSE: others make room, and it is to be tried again. beside_bytes: of the
        baseline beside its trial. Raises NoRoomError where they do not, and it is `needed` now: somebody asks for it.
        """
        free_bytes = self.free_bytes(beside_bytes)
        switch = self.switch_from(old, free_bytes, alone)
        short_bytes = self.need_bytes - free_bytes
        if switch is not Switch.REFUSE or self._around.make_room(self._model, short_bytes):
            return switch
        if needed:
            raise self.no_room(free_bytes)
        journal.say(f"{self._model}: is served although the budget is {short_bytes} bytes short of it", "WARNING")
        return Switch.HANDOVER  # at start and after a death: it was admitted before

    def check_beside(self, trial: Worker | None, own_bytes: int) -> None:
        """Raises NoRoomError where it cannot be loaded beside its trial; all of the model takes `own_bytes`."""
        if self._shares_accelerator(trial):
            raise errors.NoRoomError("the trial has the accelerator", remedy="")
        if self.need_bytes > self.free_bytes(own_bytes):
            raise self.no_room(self.free_bytes(own_bytes))

    def no_room(self, free_bytes: int) -> errors.NoRoomError:
        release = self.target.slot.release
        return errors.NoRoomError(f"release {release} needs {self.need_bytes} bytes, {free_bytes} are free", remedy="")

    def fork(self, owner: Owner, *, gentle: bool) -> Worker:
        """Raises NoRoomError where no process can be made."""
        held = None if self.target.stage == "local" else self._around.ring(self._model)
        return self._settings.workshop.make(owner, self.target, self._release, self._delegate, held, gentle=gentle)

    def _shares_accelerator(self, other: Worker | None) -> bool:
        """Whether only one of the two can be open at a time."""
        ours, theirs = self._delegate, None if other is None else other.delegate
        return ours is not None and ours.exclusive and theirs is not None and theirs.path == ours.path
