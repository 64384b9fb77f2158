"""Judges one trial by what it does on live traffic: counters of its worker, its death, canary inferences, and what
others found out about it.

Pure: time is an argument, nothing is read or sent. It finds a trial bad or does not; that it is good is for the
updater to conclude from time and answers. docs/health.md lists the signals, the numbers, and how they were measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from signal import Signals
from typing import Any

from agent.control import Counters, Died
from agent.health.policy import Policy
from agent.health.sequential import Blocks, Onsets, Sprt
from agent.health.windowed import Growth, Progress

# What a canary may end in that is no fault of the release: the runtime is away, somebody else answers, nobody serves,
# too much is asked, a switch came in between, or the canary itself failed.
NOT_THE_RELEASE = frozenset(
    {"runtime-away", "other-release", "no-release", "unknown-model", "busy", "stale-interface", "canary-error"}
)
# The counts that the soft tests go by, beside the worker: what a restarted agent goes on from.
COUNTED = ("answers", "errors", "error_runs", "late", "outdone", "overtaken", "votes", "votes_bad")
TESTS = ("onsets", "outage", "lasting", "lateness", "overtaken", "reported")
_ENOUGH_VOTES = 20  # of the baseline, before they say what its apps' word is worth
_TRUE_WORD = 4  # one of so many may be bad
MAX_QUOTED = 100  # characters of what apps wrote, in the facts of a verdict
_MILLI = 1_000
_MOST_TOLD = 80  # characters of a list of names
_UNWELL = 0.05  # of the requests of a report failed: not a healthy moment

Facts = dict[str, int | str]


@dataclass(frozen=True, slots=True)
class Before:
    """What was seen of the release that a trial replaces.

    constant: distinct inputs in the longest run of equal answers; 0: none was seen, and constant answers are not
    judged. votes, votes_bad: reports of apps. rise_bytes: the most by which its memory grew within ten minutes.
    """

    constant: int = 0
    votes: int = 0
    votes_bad: int = 0
    rise_bytes: int = 0

    @property
    def heeds_apps(self) -> bool:
        """Whether reports of apps say something: not where they called the release before bad, too."""
        return self.votes < _ENOUGH_VOTES or self.votes_bad * _TRUE_WORD <= self.votes


@dataclass(frozen=True, slots=True)
class Verdict:
    """A trial is bad. `facts` are the numbers behind `reason`.

    code: crashed, resources (its worker was killed for want of memory: it proves nothing of the bytes), not-finite,
    hung, constant, errors, outdone, overtaken, late, reported, stalled, memory, canary, external.
    """

    code: str
    reason: str
    facts: Facts = field(default_factory=dict)


class Judge:
    """One trial, from its activation to its end. The caller hands in only what is about the trial's bundle.

    `answers` counts those to others than the canary. `notes`: why apps found answers bad, in their words. remembered:
    what remember() gave before a restart.
    """

    def __init__(
        self, policy: Policy, before: Before | None = None, remembered: Mapping[str, int] | None = None
    ) -> None:
        self.answers = 0
        self.notes: tuple[str, ...] = ()
        self._policy = policy
        self._before = before or Before()
        self._remembered = dict(remembered or {})
        ratios = {name: self._remembered.get(name, 0) / _MILLI for name in TESTS}
        self._onsets = Onsets(policy.errors, ratios["onsets"])
        self._outage = Blocks(policy.outage, ratios["outage"])
        self._lasting = Blocks(policy.lasting, ratios["lasting"])
        self._late = Blocks(policy.late, ratios["lateness"]) if policy.late else None
        self._overtaken = Blocks(policy.overtaken, ratios["overtaken"])
        self._reported = Blocks(policy.reported, ratios["reported"]) if policy.reported else None
        self._progress = Progress()
        self._growth = Growth(self._before.rise_bytes)
        self._outdone = self._remembered.get("strikes", 0)
        self._last: Counters | None = None
        self._last_at = 0.0
        self._answered = 0
        self._canaries = 0
        self._canary_ok = False
        self._failures = 0
        self._checks: dict[str, int] = {}  # how often in a row each required one was bad
        self._wanted: set[str] = set()  # wanted checks that are bad
        self._troubled = False
        self._troubled_until_s = 0.0
        self._fails = False  # at the moment
        self._verdict: Verdict | None = None

    # --- what is seen of it -----------------------------------------------------------------------------------------

    def counters(self, counters: Counters, now_s: float) -> None:
        """What its worker has done since the worker started. The first of all is where counting begins, a later
        worker counts from nothing. After a restart of the agent what was done meanwhile is weighed as well, as if it
        had been done at once; it is no evidence for a commit.
        """
        last, began_s = self._last, self._last_at
        self._last, self._last_at = counters, now_s
        self._look_for_hard_faults(counters)
        self._look_at_windows(counters, now_s)
        if last is not None:
            new = _since(last, counters)
            self._answered += new.answers
            self.answers = max(self.answers, self._answered - self._canaries)
        elif self._remembered:
            new, began_s = _since(_at_last(self._remembered, counters), counters), now_s
        else:
            self._strike(counters.outdone)
            return
        self._weigh(new, began_s, now_s)

    def noted(self, notes: tuple[str, ...]) -> None:
        """Why apps reported answers as bad, in their words: the newest, the newest last."""
        self.notes = notes

    def died(self, died: Died, now_s: float) -> None:
        """Its worker ended without being asked to."""
        if died.memory:
            self._find("resources", "its worker was killed for want of memory", {"signal": died.signal})
        elif died.hung:
            self._find("hung", "its model does not come back from a run", {"signal": died.signal})
        elif died.signal:
            self._find("crashed", f"its worker was killed by {_signal_name(died.signal)}", {"signal": died.signal})
        else:
            self._find("crashed", f"its worker exited with status {died.status}", {"status": died.status})

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
                self._find("canary", reason, {"failures": self._failures, "code": code})

    def external(self, name: str, required: bool, bad: bool, text: str, now_s: float) -> None:
        """One run of a check of the device's owner that knew an answer. Only a required one can end a trial."""
        if not required:
            (self._wanted.add if bad else self._wanted.discard)(name)
            return
        times = self._checks[name] = self._checks.get(name, 0) + 1 if bad else 0
        if times >= self._policy.external_failures:
            reason = f"the required check {name} was bad {times} times in a row: {text}"
            self._find("external", reason, {"check": name, "failures": times})

    def device(self, troubled: bool, now_s: float) -> None:
        """Whether the device is hot, throttled or short of memory now: then being slow is no fault of the release."""
        if self._troubled or troubled:
            self._troubled_until_s = now_s
            self._overtaken.drop()
            if self._late:
                self._late.drop()
        self._troubled = troubled

    # --- what comes of it -------------------------------------------------------------------------------------------

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
            and not any(self._checks.values())
            and not self._fails
            and not self._outage.last_block_bad
            and not (self._late and self._late.last_block_bad)
            and not (self._reported and self._reported.last_block_bad)
        )

    def evidence(self) -> dict[str, dict[str, int]]:
        """What each soft test has seen in its present run, and how far it is from its bound, in thousandths."""
        return {
            name: {
                "bad": test.evidence.bad,
                "requests": test.evidence.requests,
                "bad_blocks": test.evidence.bad_blocks,
                "blocks": test.evidence.blocks,
                "ratio_milli": round(test.ratio * _MILLI),
                "bound_milli": round(test.settings.upper * _MILLI),
            }
            for name, test in self._tests.items()
        }

    def remember(self) -> dict[str, int]:
        """What a restart must neither forget nor count twice: how far each soft test is, in thousandths, and up to
        which counts of which worker. What is 0 is left out.
        """
        found = {name: round(test.ratio * _MILLI) for name, test in self._tests.items()}
        found["strikes"] = self._outdone
        if self._last is not None:
            found["worker"] = self._last.worker
            found |= {name: getattr(self._last, name) for name in COUNTED}
        elif self._remembered:
            return self._remembered
        return {name: number for name, number in found.items() if number}

    @property
    def _tests(self) -> dict[str, Onsets | Blocks]:
        tests: dict[str, Onsets | Blocks] = {
            "onsets": self._onsets,
            "outage": self._outage,
            "lasting": self._lasting,
            "overtaken": self._overtaken,
        }
        if self._late:
            tests["lateness"] = self._late
        if self._reported:
            tests["reported"] = self._reported
        return tests

    # --- weighing ---------------------------------------------------------------------------------------------------

    def _weigh(self, new: Counters, began_s: float, now_s: float) -> None:
        """What the worker did since the last counters."""
        if requests := new.answers + new.errors:
            self._fails = new.errors > 0 and new.errors >= _UNWELL * requests
        if self._onsets.add(new.error_runs, new.answers):
            self._found_by("errors", self._onsets, "requests that came after an answer failed", "a report")
        if self._outage.add(new.errors, requests, began_s, now_s):
            self._found_by("errors", self._outage, "requests failed", "1 s and more")
        if self._lasting.add(new.errors, requests, began_s, now_s):
            self._found_by("errors", self._lasting, "requests failed", "10 s and more")
        self._strike(new.outdone)
        troubled = self._troubled or began_s < self._troubled_until_s
        served = max(new.answers, new.overtaken)  # one that was overtaken may have answered later
        if not troubled and self._overtaken.add(new.overtaken, served, began_s, now_s):
            self._found_by("overtaken", self._overtaken, "requests were too slow, and the baseline answered", "3 s")
        if self._late and not troubled and self._late.add(new.late, new.answers, began_s, now_s):
            self._found_by("late", self._late, "answers took longer than the release's own p95_us", "3 s and more")
        said = new.votes or min(new.answers, 1)  # who says nothing speaks for it: people complain and seldom praise
        if self._reported and self._reported.add(new.votes_bad, said, began_s, now_s):
            quoted = " / ".join(reversed(self.notes))[:MAX_QUOTED]
            notes: Facts = {"notes": quoted} if quoted else {}
            self._found_by("reported", self._reported, "words of apps on its answers were bad", "1 s and more", notes)

    def _found_by(self, code: str, test: Onsets | Blocks, what: str, block: str, more: Facts | None = None) -> None:
        seen = test.evidence
        reason = f"{seen.bad} of {seen.requests} {what}, in {seen.bad_blocks} of {seen.blocks} blocks of {block}"
        numbers = {"bad": seen.bad, "requests": seen.requests, "bad_blocks": seen.bad_blocks, "blocks": seen.blocks}
        self._find(code, reason, {**numbers, **_parameters(test.settings, test.ratio), **(more or {})})

    def _strike(self, outdone: int) -> None:
        self._outdone += outdone
        if self._outdone >= self._policy.outdone:
            reason = f"{self._outdone} requests failed here, and the baseline answered them"
            self._find("outdone", reason, {"outdone": self._outdone})

    def _look_for_hard_faults(self, counters: Counters) -> None:
        if counters.invalid:
            reason = f"{counters.invalid} of {counters.answers} answers hold NaN or infinity"
            self._find("not-finite", reason, {"invalid": counters.invalid, "answers": counters.answers})
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
            run: Facts = {"run_answers": counters.run_answers, "run_inputs": counters.run_inputs}
            self._find("constant", reason, {**run, "baseline_run_inputs": longest})

    def _look_at_windows(self, counters: Counters, now_s: float) -> None:
        for_s = self._progress.stalled_s(counters, now_s)
        if 0 < self._policy.stalled_s <= for_s:
            reason = f"requests come and {counters.waiting} wait, and for {for_s:.0f} s none was answered or refused"
            self._find("stalled", reason, {"stalled_s": int(for_s), "waiting": counters.waiting})
        if self._growth.add(counters.worker, counters.memory_bytes, now_s):
            first, last = self._growth.lows[0], self._growth.lows[-1]
            reason = f"its memory grew from {first} to {last} bytes and did not stop"
            rise = self._before.rise_bytes
            self._find("memory", reason, {"first_bytes": first, "last_bytes": last, "baseline_rise_bytes": rise})

    def _find(self, code: str, reason: str, facts: Facts) -> None:
        if self._verdict is None:
            wanted: Facts = {"wanted_bad": ", ".join(sorted(self._wanted))[:_MOST_TOLD]} if self._wanted else {}
            self._verdict = Verdict(code, reason, {**facts, **wanted})


def _since(last: Counters, now: Counters) -> Counters:
    """What was done between the two; a new worker began at nothing, even where the system gave it the same number."""
    if last.worker != now.worker or last.answers > now.answers:
        return now
    return replace(now, **{name: max(0, getattr(now, name) - getattr(last, name)) for name in COUNTED})


def _at_last(remembered: Mapping[str, int], like: Counters) -> Counters:
    """The counters that a remembered state goes by."""
    counts: dict[str, Any] = {name: remembered.get(name, 0) for name in COUNTED}
    return replace(like, worker=remembered.get("worker", 0), **counts)


def _parameters(test: Sprt, ratio: float) -> Facts:
    """What a verdict rests on: the logarithm of the likelihood ratio, its bound, and what was told from what."""
    return {
        "ratio_milli": round(ratio * _MILLI),
        "bound_milli": round(test.upper * _MILLI),
        "p0_ppm": round(test.p0 * 1e6),
        "p1_ppm": round(test.p1 * 1e6),
        "alpha": f"{test.alpha:.2g}",
    }


def _signal_name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
