"""A worker that answers second by second, and the judge that watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from agent.config import Probation
from agent.control import Counters
from agent.health.judge import Before, Judge, Verdict
from agent.health.policy import policy
from littoral.bundle.manifest import Health

POLICY = policy(Probation(), Health(), late=True, reported=True)
WELL = Before(constant=3, votes=100, votes_bad=2)
BEGUN = Counters("m", 2, "b" * 64, "trial", 100)


class Trial:
    def __init__(self, judge: Judge | None = None, worker: int = 100, **start: int) -> None:
        self.judge = judge or Judge(POLICY, WELL)
        self.now = 0.0
        self.seen = replace(BEGUN, worker=worker, **start)  # type: ignore[arg-type]
        self.second()

    def second(self, run_answers: int = 0, run_inputs: int = 0, waiting: int = 0, **more: int) -> Verdict | None:
        """A second in which its worker counted so much more."""
        now = {name: getattr(self.seen, name) + number for name, number in more.items()}
        self.seen = replace(self.seen, run_answers=run_answers, run_inputs=run_inputs, waiting=waiting, **now)
        self.now += 1.0
        self.judge.counters(self.seen, self.now)
        return self.judge.verdict(self.now)

    def begin_worker(self, worker: int) -> None:
        self.seen = replace(BEGUN, worker=worker)

    def restart_agent(self, judge: Callable[[dict[str, int]], Judge]) -> None:
        """Another agent goes on from what this one remembers."""
        self.judge = judge(self.judge.remember())


def seconds_until_found(trial: Trial, each: Callable[[], dict[str, int]], longest: int = 600) -> int | None:
    for second in range(1, longest + 1):
        if trial.second(**each()):
            return second
    return None
