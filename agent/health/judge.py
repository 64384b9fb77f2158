"""Judges one trial by what it does on live traffic: counters of its worker, its death, canary inferences.

Pure: time is an argument, nothing is read or sent. It finds a trial bad or does not; that it is good is for the
updater to conclude from time and answers. docs/health.md lists the signals, the numbers, and how they were measured.
"""

from dataclasses import dataclass, field
from signal import Signals

from agent.control import Counters, Died
from agent.health.sequential import Evidence, Signal, Sprt, Watch

# What a canary may end in that is no fault of the release: the runtime is away, somebody else answers, nobody serves,
# too much is asked, a switch came in between, or the canary itself failed.
NOT_THE_RELEASE = frozenset(
    {"runtime-away", "other-release", "no-release", "unknown-model", "busy", "stale-interface", "canary-error"}
)


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers. Simulated in tests/agent/health/test_judge.py; the results stand in docs/health.md."""

    errors: Signal = Signal(Sprt(p0=0.05, p1=0.5, alpha=1e-6, beta=0.01), share=0.05)
    # One answer in twenty may be late: that is what a p95 promises. And a busy device delays every model on it.
    late: Signal = Signal(Sprt(p0=0.05, p1=0.5, alpha=1e-12, beta=0.01), share=0.3, fewest=10)
    constant_answers: int = 50  # a run of equal answers as long as this ...
    constant_inputs: int = 10  # ... to as many distinct inputs ...
    constant_factor: int = 2  # ... and to more than so many times those of the baseline's longest run
    canary_failures: int = 3  # in a row
    stale_s: float = 5.0  # counters come each second; a trial of which none came for so long is not known to be well


@dataclass(frozen=True, slots=True)
class Verdict:
    """A trial is bad. `facts` are the numbers behind `reason`.

    code: crashed, hung, resources (its worker was killed for want of memory: it proves nothing of the bytes),
    not-finite, constant, errors, late, canary.
    """

    code: str
    reason: str
    facts: dict[str, int | str] = field(default_factory=dict)


class Judge:
    """One trial, from its activation to its end. The caller hands in only what is about the trial's bundle.

    baseline_constant: distinct inputs in the longest run of equal answers that was seen of the baseline; 0: none was
    seen, and constant answers are not judged.
    `answers` counts those to others than the canary.
    """

    def __init__(self, policy: Policy, baseline_constant: int = 0) -> None:
        self.answers = 0
        self._policy = policy
        self._baseline_constant = baseline_constant
        self._errors = Watch(policy.errors)
        self._late = Watch(policy.late)
        self._last: Counters | None = None
        self._last_at = 0.0
        self._answered = 0
        self._canaries = 0
        self._canary_ok = False
        self._failures = 0
        self._verdict: Verdict | None = None

    def counters(self, counters: Counters, now_s: float) -> None:
        """What its worker has done since the worker started. The first of all is where counting begins, a later
        worker counts from nothing."""
        last, began_s = self._last, self._last_at
        self._last, self._last_at = counters, now_s
        self._look_for_hard_faults(counters)
        if last is None:
            return
        answers, errors, late = counters.answers, counters.errors, counters.late
        if last.worker == counters.worker and last.answers <= answers:
            answers, errors, late = answers - last.answers, errors - last.errors, late - last.late
        self._answered += answers
        self.answers = max(self.answers, self._answered - self._canaries)
        if self._errors.add(errors, answers + errors, began_s, now_s):
            self._find("errors", _told(self._errors.evidence, "requests failed", self._policy.errors))
        if self._late.add(late, answers, began_s, now_s):
            told = _told(self._late.evidence, "answers took longer than the release's own p95_us", self._policy.late)
            self._find("late", told)

    def died(self, died: Died, now_s: float) -> None:
        """Its worker ended without being asked to."""
        if died.memory:
            self._find("resources", ("its worker was killed for want of memory", {"signal": died.signal}))
        elif died.hung:
            self._find("hung", ("its model does not come back from a run", {"signal": died.signal}))
        elif died.signal:
            facts: dict[str, int | str] = {"signal": died.signal}
            self._find("crashed", (f"its worker was killed by {_signal_name(died.signal)}", facts))
        else:
            self._find("crashed", (f"its worker exited with status {died.status}", {"status": died.status}))

    def canary(self, ok: bool, code: str, text: str, now_s: float) -> None:
        """One inference through the real socket. `code` says why it failed."""
        self._canary_ok = ok
        if ok:
            self._failures = 0
            self._canaries += self._last is not None
        elif code not in NOT_THE_RELEASE:
            self._failures += 1
            if self._failures >= self._policy.canary_failures:
                reason = f"{self._failures} canary inferences in a row failed, the last by {code}: {text}"
                self._find("canary", (reason, {"failures": self._failures, "code": code}))

    def verdict(self, now_s: float) -> Verdict | None:
        """The first thing that was found bad, for good; None while there is none."""
        return self._verdict

    def healthy(self, now_s: float) -> bool:
        """Whether it is known to be well now: it counts, answers the canary, and the last block was not bad."""
        return (
            self._verdict is None
            and self._last is not None
            and now_s - self._last_at <= self._policy.stale_s
            and self._canary_ok
            and not self._errors.last_block_bad
            and not self._late.last_block_bad
        )

    def _look_for_hard_faults(self, counters: Counters) -> None:
        if counters.invalid:
            reason = f"{counters.invalid} of {counters.answers} answers hold NaN or infinity"
            self._find("not-finite", (reason, {"invalid": counters.invalid, "answers": counters.answers}))
        policy, longest = self._policy, self._baseline_constant
        if (
            longest
            > 0  # what the scene itself does is not known otherwise: an empty street is answered alike for hours
            and counters.run_answers >= policy.constant_answers
            and counters.run_inputs >= policy.constant_inputs
            and counters.run_inputs > policy.constant_factor * longest
        ):
            reason = (
                f"{counters.run_answers} equal answers to {counters.run_inputs} distinct inputs; "
                f"the baseline's longest run was {longest}"
            )
            run = {"run_answers": counters.run_answers, "run_inputs": counters.run_inputs}
            self._find("constant", (reason, {**run, "baseline_run_inputs": longest}))

    def _find(self, code: str, told: tuple[str, dict[str, int | str]]) -> None:
        if self._verdict is None:
            self._verdict = Verdict(code, *told)


def _told(evidence: Evidence, what: str, signal: Signal) -> tuple[str, dict[str, int | str]]:
    """A finding of the sequential test in words, and its numbers."""
    reason = (
        f"{evidence.bad} of {evidence.requests} {what}, in {evidence.bad_blocks} of {evidence.blocks} blocks "
        f"of {signal.block_s:g} s"
    )
    facts: dict[str, int | str] = {
        "bad": evidence.bad,
        "requests": evidence.requests,
        "bad_blocks": evidence.bad_blocks,
        "blocks": evidence.blocks,
    }
    return reason, facts


def _signal_name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
