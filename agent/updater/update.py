"""The updates of a device: all its models, and what they have in common.

agent/updater/model_update.py drives each of them.
"""

import contextlib
from collections.abc import Callable, Mapping

from agent import control, slots
from agent.slots import SlotRecord
from agent.updater import eviction, staging
from agent.updater.machine import Moment, State
from agent.updater.model_update import ModelUpdate
from agent.updater.steps import Rooms
from littoral.bundle.manifest import Manifest
from littoral.errors import RecordError
from littoral.wire.messages import Desired, Want


class Updates:
    """All models of this device."""

    def __init__(self, rooms: Rooms, moment: Moment) -> None:
        self.models: dict[str, ModelUpdate] = {}
        self._rooms = rooms
        self._moment = moment
        rooms.may_activate = self._may_activate
        rooms.make_room = self._make_room
        for name in slots.names(rooms.config.state):
            self.models[name] = ModelUpdate(rooms, moment, name, self._read(name))

    def _read(self, model: str) -> SlotRecord | None:
        """The record; none where both of its copies are lost: then the model is installed anew."""
        try:
            return slots.read(slots.path_of(self._rooms.config.state, model))
        except RecordError as error:
            self._rooms.tell("failed", model, 0, error.cause, {"code": error.code})
            return None

    @property
    def busy(self) -> bool:
        """Whether any update is on its way."""
        return any(m.state not in (State.IDLE, State.STUCK) or m.record.removing for m in self.models.values())

    def want(self, desired: Desired) -> None:
        """Takes over what is desired; a model that is not named is left alone."""
        self._take_over(desired.models, desired.generation, local=False)

    def want_local(self, models: Mapping[str, Want], generation: int) -> None:
        """Takes over what a person at the device wishes for. Who calls this decides how long it holds."""
        self._take_over(models, generation, local=True)

    def end_local(self) -> None:
        """What a person at the device wished for counts no more."""
        for update in self.models.values():
            update.end_local()

    def arrived(self, name: str, data: bytes | None, now: float, local: bool = False) -> None:
        """A source delivered `name`; `local`: the folder did."""
        for update in self.models.values():
            if update.local == local:
                update.arrived(name, data, now)

    def tick(self, now: float, at: int) -> None:
        ended = False
        for update in list(self.models.values()):
            was_idle = update.state is State.IDLE
            update.problem = ""
            try:
                update.tick(now, at)
            except OSError as error:
                update.problem = f"{update.model} cannot go on: {error}"
            ended |= update.gone or (update.state is State.IDLE and not was_idle)
        self.models = {name: update for name, update in self.models.items() if not update.gone}
        if ended:
            with contextlib.suppress(OSError):  # it is collected at the next end
                staging.collect(self._rooms.config.state, [m.record for m in self.models.values()])

    def notice(self, message: control.Message, now: float) -> None:
        for update in self.models.values():
            update.notice(message, now)

    @property
    def watching(self) -> bool:
        """Whether any release is being judged."""
        return any(update.watching for update in self.models.values())

    def device(self, troubled: bool, now: float) -> None:
        """Whether the device is in trouble now: then it may be why answers are late."""
        for update in self.models.values():
            update.device(troubled, now)

    def close(self) -> None:
        for update in self.models.values():
            update.close()

    def _may_activate(self, model: str) -> bool:
        """One model is in probation at a time; a first release waits for none and holds up none."""
        if self.models[model].record.serves is None:
            return True
        return not any(
            other.state in (State.ACTIVATE, State.PROBATION, State.ROLLBACK) and other.record.other is not None
            for name, other in self.models.items()
            if name != model
        )

    def _make_room(self, model: str, wanted: Manifest, fits: Callable[[], bool]) -> None:
        records = {name: update.record for name, update in self.models.items()}
        eviction.make_room(
            self._rooms.config.state, model, wanted, records, fits, lambda name: self.models[name].let_go()
        )

    def _take_over(self, models: Mapping[str, Want | None], generation: int, local: bool) -> None:
        for name, want in models.items():
            if name not in self.models and want is not None:
                self.models[name] = ModelUpdate(self._rooms, self._moment, name, None)
            if name in self.models:
                self.models[name].want(want, generation, local)
