"""The baseline beside its trial: loaded for those who ask for `name@baseline`, where memory allows, and gone with them.

It is a second worker of a model; which release answers everybody else is not its business (serving.py).
"""

from collections.abc import Callable
from typing import Protocol

from agent.runtime.handover import Carried
from agent.runtime.host.children import Ended
from agent.runtime.host.choice import Target
from agent.runtime.host.workers import Owner, Worker
from littoral import errors


class Main(Protocol):
    """The model whose baseline it is."""

    def take(self, carried: Carried) -> None: ...

    def refuse(self, carried: Carried, error: errors.QueryError) -> None: ...

    def worker_closed(self, connection: int) -> None: ...

    def beside_ended(self) -> None: ...


class Beside:
    """At most one worker, from the first who asks until the last one has gone. `make` makes it, or raises a named error
    where memory does not allow it, or something else does not.
    """

    def __init__(self, main: Main, make: Callable[[Owner, Target], Worker], drain_s: float) -> None:
        self.worker: Worker | None = None
        self._main = main
        self._make = make
        self._drain_s = drain_s
        self._drains = False
        self._error: errors.QueryError | None = None
        self._waiting: list[Carried] = []

    @property
    def memory_bytes(self) -> int:
        return 0 if self.worker is None else self.worker.memory_bytes

    def take(self, carried: Carried, target: Target) -> None:
        """A client that asked for the baseline, which is `target`."""
        if self.worker is None:
            try:
                self.worker = self._make(self, target)
            except errors.LittoralError as error:
                self._main.refuse(carried, errors.NoReleaseError(f"the baseline cannot be served now: {error}"))
                return
        if self.worker.welcome and not self._drains:
            self.worker.give(carried)
        else:
            self._waiting.append(carried)

    def leave(self, error: errors.QueryError | None = None) -> None:
        """Nobody needs it any more: its clients go back to the model, or are refused with `error`."""
        if self.worker is not None and not self._drains:
            self._drains, self._error = True, error
            self.worker.drain(self._drain_s)

    def adopt(self, bundle: str, owner: Owner) -> Worker | None:
        """Its worker, if that is ready and serves this bundle, for `owner` to go on with; then it is no more beside."""
        worker = self.worker
        if worker is None or self._drains or not worker.welcome or worker.bundle != bundle:
            return None
        self.worker, worker.owner = None, owner
        return worker

    # --- what the worker tells --------------------------------------------------------------------------------

    def worker_ready(self, worker: Worker) -> None:
        if not self._drains:
            waiting, self._waiting = self._waiting, []
            for carried in waiting:
                worker.give(carried)

    def worker_gave_back(self, carried: Carried) -> None:
        if self.worker is None:
            self._main.take(carried)
        else:
            self._waiting.append(carried)  # until its memory is free

    def worker_lost(self, carried: Carried) -> None:
        self._main.refuse(carried, errors.BusyError("the worker has no room for another connection"))

    def worker_closed(self, connection: int) -> None:
        self._main.worker_closed(connection)
        if self.worker is not None and not self.worker.has_clients:
            self.leave()

    def worker_drained(self, worker: Worker) -> None:
        """Its counts are nobody's: only what answers everybody is watched."""

    def worker_ended(self, worker: Worker, ended: Ended) -> None:
        error, self._error = self._error, None
        if not worker.welcome:
            error = errors.NoReleaseError(f"the baseline cannot be served now: {worker.why(ended)[1]}")
        self.worker, self._drains = None, False
        waiting, self._waiting = self._waiting, []
        for carried in waiting:
            if error is None:
                self._main.take(carried)
            else:
                self._main.refuse(carried, error)
        self._main.beside_ended()
