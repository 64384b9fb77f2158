"""Which committed models the canary asks and when, and what follows of its answers. Pure: time is an argument.

Only a model that others asked since is asked again, so that an idle one can still be unloaded; and one that failed is,
whoever asks. Where no model is to be asked, the runtime itself is. What is on trial, or watched after its commit, is
asked elsewhere, and more often.
"""

from collections.abc import Collection
from dataclasses import dataclass

from agent.control import Counters
from agent.health.canary import RUNTIME_AWAY, CanaryResult
from agent.health.judge import NOT_THE_RELEASE
from littoral.errors import DeadlineError, InferenceError, NoReleaseError, UnknownModelError, UnreachableError

CANARY_COMMITTED_S = 60.0
FAILURES = 3  # in a row, after which the worker is started anew; then after twice as many, up to ...
FAILURES_LAST = 48  # ... so many
HELPLESS = 2 * FAILURES  # a model that is still silent then was not helped by another worker
LOADED_S = 5.0  # counters come each second of what is loaded; what has been unloaded since it was used is not woken
_GONE = frozenset({NoReleaseError.code, UnknownModelError.code})
_SILENT = frozenset({DeadlineError.code, UnreachableError.code})


@dataclass(frozen=True, slots=True)
class Question:
    """Ask this model, and expect this release. model "": only whether the runtime answers for itself."""

    model: str = ""
    release: int = 0
    bundle: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """The worker of a committed release answers no canary: another one has to take its place."""

    model: str
    release: int
    failures: int
    code: str
    text: str


@dataclass(slots=True)
class _Served:
    """One committed model. used: what others asked of its worker, as last counted, and when the canary asked last.
    own: what the canary did.
    """

    release: int
    bundle: str
    worker: int
    used: int
    used_when_asked: int
    heard_at: float
    waiting: bool = False
    own: int = 0
    due_s: float = 0.0
    asked: bool = False  # and not answered yet
    silent: bool = False  # when it was asked last
    failures: int = 0
    renew_at: int = FAILURES
    text: str = ""

    def is_to_be_asked(self, now: float) -> bool:
        in_use = self.used > self.used_when_asked or self.waiting
        return (
            not self.asked and now >= self.due_s and ((in_use and now - self.heard_at <= LOADED_S) or self.failures > 0)
        )


class CommittedCanaries:
    """All committed models of a device. `watched` models are asked by somebody else."""

    def __init__(self, every_s: float = CANARY_COMMITTED_S) -> None:
        self._every_s = every_s
        self._models: dict[str, _Served] = {}
        self._away = 0  # how often in a row the runtime did not answer for itself
        self._answered_at = 0.0  # when a canary last had an answer of any model, a named error being one too
        self._runtime_due_s: float | None = None
        self._runtime_asked = False

    def begin_anew(self) -> None:
        """Another runtime is there, of which nothing is known."""
        self._models.clear()
        self._away = 0
        self._runtime_due_s = None

    def counters(self, counters: Counters, now: float) -> None:
        """What a worker has done since it started. What it did before it was first heard of is no use of it."""
        before = self._models.get(counters.model)
        if counters.stage != "committed":
            self._models.pop(counters.model, None)
            return
        told = counters.answers + counters.errors + counters.busy + counters.replaced + counters.expired
        if before is None or before.bundle != counters.bundle:
            served = _Served(counters.release, counters.bundle, counters.worker, told, told, now)
            served.due_s = before.due_s if before else 0.0
            self._models[counters.model] = served
            return
        if before.worker != counters.worker or told < before.used:
            before.worker, before.own, before.used_when_asked = counters.worker, 0, 0
        before.used, before.heard_at = told - before.own, now
        before.waiting = counters.waiting > 0 and not before.asked

    def due(self, watched: Collection[str], now: float) -> list[Question]:
        """What is to be asked now, once each."""
        found = []
        for model, served in self._models.items():
            if model not in watched and served.is_to_be_asked(now):
                served.asked, served.used_when_asked = True, served.used
                found.append(Question(model, served.release, served.bundle))
        if self._runtime_due_s is None or found:
            self._runtime_due_s = now + self._every_s
        elif now >= self._runtime_due_s and not self._runtime_asked:
            self._runtime_asked = True
            found.append(Question())
        return found

    def answered(self, result: CanaryResult, now: float) -> Finding | None:
        """What came of a question; a Finding where something has to be done. Canaries of trials say how the runtime is,
        too.
        """
        self._away = self._away + 1 if result.code == RUNTIME_AWAY else 0
        about_release = result.code not in NOT_THE_RELEASE
        if result.model and about_release and result.code not in _SILENT:
            self._answered_at = now
        if not result.once:
            return None
        if not result.model:
            self._runtime_asked, self._runtime_due_s = False, now + self._every_s
            return None
        served = self._models.get(result.model)
        if served is None:
            return None
        served.asked, served.due_s = False, now + self._every_s
        if result.code in _GONE:
            del self._models[result.model]
            return None
        if served.release != result.release or not about_release:
            return None
        served.silent = result.code in _SILENT
        served.own += result.ok or result.code == InferenceError.code
        if result.ok:
            served.failures, served.renew_at, served.text = 0, FAILURES, ""
            return None
        served.failures += 1
        served.text = f"{served.failures} canaries in a row failed, the last by {result.code}: {result.text}"
        if served.failures < served.renew_at:
            return None
        served.renew_at = served.failures + min(served.failures, FAILURES_LAST)
        return Finding(result.model, result.release, served.failures, result.code, served.text)

    def well(self, now: float) -> bool:
        """Whether the runtime answers: for itself, and for one model at least where any is asked. A model that is
        silent while others answer is for another worker to mend, not for another runtime.
        """
        helpless = any(served.silent and served.failures >= HELPLESS for served in self._models.values())
        return self._away < FAILURES and not (helpless and now - self._answered_at > 2 * self._every_s)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(
            f"release {served.release} of {model} does not answer: {served.text}"
            for model, served in sorted(self._models.items())
            if served.failures >= FAILURES
        )
