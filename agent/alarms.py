"""Every alarm that a device can raise, in one place; which of them stand now, and when that is told upstream.

An alarm is about the device, never about a release. Who finds something wrong says so as a Symptom; what is well says
nothing. Pure but for the `tell` it is given.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from agent.slots import clip
from littoral.wire.messages import Alarm, worst_first

SETTLED_S = 10.0  # an alarm is told upstream once it has stood for so long: a daemon that starts is no event
CALM_S = 60.0  # and has ended once it was not seen for so long: one that comes and goes is one alarm
MAX_TEXT_BYTES = 1_000  # of an alarm; a fleet server refuses texts over 4,096


@dataclass(frozen=True, slots=True)
class Kind:
    """What is the same of every alarm of one code."""

    title: str
    severity: str
    remedy: str


KINDS: dict[str, Kind] = {
    # the device
    "too-hot": Kind(
        "The device is too hot",
        "critical",
        "Cool it: air, a heat sink, shade, a slower camera. No release is tried on it until it is cooler.",
    ),
    "hot": Kind(
        "The device is hot",
        "warning",
        "Cool it: air, a heat sink, shade, a slower camera. Requests are answered at a lower rate meanwhile.",
    ),
    "warm": Kind(
        "The device is warm",
        "notice",
        "Nothing has to be done yet. Nothing is run beside what apps ask for.",
    ),
    "throttled": Kind(
        "The processor is throttled",
        "warning",
        "Cool the device, or give it a better supply. Requests are answered at a lower rate meanwhile.",
    ),
    "under-voltage": Kind(
        "The supply's voltage is too low",
        "warning",
        "Use a stronger supply and a shorter or thicker cable, and unplug what draws much from this device.",
    ),
    "voltage-was-low": Kind(
        "The supply's voltage was too low since the boot",
        "notice",
        "Use a stronger supply and a shorter or thicker cable; it shows until the device is started anew.",
    ),
    "memory-short": Kind(
        "Memory is short",
        "warning",
        "Run fewer programs or models on it; `littoral top` shows what each model takes.",
    ),
    "disk-low": Kind(
        "The disk is nearly full",
        "critical",
        "Make room on the disk of the state folder. No release is switched to until there is some.",
    ),
    # the daemons
    "runtime-away": Kind(
        "The runtime is away",
        "critical",
        "See that littoral-runtime runs on this state folder; its journal says why it ended.",
    ),
    "runtime-slow": Kind(
        "The engine is slower than it should be",
        "warning",
        "Let the runtime read /proc/cpuinfo and /sys/devices/system/cpu: its service or container hides them.",
    ),
    "safe-mode": Kind(
        "The agent is in safe mode",
        "warning",
        "Its journal says why it started again and again. It ends after an hour, or when something newer is wanted.",
    ),
    # models
    "not-served": Kind(
        "A committed release is not served",
        "critical",
        "`littoral-agent explain MODEL` and the runtime's journal say why; spoiled files come again by themselves.",
    ),
    "other-served": Kind(
        "Another release than the committed one answers",
        "warning",
        "`littoral-agent explain MODEL` and the runtime's journal say why; spoiled files come again by themselves.",
    ),
    "not-answering": Kind(
        "A committed model does not answer",
        "critical",
        "Its worker is started anew by itself; the runtime's journal says what it met. If it stays, roll back.",
    ),
    # the owner's checks
    "check-bad": Kind(
        "A health check of this device is bad",
        "warning",
        "Mend what the check looks at, or the check.",
    ),
    "check-refused": Kind(
        "A health check is not run",
        "warning",
        "Let only root and the agent's user write to it and its folder, or rename it; docs/health.md has the rules.",
    ),
    "disk-refuses": Kind(
        "The disk does not take a decision",
        "critical",
        "See whether it is full, read-only or failing. What is decided is tried again by itself.",
    ),
    # what goes to the fleet server and comes from it
    "desired-waits": Kind(
        "What is wanted cannot be verified yet",
        "warning",
        "Look at the connection, at the clock, and at the fleet server's signed metadata.",
    ),
    "mirror-rests": Kind(
        "The mirror is left alone",
        "notice",
        "Look at the mirror; blobs come through the broker meanwhile.",
    ),
    "outbox-broken": Kind(
        "Reports cannot be kept on the disk",
        "warning",
        "See whether the disk is full, read-only or failing. Nothing else depends on it.",
    ),
    "reports-lost": Kind(
        "Reports were lost",
        "notice",
        "The disk, or a broker that was away for long; outbox_events in [reports] keeps more.",
    ),
    "state-cut": Kind(
        "The reported state is cut",
        "notice",
        "It does not fit a message, as there are so many models; `littoral-agent status` has it whole.",
    ),
}


@dataclass(frozen=True, slots=True)
class Symptom:
    """Something found wrong: a code of KINDS, what was found, and the model, where it is about one."""

    code: str
    text: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class _Standing:
    """An alarm that was raised."""

    symptom: Symptom
    since: float
    seen: float  # when it was found last
    told: bool = False


def alarm(symptom: Symptom) -> Alarm:
    """As people and the fleet server are told of it."""
    kind = KINDS[symptom.code]
    return Alarm(symptom.code, kind.title, kind.severity, clip(symptom.text, MAX_TEXT_BYTES), kind.remedy)


def alarms(symptoms: Iterable[Symptom]) -> tuple[Alarm, ...]:
    """The same of several, the worst first."""
    return worst_first(alarm(symptom) for symptom in symptoms)


class Alarms:
    """What stands upstream. `now` is seconds on the boot clock; tell(kind, model, release, text, facts) makes an event.

    At each start of the agent it knows of nothing, and tells anew what stands.
    """

    def __init__(self, tell: Callable[[str, str, int, str, dict[str, Any]], None]) -> None:
        self._tell = tell
        self._standing: dict[tuple[str, str], _Standing] = {}

    @property
    def told(self) -> tuple[Alarm, ...]:
        """What was told and has not ended, the worst first."""
        return alarms(each.symptom for each in self._standing.values() if each.told)

    def look(self, symptoms: Iterable[Symptom], now: float) -> None:
        """Everything that is wrong at this moment. Tells what has come to stay, and what has gone for good."""
        found = {(symptom.code, symptom.model): symptom for symptom in symptoms}
        for key, symptom in found.items():
            known = self._standing.get(key) or _Standing(symptom, now, now)
            self._standing[key] = replace(known, symptom=symptom, seen=now)
        for key, each in list(self._standing.items()):
            if key not in found:
                if now - each.seen >= CALM_S:
                    self._end(key)
            elif not each.told and now - each.since >= SETTLED_S:
                self._standing[key] = replace(each, told=True)
                self._say("alarm", each.symptom)

    def _end(self, key: tuple[str, str]) -> None:
        ended = self._standing.pop(key)
        if ended.told:
            self._say("alarm-ended", ended.symptom)

    def _say(self, event: str, symptom: Symptom) -> None:
        what = alarm(symptom)
        text = f"{what.title}: {what.text}" if what.text else what.title
        facts = {"code": what.code, "severity": what.severity}
        self._tell(event, symptom.model, 0, text, facts)
