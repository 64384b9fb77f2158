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


MAX_QUOTED = 100  # characters of what apps wrote, in the facts of a verdict


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers. Simulated in tests/agent/health/test_judge.py; the results stand in docs/health.md."""

    errors: Signal = Signal(Sprt(p0=0.05, p1=0.5, alpha=1e-6, beta=0.01), share=0.05)
    # One answer in twenty may be late: that is what a p95 promises. And a busy device delays every model on it.
    late: Signal = Signal(Sprt(p0=0.05, p1=0.5, alpha=1e-12, beta=0.01), share=0.3, fewest=10)
    # People complain and seldom praise: a second with answers of which nobody says anything speaks for the release.
    reported: Signal = Signal(Sprt(p0=0.05, p1=0.3, alpha=1e-12, beta=0.01), share=0.5)
    reported_fewest: int = 20  # votes on the baseline, from which on they say ...
    reported_share: float = 0.25  # ... that apps find everything bad: more than so many of them were
    constant_answers: int = 50  # a run of equal answers as long as this ...
    constant_inputs: int = 10  # ... to as many distinct inputs ...
    constant_factor: int = 2  # ... and to more than so many times those of the baseline's longest run
    canary_failures: int = 3  # in a row
    external_failures: int = 3  # of one required check, in a row
    stale_s: float = 5.0  # counters come each second; a trial of which none came for so long is not known to be well


@dataclass(frozen=True, slots=True)
class Verdict:
    """A trial is bad. `facts` are the numbers behind `reason`.

    code: crashed, hung, resources (its worker was killed for want of memory: it proves nothing of the bytes),
    not-finite, constant, errors, late, reported, canary, external.
    """

    code: str
    reason: str
    facts: dict[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Before:
    """What was seen of the baseline. constant: distinct inputs in its longest run of equal answers; 0: none was seen,
    and constant answers are not judged. votes, votes_bad: what apps reported of it.
    """

    constant: int = 0
    votes: int = 0
    votes_bad: int = 0


UNSEEN = Before()


class Judge:
    """One trial, from its activation to its end. The caller hands in only what is about the trial's bundle.

    `answers` counts those to others than the canary. `notes`: why apps found answers bad, in their words.
    """

    def __init__(self, policy: Policy, before: Before = UNSEEN) -> None:
        self.answers = 0
        self._policy = policy
        self.notes: tuple[str, ...] = ()
        self._before = before
        self._errors = Watch(policy.errors)
        self._late = Watch(policy.late)
        self._reported = Watch(policy.reported)
        self._last: Counters | None = None
        self._last_at = 0.0
        self._answered = 0
        self._canaries = 0
        self._canary_ok = False
        self._failures = 0
        self._troubled = False
        self._external: dict[str, int] = {}  # by check: how often it was bad in a row
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
        votes, votes_bad = counters.votes, counters.votes_bad
        if last.worker == counters.worker and last.answers <= answers:
            answers, errors, late = answers - last.answers, errors - last.errors, late - last.late
            votes, votes_bad = votes - last.votes, votes_bad - last.votes_bad
        self._answered += answers
        self.answers = max(self.answers, self._answered - self._canaries)
        if self._errors.add(errors, answers + errors, began_s, now_s):
            self._find("errors", _told(self._errors.evidence, "requests failed", self._policy.errors))
        if not self._troubled and self._late.add(late, answers, began_s, now_s):
            told = _told(self._late.evidence, "answers took longer than the release's own p95_us", self._policy.late)
            self._find("late", told)
        said = votes or min(answers, 1)
        if self._heeds_apps and self._reported.add(votes_bad, said, began_s, now_s):
            evidence, quoted = self._reported.evidence, self._quoted()
            reason = f"apps called its answers bad in {evidence.bad_blocks} of {evidence.blocks} seconds with answers"
            facts = {"bad": evidence.bad, **_blocks(evidence), **({"notes": quoted} if quoted else {})}
            self._find("reported", (reason, facts))

    def noted(self, notes: tuple[str, ...]) -> None:
        """Why apps reported answers as bad, in their words: the newest, the newest last."""
        self.notes = notes

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

    def device(self, troubled: bool, now_s: float) -> None:
        """Whether the device itself is in trouble (hot, throttled, short of memory): then lateness says nothing, nor
        does what came before that was known.
        """
        if troubled and not self._troubled:
            self._late = Watch(self._policy.late)
        self._troubled = troubled

    def external(self, name: str, required: bool, bad: bool, text: str, now_s: float) -> None:
        """A check of the device's owner said good or bad. One that is not `required` decides nothing."""
        if not required:
            return
        failures = self._external[name] = self._external.get(name, 0) + 1 if bad else 0
        if failures >= self._policy.external_failures:
            reason = f"the required check {name} was bad {failures} times in a row: {text}"
            self._find("external", (reason, {"check": name, "failures": failures}))

    def verdict(self, now_s: float) -> Verdict | None:
        """The first thing that was found bad, for good; None while there is none."""
        return self._verdict

    def healthy(self, now_s: float) -> bool:
        """Whether it is known to be well now: it counts, answers the canary, and neither the last block nor the
        last word of a required check was bad."""
        return (
            self._verdict is None
            and self._last is not None
            and now_s - self._last_at <= self._policy.stale_s
            and self._canary_ok
            and not any(self._external.values())
            and not self._errors.last_block_bad
            and not self._late.last_block_bad
            and not self._reported.last_block_bad
        )

    @property
    def _heeds_apps(self) -> bool:
        """Not where they called the baseline bad too."""
        before, policy = self._before, self._policy
        return before.votes < policy.reported_fewest or before.votes_bad <= policy.reported_share * before.votes

    def _quoted(self) -> str:
        """As much of the notes, the newest first, as a record of the verdict has room for."""
        return " / ".join(reversed(self.notes))[:MAX_QUOTED]

    def _look_for_hard_faults(self, counters: Counters) -> None:
        if counters.invalid:
            reason = f"{counters.invalid} of {counters.answers} answers hold NaN or infinity"
            self._find("not-finite", (reason, {"invalid": counters.invalid, "answers": counters.answers}))
        policy, longest = self._policy, self._before.constant
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
    return reason, {"bad": evidence.bad, "requests": evidence.requests, **_blocks(evidence)}


def _blocks(evidence: Evidence) -> dict[str, int | str]:
    return {"bad_blocks": evidence.bad_blocks, "blocks": evidence.blocks}


def _signal_name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
