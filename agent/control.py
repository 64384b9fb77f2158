"""What agent and runtime say to each other over control.sock, without I/O: one JSON object a line.

The agent asks, the runtime answers and tells. The connection itself is the agent's voucher for every trial: when it
ends, the runtime waits its grace and then serves the baseline. docs/architecture.md tells the story.
"""

import json
import re
from dataclasses import dataclass, field, fields
from typing import Any, get_args, get_origin

from littoral.errors import BadNameError, ProtocolError
from littoral.names import check_name

MAX_LINE_BYTES = 262_144
MOST_NOTES = 3  # of apps, of one release
MAX_NOTE = 200  # characters
MOST_REST_PERCENT = 10_000
_DIGEST = re.compile(r"[0-9a-f]{64}")

# --- agent to runtime -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Try:
    """Load releases/<bundle> in a trial child under limits, run its self-test, answer Tried. One at a time."""

    id: int
    model: str
    bundle: str


@dataclass(frozen=True, slots=True)
class Rehearse:
    """Show what the model was asked lately to releases/<bundle> and to its baseline, in a child under limits. Answer
    Rehearsed. One at a time. threads, baseline_threads: that each runs with; 0: one.
    """

    id: int
    model: str
    bundle: str
    baseline: str
    threads: int = 0
    baseline_threads: int = 0


@dataclass(frozen=True, slots=True)
class Apply:
    """Read the model's slot record now and serve what it says. Answered by Serving or Failed."""

    model: str
    handover: bool = False  # do not try to hold both releases in memory


@dataclass(frozen=True, slots=True)
class Unload:
    """Drain and stop serving the model; its clients get no-release (or unknown-model once its record is gone)."""

    model: str


@dataclass(frozen=True, slots=True)
class Measure:
    """Ask for Memory."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much less the runtime is to do, as the device is in trouble; until the next one, or until this connection
    ends. Without one it does all it can.
    """

    rest_percent: int  # of each run's time, that a worker rests after it
    shadows: bool  # whether inputs may be answered by another release too


@dataclass(frozen=True, slots=True)
class Renew:
    """End the worker of the committed release, which answers no canary, and start another one. It counts as one that
    died.
    """

    model: str


@dataclass(frozen=True, slots=True)
class Well:
    """Whether canaries through the query socket are answered: the watchdog is fed only while they are. Said at each
    change, and first of all on each connection.
    """

    ok: bool


# --- runtime to agent -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Greeting:
    """First line of the runtime on every control connection; a Serving for each model follows.

    Before that of a committed release that could not be loaded last time, its Failed is told again.
    """

    engine: str  # "litert 2.3.0"
    budget_bytes: int
    degraded: str = ""  # why this device is slower than it should be, empty when it is not


@dataclass(frozen=True, slots=True)
class Tried:
    """How a trial child ended.

    code is "" when it passed, else a named error or one of: golden-mismatch, not-finite, wrong-interface, crashed,
    hung, no-room. `proven` says that the failure is the release's own and holds for its bytes (blocklist it); a
    failure for want of memory is not. reason of one that passed: empty, or why it ran on the CPU though there is a
    delegate. facts: load_us, invoke_p50_us, invoke_p95_us, memory_bytes; threads, interpreters, cpus (bit i stands for
    CPU i, 0 for all): how it runs best; for golden vectors cases, worst_ppm, or right of labelled ones; on a delegate
    delegate_ppm, the largest difference from the CPU's answers.
    """

    id: int
    model: str
    bundle: str
    code: str = ""
    reason: str = ""
    proven: bool = False
    facts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """How a rehearsal ended. code, reason, proven: as in Tried, of the release and never of its baseline; beside those
    codes unsteady: the same input was answered differently.

    facts, where code is "": inputs, scenes, kind (scores, boxes, embedding, values), skill_ppm, sure, disagreements,
    agreed, by_chance_milli, boxes_ppm, constant, probes, worst (agent/runtime/rehearsal/measures.py says what they are;
    those that say nothing are left out); median_us, ratio_ppm (of the release's median time to its baseline's),
    memory_bytes, took_ms; why: why nothing can be said.
    """

    id: int
    model: str
    bundle: str
    code: str = ""
    reason: str = ""
    proven: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Serving:
    """The model is answered by this release from now on. release 0, bundle "": by none."""

    model: str
    release: int
    bundle: str
    stage: str  # committed, trial, none
    reason: str = ""  # "", or why it is not what the record names: unvouched, died, failed, safe


@dataclass(frozen=True, slots=True)
class Failed:
    """A release could not be loaded or admitted. What was served before is still served, or is loaded again: the
    Serving that follows says which. bundle "": the slot record could not be read.
    """

    model: str
    bundle: str
    code: str  # a named error (model-load, no-room, bad-record ...), crashed or hung
    reason: str


@dataclass(frozen=True, slots=True)
class Counters:
    """What one worker has done since it started, sent about each second for every served model.

    All counts only grow while `worker` (its process id) stays the same. errors: requests that the engine failed on;
    what a client did wrong is not counted. late: answers over the release's p95_us. invalid: answers with NaN or
    infinity. run_answers and run_inputs: length of the present run of bytewise equal answers, and how many distinct
    inputs it spans (counted up to 1,000). longest_run_inputs: the most it ever was.
    votes, votes_bad: what apps reported of its answers; each client that did has one vote a second.
    busy, replaced, expired: requests not run, as too many waited, a newer one came, or their deadline passed.
    queued_us, invoked_us: sums over all answers. waiting: requests now, and connections that the worker has not taken;
    subscribers: connections now.
    outdone: requests on which the release failed and the baseline answered in its place; not in errors. overtaken: that
    the baseline answered because the release was too slow. excused: on which both failed; not in errors.
    received: requests taken in, whatever became of them. error_runs: errors that follow an answer, on their connection
    (where they are not its first request) and among all requests.
    histogram: answers by invoke time, bucket i holds 2^i <= us < 2^(i+1), 32 buckets.
    """

    model: str
    release: int
    bundle: str
    stage: str
    worker: int
    answers: int = 0
    errors: int = 0
    invalid: int = 0
    late: int = 0
    run_answers: int = 0
    run_inputs: int = 0
    longest_run_inputs: int = 0
    votes: int = 0
    votes_bad: int = 0
    busy: int = 0
    replaced: int = 0
    expired: int = 0
    queued_us: int = 0
    invoked_us: int = 0
    waiting: int = 0
    subscribers: int = 0
    memory_bytes: int = 0
    received: int = 0
    error_runs: int = 0
    outdone: int = 0
    overtaken: int = 0
    excused: int = 0
    histogram: tuple[int, ...] = (0,) * 32


@dataclass(frozen=True, slots=True)
class Reported:
    """Why apps found answers of this release bad, in their own words: the newest notes, the newest last. Sent once a
    minute at most, and only after there were others.
    """

    model: str
    release: int
    bundle: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Died:
    """A worker ended without being asked to. signal 0: it exited with `status`.

    hung: it answered nothing any more, and was ended for that, or is about to.
    """

    model: str
    release: int
    bundle: str
    stage: str
    signal: int
    status: int
    memory: bool = False  # killed for want of memory
    hung: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """Measured bytes per served model, and the budget."""

    budget_bytes: int
    models: dict[str, int]


@dataclass(frozen=True, slots=True)
class Leases:
    """How many local clients hold a lease on the model now: they ask that it is not switched meanwhile. Sent at each
    change, and for each model with leases after the Greeting.
    """

    model: str
    held: int


ToRuntime = Try | Rehearse | Apply | Unload | Measure | Pace | Renew | Well
ToAgent = Greeting | Tried | Rehearsed | Serving | Failed | Counters | Reported | Died | Memory | Leases
Message = ToRuntime | ToAgent
_KINDS: dict[str, Any] = {cls.__name__.lower(): cls for cls in (*get_args(ToRuntime), *get_args(ToAgent))}


def encode(message: Message) -> bytes:
    """One line, with its line feed."""
    values = {each.name: getattr(message, each.name) for each in fields(message)}
    return json.dumps({"op": type(message).__name__.lower(), **values}).encode() + b"\n"


class Reader:
    """Takes bytes as they come and gives whole messages. Raises ProtocolError; close the connection after it."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        self._buffer += data
        *lines, rest = bytes(self._buffer).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise ProtocolError(f"a control line of over {MAX_LINE_BYTES} bytes")
        self._buffer = bytearray(rest)
        return [_decode(line) for line in lines if line]


def _decode(line: bytes) -> Message:
    try:
        value = json.loads(line)
        cls = _KINDS[value.pop("op")]
        for name in ("histogram", "notes"):
            if name in value:
                value[name] = tuple(value[name])
        message: Message = cls(**value)
        _check(message)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BadNameError) as error:
        raise ProtocolError(f"a control line that cannot be read: {error!r}") from error
    return message


def _check(message: Message) -> None:
    """Raises TypeError for a field of another type, BadNameError for no model, ValueError for no digest and for notes
    beyond their limits.
    """
    for each in fields(message):
        item = getattr(message, each.name)
        if not _fits(item, each.type):
            raise TypeError(f"{each.name} is {item!r}")
        match each.name:
            case "model":
                check_name(item, "model")
            case "models":
                for model in item:
                    check_name(model, "model")
            case "bundle" | "baseline":
                _check_bundle(item, may_be_empty=isinstance(message, Serving | Failed))
            case "notes":
                if len(item) > MOST_NOTES or any(len(note) > MAX_NOTE for note in item):
                    raise ValueError(f"{len(item)} notes of up to {max(map(len, item))} characters")
            case "rest_percent" if not 0 <= item <= MOST_REST_PERCENT:
                raise ValueError(f"a rest of {item} %")


def _fits(item: Any, wanted: Any) -> bool:
    if get_origin(wanted) is dict:  # keys of JSON are strings
        counts = get_args(wanted)[1] is int
        return type(item) is dict and (not counts or all(type(count) is int for count in item.values()))
    if get_origin(wanted) is tuple:
        return all(type(each) is get_args(wanted)[0] for each in item)
    return type(item) is wanted


def _check_bundle(bundle: str, may_be_empty: bool) -> None:
    if not _DIGEST.fullmatch(bundle) and (bundle or not may_be_empty):
        raise ValueError(f"{bundle!r} names no bundle")
