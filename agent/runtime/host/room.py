"""Which models are unloaded: those that rest, that make room for another one, or that memory is too short for."""

from collections.abc import Mapping

from agent.runtime.host import journal
from agent.runtime.host.serving import QUIET_S, Model


class Room:
    """Over all models of a host. What is busy, pinned or on trial stays, whatever happens."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = models

    def rest(self) -> None:
        """Unloads what has been idle for as long as it may be."""
        for model in self._models.values():
            limit_s = model.treatment.idle_unload_s
            if limit_s and model.can_sleep(limit_s):
                journal.say(f"{model.name}: unloaded, as nobody has asked for {model.idle_s:.0f} s")
                model.sleep()

    def make(self, wanted: str, missing_bytes: int) -> bool:
        """Unloads baselines beside their trials, and idle models of at most the priority of `wanted`, the longest idle
        first, if they hold so much.
        """
        chosen: list[Model] = []
        all_models = self._models.values()
        free_bytes = sum(model.memory_bytes for model in all_models if model.asleep)  # are on their way out
        free_bytes += sum(model.beside_bytes for model in all_models)
        for model in self._idle(self._models[wanted].treatment.priority):
            if free_bytes < missing_bytes and model.name != wanted:
                chosen.append(model)
                free_bytes += model.memory_bytes
        if free_bytes < missing_bytes:
            return False
        for model in all_models:
            if model.leave_beside():
                journal.say(f"{model.name}: the baseline beside its trial is unloaded to make room for {wanted}")
        for model in chosen:
            journal.say(f"{model.name}: unloaded to make room for {wanted}")
            model.sleep()
        return True

    def may_come(self, wanted: str) -> bool:
        """Whether a model that is loaded now could make room later."""
        priority = self._models[wanted].treatment.priority
        return any(
            model.current is not None and not model.treatment.pinned and model.treatment.priority <= priority
            for name, model in self._models.items()
            if name != wanted
        )

    def relieve(self) -> None:
        """Memory is short: unloads one baseline beside its trial, or else the model that has been idle longest."""
        for model in self._models.values():
            if model.leave_beside():
                journal.say(f"{model.name}: the baseline beside its trial is unloaded, as memory is short", "WARNING")
                return
        for model in self._idle():
            journal.say(f"{model.name}: unloaded, as memory is short", "WARNING")
            model.sleep()
            return

    def _idle(self, priority: int | None = None) -> list[Model]:
        """What may be unloaded now, of at most this priority: the lowest first, and of those the longest idle."""
        idle = [model for model in self._models.values() if model.can_sleep(QUIET_S)]
        if priority is not None:
            idle = [model for model in idle if model.treatment.priority <= priority]
        return sorted(idle, key=lambda model: (model.treatment.priority, -model.idle_s))
