"""Runs that the worker's loop does not wait for: in threads of a pool, and at a trial's understudy.

Only a worker that has either imports this. While there is an understudy a single interpreter runs in a thread too, so
that the loop can ask the understudy what the release fails on, is too slow with, or hangs in; the first answer is sent,
and the other one dropped. Of each connection at most one request is under way, so answers keep their order.
"""

import select
import time
from collections.abc import Callable, Sequence

from agent.runtime.engine import Interpreter
from agent.runtime.engines.finite import Finite
from agent.runtime.worker.answers import Answers
from agent.runtime.worker.pool import Pool
from agent.runtime.worker.runs import Inference
from agent.runtime.worker.understudy import Understudy
from littoral import errors
from littoral.wire import query

LONGEST_NS = 3_600_000_000_000  # a moment beyond this is none to wait for
_HEAD_BYTES = query.ANSWER_HEAD.size


class Running:
    """settled: called when a request has got its answer. tell_hung: once, when a run in a thread takes over hung_s."""

    def __init__(
        self,
        epoll: select.epoll,
        answers: Answers,
        settled: Callable[[Inference], None],
        tell_hung: Callable[[], None],
        hung_s: float,
    ) -> None:
        self._epoll = epoll
        self._answers = answers
        self._settled = settled
        self._tell_hung = tell_hung
        self._hung_ns = int(hung_s * 1e9)
        self._told_hung = False
        self._rest_percent = 0
        self._pool: Pool | None = None
        self._lone: Interpreter | None = None
        self._understudy: Understudy | None = None
        self._stalled = False

    @property
    def over(self) -> bool:
        """Whether the loop may run its interpreter itself again: there is neither pool nor understudy."""
        return self._pool is None and self._understudy is None

    @property
    def full(self) -> bool:
        """Whether runs have to wait. Behind an interpreter that is stalled they go where the understudy gets them."""
        return self._pool is not None and self._pool.full and not self._stalled

    @property
    def threaded(self) -> bool:
        """Whether runs are posted; else the loop runs them itself."""
        return self._pool is not None

    @property
    def busy(self) -> bool:
        """Whether somebody waits for something that is under way."""
        runs = [] if self._pool is None else [run for run in self._pool.runs if not run.answered]
        return bool(runs or (self._understudy is not None and self._understudy.runs))

    # --- what the loop does -----------------------------------------------------------------------------------

    def open(self, interpreter: Interpreter, further: int = 0, make: Callable[[], Interpreter] | None = None) -> None:
        """It runs in a thread from now on, and so many further ones when there is something for them to do."""
        self._pool = Pool(interpreter, further, make)
        self._pool.rest_percent = self._rest_percent
        self._epoll.register(self._pool.descriptor, select.EPOLLIN)

    def rest(self, percent: int) -> None:
        """Threads rest after each run for so much of its time."""
        self._rest_percent = percent
        if self._pool is not None:
            self._pool.rest_percent = percent

    def hurry(self) -> None:
        """No thread rests any more."""
        if self._pool is not None:
            self._pool.hurry()

    def stand_by(self, understudy: Understudy, lone: Interpreter | None) -> None:
        """lone: the interpreter that runs in a thread while there is an understudy to be asked, and only then."""
        self.dismiss()
        self._understudy, self._lone = understudy, lone
        self._epoll.register(understudy.descriptor, select.EPOLLIN)

    def dismiss(self) -> None:
        """There is no understudy any more: what it had not answered ends as it ended here."""
        understudy, self._understudy = self._understudy, None
        if understudy is None:
            return
        self._epoll.unregister(understudy.descriptor)
        understudy.close()
        self._stalled = False
        for run in understudy.runs:
            run.asked = False
            if not self._runs_on(run):
                self._conclude(run)
        self._leave_thread()

    def post(self, run: Inference) -> None:
        assert self._pool is not None
        run.connection.running = run.connection.inbox.held = True
        self._pool.post(run)

    def relieved(self, run: Inference) -> bool:
        """Whether the understudy has been asked what the release, run by the loop itself, has failed on."""
        if not run.failed or self._understudy is None or not self._understudy.ask(run):
            return False
        run.connection.running = run.connection.inbox.held = True
        return True

    def obey(self, descriptor: int, events: int) -> None:
        """Takes what came of runs; whatever else has this descriptor is not known here."""
        if self._pool is not None and descriptor == self._pool.descriptor:
            self._take_done(self._pool.done())
        elif self._understudy is not None and descriptor == self._understudy.descriptor:
            self._hear(self._understudy, events)

    def hand_over(self, drains: bool) -> float:
        """Asks the understudy what the release is too slow with. Seconds until there may be more of it; -1: none."""
        understudy, now_ns = self._understudy, time.monotonic_ns()
        if understudy is not None and (understudy.ended or understudy.patience_ns() <= now_ns):
            self.dismiss()
        if self._understudy is None or understudy is None:
            return -1.0
        next_ns = [understudy.patience_ns()]
        if self._pool is not None:
            next_ns.append(self._look_for_stall(understudy, now_ns))
            for run in [run for run in self._pool.runs if not (run.asked or run.answered or run.refusal)]:
                due_ns = understudy.due_ns(run, self._stalled, drains)
                if due_ns > now_ns:
                    next_ns.append(due_ns)
                elif not run.done:
                    understudy.ask(run)
        self._watch(understudy)
        left_ns = min(next_ns) - now_ns
        return -1.0 if left_ns > LONGEST_NS else max(0, left_ns) / 1e9

    def look_for_hang(self) -> None:
        """To be called now and then: sees runs that will not end, and what waits behind them gets the understudy."""
        if self._pool is None:
            return
        limit_ns = time.monotonic_ns() - self._hung_ns
        hung = [run for run in self._pool.runs if 0 < run.begun_ns < limit_ns and not run.done]
        if not hung:
            return
        if self._understudy is not None:
            for run in self._pool.runs:
                if not (run.asked or run.answered or run.refusal or run.done):
                    self._understudy.ask(run)
        if not self._told_hung:
            self._told_hung = True
            self._tell_hung()

    # --- what comes of runs -----------------------------------------------------------------------------------

    def _take_done(self, runs: Sequence[Inference]) -> None:
        for run in runs:
            understudy = self._understudy
            if run.answered:  # the understudy was faster
                self._answers.outdone(run)
                continue
            if run.asked and (run.failed or run.error is not None):
                continue  # it may have an answer yet
            if run.failed and not run.refusal and understudy is not None and understudy.ask(run):
                continue
            if run.asked and understudy is not None:
                understudy.forget(run)
            self._conclude(run)
        self._leave_thread()

    def _conclude(self, run: Inference) -> None:
        """What came of it here is the answer."""
        connection = run.connection
        connection.running = connection.inbox.held = False
        if connection.closed:
            return
        if run.failed and run.refusal == errors.InferenceError.code:
            self._answers.excuse(run)
        else:
            self._answers.finish(run)
        self._settled(run)

    def _hear(self, understudy: Understudy, events: int) -> None:
        for run, frame in understudy.obey(events):
            self._take_reply(run, frame)
        if understudy.ended:
            self.dismiss()
            return
        if understudy.ready and self._lone is not None and self._pool is None:
            self.open(self._lone)
        self._watch(understudy)

    def _take_reply(self, run: Inference, frame: query.Frame) -> None:
        runs_on = self._runs_on(run)
        failed = not runs_on and run.failed
        if run.failed and frame.kind is query.Kind.ANSWER and not _finite(run, frame):
            run.refusal = errors.InferenceError.code
        if run.refusal:
            if not runs_on:
                self._conclude(run)
            return
        run.answered = True
        connection = run.connection
        connection.running = connection.inbox.held = False
        if connection.closed:
            return
        if runs_on:
            connection.inbox.forsake()
        self._answers.relay(run, frame, failed=failed)
        self._settled(run)

    def _runs_on(self, run: Inference) -> bool:
        """Whether it is still in a thread, or on its way there or back."""
        return self._pool is not None and run in self._pool.runs

    # --- small things -----------------------------------------------------------------------------------------

    def _look_for_stall(self, understudy: Understudy, now_ns: int) -> int:
        """When to look again."""
        assert self._pool is not None
        runs, interpreters = self._pool.runs, self._pool.interpreters
        stalls_ns = sorted(understudy.stalls_ns(run) for run in runs)
        at_ns = stalls_ns[interpreters - 1] if len(runs) >= interpreters else None
        self._stalled = at_ns is not None and at_ns <= now_ns
        return now_ns + self._hung_ns if at_ns is None or self._stalled else at_ns

    def _leave_thread(self) -> None:
        if self._lone is None or self._understudy is not None or self._pool is None or self._pool.runs:
            return
        self._epoll.unregister(self._pool.descriptor)
        self._pool.close()
        self._pool = self._lone = None

    def _watch(self, understudy: Understudy) -> None:
        if understudy.events != understudy.watched:
            understudy.watched = understudy.events
            self._epoll.modify(understudy.descriptor, understudy.watched)


def _finite(run: Inference, frame: query.Frame) -> bool:
    return Finite(run.signature.welcome.interface.outputs)(bytes(frame.body[_HEAD_BYTES:]))
