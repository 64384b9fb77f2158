"""What the runtime says about itself: one sentence a line on stderr. Where that is the journal, which JOURNAL_STREAM
says, each line begins with its priority as sd-daemon(3) has it, else with its level.

Not by `logging`, which would take 1 MB of the host and add nothing here.
"""

import os
import sys

from agent import control

_REASONS = {
    "unvouched": "no agent vouches for it",
    "died": "its worker died",
    "failed": "it cannot be loaded",
    "safe": "it died too often",
}

_PRIORITIES = {"INFO": "<6>", "WARNING": "<4>", "ERROR": "<3>"}

_failing: dict[str, dict[str, str]] = {}
"""What was said last of a model that is not served, by the kind of message."""


def say(text: str, level: str = "INFO") -> None:
    """level: INFO, WARNING or ERROR."""
    begin = _PRIORITIES[level] if "JOURNAL_STREAM" in os.environ else f"{level} "
    sys.stderr.write(f"{begin}{text}\n")
    sys.stderr.flush()


def tell(message: control.Message) -> None:
    """Says what the agent is told, where that is news."""
    text = _sentence(message)
    if text and not _is_old(message, text):
        say(text, "WARNING" if isinstance(message, control.Died | control.Failed) else "INFO")


def _is_old(message: control.Message, text: str) -> bool:
    """What is tried again and again, and fails in the same way, is news once; until the model is served."""
    match message:
        case control.Serving() if message.bundle:
            _failing.pop(message.model, None)
        case control.Serving() | control.Failed():
            told = _failing.setdefault(message.model, {})
            kind = type(message).__name__
            old, told[kind] = told.get(kind), text
            return old == text
    return False


def _sentence(message: control.Message) -> str:
    match message:
        case control.Serving(bundle=""):
            why = f": {_REASONS.get(message.reason, message.reason)}" if message.reason else ""
            return f"{message.model}: nothing is served{why}"
        case control.Serving():
            return f"{message.model}: release {message.release} is served, {message.stage}{_because(message.reason)}"
        case control.Failed(bundle=""):
            return f"{message.model}: its slot record cannot be read ({message.code}): {message.reason}"
        case control.Failed():
            return f"{message.model}: bundle {message.bundle[:12]} cannot be loaded ({message.code}): {message.reason}"
        case control.Died():
            if message.hung:
                return f"{message.model}: the worker of release {message.release} does not come back from a run"
            how = f"signal {message.signal}" if message.signal else f"status {message.status}"
            memory = ", for want of memory" if message.memory else ""
            return f"{message.model}: the worker of release {message.release} ended with {how}{memory}"
        case control.Tried(code=""):
            return f"{message.model}: bundle {message.bundle[:12]} passed its self-test"
        case control.Tried():
            return (
                f"{message.model}: bundle {message.bundle[:12]} failed its self-test ({message.code}): {message.reason}"
            )
        case control.Rehearsed() if message.code:
            failed = f"failed its rehearsal ({message.code}): {message.reason}"
            return f"{message.model}: bundle {message.bundle[:12]} {failed}"
        case control.Rehearsed():
            why = message.facts.get("why", "")
            found = f"was not compared: {why}" if why else "was compared with its baseline"
            return f"{message.model}: bundle {message.bundle[:12]} {found}"
        case control.Greeting():
            return "the agent has connected"
        case control.Pace():
            rest = (
                f"workers rest {message.rest_percent} % of each run's time" if message.rest_percent else "at full pace"
            )
            return f"{rest}, {'with' if message.shadows else 'without'} shadows"
        case _:
            return ""


def _because(reason: str) -> str:
    return f", not what its record names: {_REASONS.get(reason, reason)}" if reason else ""
