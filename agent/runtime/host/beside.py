"""The baseline beside its trial, where memory allows: for those who ask for `name@baseline`, and gone with them; and as
the trial's understudy, which is ready to take its place, and is asked what the trial fails on.

It is a second worker of a model; which release answers everybody else is not its business (serving.py).
"""

import itertools
import socket
from collections.abc import Callable
from typing import Protocol

from agent.runtime.handover import Carried, State
from agent.runtime.host import journal
from agent.runtime.host.children import Ended
from agent.runtime.host.choice import Target
from agent.runtime.host.workers import Owner, Worker
from littoral import errors

MOST_LOADS = 3  # of an understudy: one that has died so often is left alone until the next trial
_ids = itertools.count(-1, -1)  # of connections that no client has made


class Main(Protocol):
    """The model whose baseline it is."""

    def take(self, carried: Carried) -> None: ...

    def refuse(self, carried: Carried, error: errors.QueryError) -> None: ...

    def worker_closed(self, connection: int) -> None: ...

    def beside_ended(self) -> None:
        """Its memory is free. Where it is to stand by for a trial it may be asked to again."""
        ...


class Beside:
    """At most one worker, from the first who asks until the last one has gone; a trial that it stands by for is one of
    those. `make` makes it, or raises a named error where memory does not allow it, or something else does not.
    """

    def __init__(self, main: Main, make: Callable[[Owner, Target], Worker], drain_s: float) -> None:
        self.worker: Worker | None = None
        self._main = main
        self._make = make
        self._drain_s = drain_s
        self._drains = False
        self._error: errors.QueryError | None = None
        self._waiting: list[Carried] = []
        self._trial: Worker | None = None  # that it stands by for
        self._stands_by = self._introduced = False
        self._loads = 0  # for this trial

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

    def stand_by(self, trial: Worker, target: Target) -> None:
        """Is, or becomes, the understudy of this trial, as far as memory allows; `target` is the baseline."""
        if trial is not self._trial:
            self._trial, self._stands_by, self._introduced, self._loads = trial, True, False, 0
        if not self._stands_by or self._introduced or self._drains:
            return
        if self.worker is None and self._loads < MOST_LOADS:
            self._loads += 1
            try:
                self.worker = self._make(self, target)
            except errors.LittoralError as error:
                self._stands_by = False
                journal.say(f"release {trial.target.slot.release} is on trial without its baseline beside it: {error}")
        elif self.worker is not None and self.worker.welcome:
            self._introduce(self.worker, trial)

    def leave(self, error: errors.QueryError | None = None) -> None:
        """Nobody needs it any more: its clients go back to the model, or are refused with `error`, and it stands by for
        this trial no more.
        """
        if error is not None:
            self._stands_by = False
        if self.worker is not None and not self._drains:
            self._drains, self._error = True, error
            self.worker.drain(self._drain_s)

    def adopt(self, bundle: str, owner: Owner) -> Worker | None:
        """Its worker, if that serves this bundle, for `owner` to go on with; then it is no more beside. One that loads
        is given away only while nobody waits for it here.
        """
        worker = self.worker
        if worker is None or self._drains or self._waiting or worker.bundle != bundle:
            return None
        self.worker, worker.owner = None, owner
        self._trial, self._stands_by, self._introduced = None, False, False
        return worker

    # --- what the worker tells --------------------------------------------------------------------------------

    def worker_ready(self, worker: Worker) -> None:
        if not self._drains:
            waiting, self._waiting = self._waiting, []
            for carried in waiting:
                worker.give(carried)
            if self._trial is not None and self._stands_by:
                self._introduce(worker, self._trial)

    def worker_gave_back(self, carried: Carried) -> None:
        if carried.id < 0:
            carried.close()
        elif self.worker is None:
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

    def worker_hung(self, worker: Worker) -> None:
        worker.kill()

    def worker_ended(self, worker: Worker, ended: Ended) -> None:
        error, self._error = self._error, None
        if not worker.welcome:
            error = errors.NoReleaseError(f"the baseline cannot be served now: {worker.why(ended)[1]}")
        self.worker, self._drains, self._introduced = None, False, False
        waiting, self._waiting = self._waiting, []
        for carried in waiting:
            if error is None:
                self._main.take(carried)
            else:
                self._main.refuse(carried, error)
        self._main.beside_ended()

    def _introduce(self, worker: Worker, trial: Worker) -> None:
        """Makes a connection of the trial's worker to the baseline's."""
        self._introduced = True
        ours, theirs = socket.socketpair()
        state = State(greet=True, alias="baseline").to_memfd()
        worker.give(Carried(next(_ids), theirs.detach(), state, alias="baseline"))
        trial.stand_by(ours, stateful=worker.stateful)
